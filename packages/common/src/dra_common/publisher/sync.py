"""What has to change on the server: decided from what it holds, without touching anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dra_common.publisher.compare import content, fingerprint, view, with_times
from dra_common.slices import SliceContent

API_VERSION = "resource.k8s.io/v1"
SLICES = f"/apis/{API_VERSION}/resourceslices"
_INDEX = re.compile(r"([0-9a-f]{5,})-")
_MIN_DIGITS = 5
_LAST_GENERATION = 2**62
"""A generation has 64 bits and only grows; one beyond this was not counted by anybody, and what has it is obsolete."""

Adopted = Mapping[str, Mapping[str, Any]]
"""Fingerprint of content as we want it -> the view of what this server stores when it is sent that."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose slices these are. The pool is named after the node, and the Node object owns its slices."""

    driver: str
    node: str
    node_uid: str

    def reference(self) -> dict[str, Any]:
        """Return the owner reference that makes the slices go away with the Node."""
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "name": self.node,
            "uid": self.node_uid,
            "controller": True,
        }


@dataclass(frozen=True, slots=True)
class Deletion:
    """A slice to delete, as it was seen."""

    name: str
    uid: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """Changes in the order in which they are made: deletes, updates (whole objects), creates (whole objects)."""

    generation: int
    deletes: tuple[Deletion, ...] = ()
    updates: tuple[dict[str, Any], ...] = ()
    creates: tuple[dict[str, Any], ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.deletes or self.updates or self.creates)


def plan_sync(
    desired: Sequence[SliceContent],
    existing: Iterable[Mapping[str, Any]],
    owner: Owner,
    adopted: Adopted | None = None,
) -> SyncPlan:
    """Return the least that makes ``existing`` (all slices of this driver and node) say ``desired``.

    The pool's generation stays if no slice is new and at most one changes, because consumers then never see half of
    a change; otherwise it grows and every slice is written. Slices of an older generation, of another pool, without
    an index in their name or with one that is too high or taken are obsolete. Empty ``desired`` deletes everything.
    """
    slices = list(existing)
    generations = [_generation(item) for item in slices if _pool(item) == owner.node]
    latest = max((number for number in generations if number < _LAST_GENERATION), default=0)
    kept = _kept(slices, owner, latest, len(desired))
    deletes = tuple(_deletion(item) for item in slices if not any(item is other for other in kept.values()))
    devices = {device["name"]: device for item in slices for device in item["spec"].get("devices") or ()}

    def specs(generation: int) -> list[dict[str, Any]]:
        return [_spec(part, owner, generation, len(desired), devices) for part in desired]

    generation, wanted = max(latest, 1), specs(max(latest, 1))
    changed = [index for index in kept if not _matches(kept[index], wanted[index], owner, adopted or {})]
    missing = [index for index in range(len(desired)) if index not in kept]
    if latest and (missing or len(changed) > 1):
        generation, changed = latest + 1, sorted(kept)
        wanted = specs(generation)
    updates = tuple(_updated(kept[index], wanted[index], owner) for index in sorted(changed))
    creates = tuple(_created(index, wanted[index], owner, len(desired)) for index in missing)
    return SyncPlan(generation, deletes, updates, creates)


def _kept(
    slices: list[Mapping[str, Any]], owner: Owner, latest: int, count: int
) -> dict[int, Mapping[str, Any]]:
    """Return index -> the slice that stays for it; of two with the same index the one whose name sorts first."""
    kept: dict[int, Mapping[str, Any]] = {}
    for item in sorted(slices, key=lambda item: str(item["metadata"]["name"])):
        index = index_of(item["metadata"]["name"], count)
        if _pool(item) == owner.node and _generation(item) == latest and index is not None:
            kept.setdefault(index, item)
    return kept


def index_prefix(index: int, count: int) -> str:
    """Return what the name of slice ``index`` of ``count`` begins with: lower-case hex, at least five digits, ``-``."""
    return f"{index:0{max(_MIN_DIGITS, len(f'{count - 1:x}'))}x}-"


def index_of(name: str, count: int) -> int | None:
    """Return the index in the name of a slice, None if it has none that fits a pool of ``count`` slices."""
    match = _INDEX.match(name)
    if match is None:
        return None
    index = int(match[1], 16)
    return index if index < count and match[0] == index_prefix(index, count) else None


def _pool(item: Mapping[str, Any]) -> str:
    return str((item["spec"].get("pool") or {}).get("name") or "")


def _generation(item: Mapping[str, Any]) -> int:
    return int((item["spec"].get("pool") or {}).get("generation") or 0)


def _spec(
    part: SliceContent, owner: Owner, generation: int, count: int, devices: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    pool = {"name": owner.node, "generation": generation, "resourceSliceCount": count}
    spec = {"driver": owner.driver, "nodeName": owner.node, "pool": pool, **part.spec()}
    if "devices" in spec:
        spec["devices"] = with_times(spec["devices"], devices)
    return spec


def _matches(item: Mapping[str, Any], wanted: Mapping[str, Any], owner: Owner, adopted: Adopted) -> bool:
    if not _owned(item, owner):
        return False
    have, want = view(item["spec"]), view(wanted)
    if have == want:
        return True
    stored = adopted.get(fingerprint(wanted))
    return stored is not None and content(item["spec"]) == stored and have["pool"] == want["pool"]


def _owned(item: Mapping[str, Any], owner: Owner) -> bool:
    references = item["metadata"].get("ownerReferences") or ()
    return any(
        reference.get("uid") == owner.node_uid and reference.get("controller") for reference in references
    )


def _updated(item: Mapping[str, Any], spec: Mapping[str, Any], owner: Owner) -> dict[str, Any]:
    """Return the object to PUT; labels and annotations that others put on it stay."""
    metadata = {**item["metadata"], "ownerReferences": [owner.reference()]}
    return {"apiVersion": API_VERSION, "kind": "ResourceSlice", "metadata": metadata, "spec": dict(spec)}


def _created(index: int, spec: Mapping[str, Any], owner: Owner, count: int) -> dict[str, Any]:
    metadata = {
        "generateName": f"{index_prefix(index, count)}{owner.driver}-{owner.node}-",
        "ownerReferences": [owner.reference()],
    }
    return {"apiVersion": API_VERSION, "kind": "ResourceSlice", "metadata": metadata, "spec": dict(spec)}


def _deletion(item: Mapping[str, Any]) -> Deletion:
    metadata = item["metadata"]
    return Deletion(metadata["name"], metadata.get("uid", ""), metadata.get("resourceVersion", ""))
