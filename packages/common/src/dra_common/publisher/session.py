"""One pass over the server: list, decide, write; and what is remembered from one pass to the next."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dra_common.errors import Conflict, NotFound
from dra_common.ports import ApiServer
from dra_common.publisher.compare import content, digest, dropped_fields, fingerprint
from dra_common.publisher.drops import Dropped
from dra_common.publisher.sync import SLICES, Owner, SyncPlan, plan_sync
from dra_common.publisher.watcher import Change
from dra_common.slices import SliceContent
from dra_common.telemetry import SLICE_WRITES, Telemetry


@dataclass(frozen=True, slots=True)
class Held:
    """A slice as the server held it when it last told us."""

    version: str
    digest: str

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Held:
        """Return this for a slice as the server prints it."""
        return cls(item["metadata"]["resourceVersion"], digest(item))


@dataclass(frozen=True, slots=True)
class Synced:
    """The pool after a pass."""

    generation: int
    slices: int
    writes: int


class Session:
    """Knows which slices the server holds and which of their versions are our own writes. Used by one thread.

    Args:
        node_uid: looks up the Node's UID. Raises DraError.
        on_listed: gets the version of every list, for a watch to start from.
        stopping: once set, nothing is written any more.
        telemetry: counts what is written.
    """

    def __init__(
        self,
        api: ApiServer,
        *,
        driver: str,
        node: str,
        node_uid: Callable[[], str],
        on_listed: Callable[[str], None],
        stopping: threading.Event,
        telemetry: Telemetry,
    ) -> None:
        self._api, self._driver, self._node, self._node_uid = api, driver, node, node_uid
        self._on_listed, self._stopping, self._telemetry = on_listed, stopping, telemetry
        self._uid = ""
        self._listed = ""
        self._known: dict[str, Held] = {}
        self._adopted: dict[str, Mapping[str, Any]] = {}
        self._dropped: dict[str, tuple[str, ...]] = {}

    @property
    def dropped(self) -> Dropped:
        """What the server did not store of the contents synced last."""
        return Dropped(tuple(sorted({field for fields in self._dropped.values() for field in fields})))

    def is_news(self, change: Change) -> bool:
        """Whether an event tells more than the last list and our own writes.

        Labels and the like are no news: others may keep what they want there, as often as they want.
        """
        known = self._known.get(change.name)
        if known is None:
            return not change.deleted and _is_newer(change.version, self._listed)
        return (change.deleted or change.digest != known.digest) and _is_newer(change.version, known.version)

    def sync(self, desired: Sequence[SliceContent]) -> Synced:
        """Make the server hold ``desired``.

        Raises Conflict when somebody else changed a slice meanwhile (try again), otherwise what the API or
        ``node_uid`` raise. What was written before an error stays, and the next pass goes on from there.
        """
        existing = self._list()
        self._forget_others({fingerprint(part.spec()) for part in desired})
        plan = self._plan(desired, existing)
        self._execute(plan)
        return Synced(
            plan.generation, len(desired), len(plan.deletes) + len(plan.updates) + len(plan.creates)
        )

    def _list(self) -> list[dict[str, Any]]:
        selector = {"fieldSelector": selector_of(self._driver, self._node)}
        answer = self._api.list(SLICES, query=selector)
        items: list[dict[str, Any]] = answer.get("items") or []
        self._listed = answer["metadata"]["resourceVersion"]
        self._known = {item["metadata"]["name"]: Held.of(item) for item in items}
        self._on_listed(self._listed)
        return items

    def _plan(self, desired: Sequence[SliceContent], existing: list[dict[str, Any]]) -> SyncPlan:
        """Plan with the Node's UID, asked for again before slices are made.

        Slices also vanish because their Node was deleted and made anew: with the old UID they would vanish again.
        """
        fresh = bool(desired) and not self._uid
        if fresh:
            self._uid = self._node_uid()
        plan = plan_sync(desired, existing, self._owner(), self._adopted)
        if plan.creates and not fresh:
            self._uid = self._node_uid()
            plan = plan_sync(desired, existing, self._owner(), self._adopted)
        return plan

    def _owner(self) -> Owner:
        return Owner(self._driver, self._node, self._uid)

    def _execute(self, plan: SyncPlan) -> None:
        for deletion in plan.deletes:
            if self._stopping.is_set():
                return
            self._delete(deletion.name, deletion.uid, deletion.resource_version)
        for item in (*plan.updates, *plan.creates):
            if self._stopping.is_set():
                return
            self._write(item)

    def _delete(self, name: str, uid: str, version: str) -> None:
        with contextlib.suppress(NotFound):  # somebody was faster
            self._api.delete(f"{SLICES}/{name}", uid=uid, resource_version=version)
            self._telemetry.count(SLICE_WRITES, verb="delete")
        self._known.pop(name, None)

    def _write(self, item: Mapping[str, Any]) -> None:
        name = item["metadata"].get("name")
        if name is None:
            stored = self._api.create(SLICES, item)
        else:
            try:
                stored = self._api.replace(f"{SLICES}/{name}", item)
            except NotFound as error:
                raise Conflict(
                    f"ResourceSlice {name} was deleted while it was to be updated", status=404
                ) from error
        self._telemetry.count(SLICE_WRITES, verb="update" if name else "create")
        self._known[stored["metadata"]["name"]] = Held.of(stored)
        self._compare(item["spec"], stored["spec"])

    def _compare(self, sent: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
        """Accept what the server made of our content, so that it is not written again and again."""
        key = fingerprint(sent)
        if content(sent) == content(stored):
            self._adopted.pop(key, None)
            self._dropped.pop(key, None)
        else:
            self._adopted[key] = content(stored)
            self._dropped[key] = dropped_fields(sent, stored)

    def _forget_others(self, keys: set[str]) -> None:
        for key in set(self._adopted) - keys:
            del self._adopted[key], self._dropped[key]


def selector_of(driver: str, node: str) -> str:
    """Return the field selector of one driver's slices on one node."""
    return f"spec.driver={driver},spec.nodeName={node}"


def _is_newer(version: str, than: str) -> bool:
    """Compare as numbers, which the API allows since KEP-5504; of versions that are none any other one is newer."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than
