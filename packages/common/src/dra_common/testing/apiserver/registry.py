"""The verbs of the API on one store: what kube-apiserver does between the request and etcd."""

from __future__ import annotations

import copy
import datetime as dt
import random
import uuid
from collections.abc import Mapping

from dra_common.testing.apiserver.refusals import conflict, deleted, enforce, exists, not_found
from dra_common.testing.apiserver.resources import Json, Key, Resource, Target
from dra_common.testing.apiserver.selectors import Selector
from dra_common.testing.apiserver.status import Cause, Refusal
from dra_common.testing.apiserver.store import Store

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX = 5
_LONGEST_BASE = 63 - _SUFFIX


class Registry:
    """Create, read, replace and delete with the checks and side effects of the real server."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._random = random.Random()  # noqa: S311 (names, not secrets)
        self._generated: set[str] = set()

    # ------------------------------------------------------------------ reading

    def get(self, target: Target) -> Json:
        """Return a stored object. Raises Refusal (404)."""
        item = self.store.get(target.resource, target.key)
        if item is None:
            raise not_found(target)
        return item

    # ------------------------------------------------------------------ writing

    def create(self, target: Target, body: Json, *, dry_run: bool = False) -> Json:
        """POST; a dry run is not stored. Raises Refusal (400 wrong kind, 409 exists, 422 rules)."""
        resource = target.resource
        item = _typed(resource, body)
        with self.store.changed:
            metadata = self._new_metadata(target, item)
            item = resource.rules.admit({**item, "metadata": metadata}, None)
            if resource.has_status:
                item.pop("status", None)
            named = Target(resource, metadata.get("namespace", ""), metadata["name"])
            enforce(named, resource.rules.check(item, None))
            if self.store.get(resource, named.key) is not None:
                raise exists(named)
            if dry_run:
                return item
            return self.store.put(resource, named.key, item)

    def replace(self, target: Target, body: Json) -> Json:
        """PUT of an object or of its ``/status``; a PUT that changes nothing writes nothing.

        Raises Refusal (400, 404, 409 stale resourceVersion or other UID, 422).
        """
        resource = target.resource
        item = _typed(resource, body)
        with self.store.changed:
            _check_identity(target, item)
            old = self.get(target)
            _check_preconditions(target, old, item.get("metadata", {}))
            item = resource.rules.admit(_merged(target, old, item), old)
            enforce(target, resource.rules.check(item, old))
            if resource.generation and item.get("spec") != old.get("spec"):
                item["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
            return self._settle(target, old, item)

    def _settle(self, target: Target, old: Json, item: Json) -> Json:
        metadata = item["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self.store.put(target.resource, target.key, item)
            return self.store.remove(target.resource, target.key)
        if item == old:
            return old
        return self.store.put(target.resource, target.key, item)

    def delete(self, target: Target, options: Json | None = None) -> Json:
        """DELETE; an object with finalizers is only marked. Raises Refusal (404, 409 precondition)."""
        with self.store.changed:
            old = self.get(target)
            _check_preconditions(target, old, (options or {}).get("preconditions") or {}, deleting=True)
            if old["metadata"].get("finalizers"):
                return self._mark_deleted(target, old)
            self.store.remove(target.resource, target.key)
        return deleted(target, old)

    def _mark_deleted(self, target: Target, old: Json) -> Json:
        if old["metadata"].get("deletionTimestamp"):
            return old
        metadata = {**old["metadata"], "deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}
        return self.store.put(target.resource, target.key, {**old, "metadata": metadata})

    def delete_collection(self, target: Target, selector: Selector) -> list[Json]:
        """DELETE of a list, as the kubelet wipes the slices of its node; returns what was deleted."""
        with self.store.changed:
            items = [i for i in self.store.all(target.resource, target.namespace) if selector.matches(i)]
            for item in items:
                self.delete(Target(target.resource, *key_of(item)))
            return items

    def force(self, resource: Resource, body: Mapping[str, object]) -> Json:
        """Create or overwrite spec and status at once, past immutability and resourceVersion: the tests' own hand."""
        item = _typed(resource, copy.deepcopy(dict(body)))
        with self.store.changed:
            wanted = item.get("metadata", {})
            target = Target(resource, wanted.get("namespace", "") if resource.namespaced else "")
            old = self.store.get(resource, (target.namespace, wanted.get("name", "")))
            metadata = self._new_metadata(target, item)
            if old is not None:
                kept = {
                    k: v
                    for k, v in old["metadata"].items()
                    if k in ("uid", "creationTimestamp", "generation")
                }
                metadata = {**metadata, **kept, "uid": wanted.get("uid", kept["uid"])}
                if resource.generation and item.get("spec") != old.get("spec"):
                    metadata["generation"] += 1
            item = resource.rules.admit({**item, "metadata": metadata}, old)
            named = Target(resource, target.namespace, metadata["name"])
            enforce(named, resource.rules.check(item, None))
            return self.store.put(resource, named.key, item)

    # ------------------------------------------------------------------ metadata

    def _new_metadata(self, target: Target, item: Json) -> Json:
        given = item.get("metadata") or {}
        name = given.get("name") or self._generate(target, given.get("generateName", ""))
        metadata = {**given, "name": name, "uid": given.get("uid") or str(uuid.uuid4())}
        metadata.setdefault("creationTimestamp", now())
        metadata.pop("resourceVersion", None)
        metadata.pop("deletionTimestamp", None)
        if target.resource.namespaced:
            _check_namespace(target, given)
            metadata["namespace"] = target.namespace
        else:
            metadata.pop("namespace", None)
        if target.resource.generation:
            metadata["generation"] = 1
        return metadata

    def _generate(self, target: Target, base: str) -> str:
        if not base:
            cause = Cause(
                "metadata.name", "FieldValueRequired", "Required value: name or generateName is required"
            )
            enforce(target, [cause])
        while True:
            suffix = "".join(self._random.choices(_SUFFIX_LETTERS, k=_SUFFIX))
            name = base[:_LONGEST_BASE] + suffix
            if name not in self._generated:
                self._generated.add(name)
                return name


def now() -> str:
    """Return the time as the API prints it: UTC, whole seconds."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_of(item: Json) -> Key:
    """Return (namespace, name)."""
    return (item["metadata"].get("namespace", ""), item["metadata"]["name"])


def _typed(resource: Resource, body: Json) -> Json:
    """Check ``apiVersion`` and ``kind``; both may be left out."""
    given = (body.get("apiVersion") or resource.api_version, body.get("kind") or resource.kind)
    if given != (resource.api_version, resource.kind):
        raise Refusal(
            400,
            f"the object provided ({given[0]}, Kind={given[1]}) does not match the expected type "
            f"({resource.api_version}, Kind={resource.kind})",
        )
    if not isinstance(body.get("metadata", {}), dict):
        raise Refusal(400, "json: cannot unmarshal into Go struct field .metadata of type v1.ObjectMeta")
    return {**body, "apiVersion": resource.api_version, "kind": resource.kind}


def _check_namespace(target: Target, given: Json) -> None:
    if not target.namespace:
        raise Refusal(400, "an empty namespace may not be set during creation")
    if given.get("namespace", target.namespace) != target.namespace:
        raise Refusal(
            400, "the namespace of the provided object does not match the namespace sent on the request"
        )


def _check_identity(target: Target, item: Json) -> None:
    name = item.get("metadata", {}).get("name", "")
    if name != target.name:
        raise Refusal(
            400, f"the name of the object ({name}) does not match the name on the URL ({target.name})"
        )


def _check_preconditions(target: Target, old: Json, wanted: Json, *, deleting: bool = False) -> None:
    stored = old["metadata"]
    uid, version = wanted.get("uid"), wanted.get("resourceVersion")
    if uid and uid != stored["uid"]:
        raise conflict(
            target, f"Precondition failed: UID in precondition: {uid}, UID in object meta: {stored['uid']}"
        )
    if version and version != stored["resourceVersion"]:
        if deleting:
            raise conflict(
                target,
                f"Precondition failed: ResourceVersion in precondition: {version}, "
                f"ResourceVersion in object meta: {stored['resourceVersion']}",
            )
        raise conflict(
            target,
            "the object has been modified; please apply your changes to the latest version and try again",
        )


def _merged(target: Target, old: Json, item: Json) -> Json:
    """Put together what a PUT may change and what it may not."""
    if target.subresource == "status":
        merged = copy.deepcopy(old)
        merged.pop("status", None)
        return {**merged, **({"status": item["status"]} if item.get("status") else {})}
    fixed = (
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "deletionTimestamp",
    )
    kept = {name: value for name, value in old["metadata"].items() if name in fixed}
    changeable = {name: value for name, value in item.get("metadata", {}).items() if name not in fixed}
    merged = {**item, "metadata": {**changeable, **kept}}
    if target.resource.has_status:
        merged.pop("status", None)
        if "status" in old:
            merged["status"] = copy.deepcopy(old["status"])
    return merged
