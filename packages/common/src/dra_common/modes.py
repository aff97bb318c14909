"""Which parent is in which mode, and for whom: the first claim sets it, the last one gives it back.

The caller holds the locks of the parents. ``hardware/<parent>.json`` is written after the claim's record and before the
hardware, and changed back after it. Each record says of its claim what that file says of all, so that a damaged one is
made again from the records.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from dra_common.errors import CorruptRecord, DeviceHeld, StateError
from dra_common.model import ClaimRecord, ClaimRef, ModeUse, ParentMode, Plan
from dra_common.ports import Parents, Records
from dra_common.telemetry import RECORDS_SET_ASIDE, SILENT, Reason, Telemetry

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Modes:
    """The modes of this node's parents, in this boot: another one has put the hardware back, whatever the files say."""

    parents: Parents
    records: Records
    boot_id: str
    telemetry: Telemetry = SILENT

    def of(self, parents: Iterable[str]) -> Mapping[str, ParentMode]:
        """Return the mode of each parent that is in one. Raises NewerRecord, StateError."""
        modes = (self._load(parent) for parent in parents)
        return {mode.parent: mode for mode in modes if mode}

    def open_to(self, uid: str, parents: Iterable[str]) -> Mapping[str, ParentMode]:
        """Return the same as a claim may join them: what it has already, perhaps by a record that was lost, is free."""
        return {name: mode.left(uid) for name, mode in self.of(parents).items()}

    def check(self, ref: ClaimRef, plan: Plan, others: Mapping[str, ParentMode]) -> None:
        """Raise DeviceHeld if a parent is in another mode than the plan wants, or a part is somebody else's.

        ``others`` is what :meth:`open_to` returned.
        """
        for use in plan.uses:
            mode = others.get(use.parent)
            if mode and mode.holders and (use.mode != mode.mode or not _is_free(mode, use)):
                raise self._held(ref, use, mode)

    def join(self, record: ClaimRecord) -> None:
        """Write down that the claim uses what its plan says, before anything is set. Raises StateError."""
        uid = record.ref.uid
        for use in record.plan.uses:
            mode = self._load(use.parent)
            if mode is None or mode.mode != use.mode:
                mode = ParentMode(use.parent, self.boot_id, use.mode, use.before, use.after)
            joined = mode.joined(uid, use.part)
            if joined is not mode:
                self.parents.save(joined)

    def used_by(self, uid: str) -> Mapping[str, ParentMode]:
        """Return the parents that a claim uses, whatever its record says (scans); without their locks.

        Damaged files say nothing. Raises StateError only if the folder cannot be listed.
        """
        return {mode.parent: mode for mode in self._seen() if uid in mode.holders}

    def among(self, parents: Iterable[str]) -> frozenset[str]:
        """Return which of these have a file, so that they may be in a mode; without their locks. Raises StateError."""
        return frozenset(filter(self.parents.has, parents))

    def seen(self) -> Mapping[str, ParentMode]:
        """Return all parents that are in a mode now, by name, as :meth:`used_by`."""
        return {mode.parent: mode for mode in self._seen()}

    def holders(self) -> frozenset[str]:
        """UIDs of all claims that use a parent, as :meth:`used_by`."""
        return frozenset(uid for mode in self._seen() for uid in mode.holders)

    def has(self, uid: str, use: ModeUse) -> bool:
        """Whether a claim has this part now, it alone: not before it joined, nor once it has left.

        Whoever came in between may have it then. Raises what :meth:`of` raises.
        """
        mode = self.of([use.parent]).get(use.parent)
        has = [holder for holder, parts in mode.holders.items() if use.part in parts] if mode else []
        return has == [uid]

    def vacated(self, uid: str, parents: Iterable[str]) -> frozenset[str]:
        """Return which of these nobody uses once the claim has left: they are to be given back.

        Raises what :meth:`of` raises.
        """
        modes = self.of(parents).items()
        return frozenset(name for name, mode in modes if uid in mode.holders and not mode.left(uid).holders)

    def leave(self, uid: str, parents: Iterable[str]) -> None:
        """Write down that the claim uses none of these any more, after they were given back.

        Raises what :meth:`of` raises.
        """
        for name, mode in self.of(parents).items():
            if uid not in mode.holders:
                continue
            left = mode.left(uid)
            if left.holders:
                self.parents.save(left)
            else:
                self.parents.forget_set_aside(name)
                self.parents.delete(name)

    def mend(self, parent: str) -> None:
        """Remove what a crash or another boot left, and make a damaged file again. Raises NewerRecord, StateError."""
        self.parents.drop_unfinished(parent)
        if self._load(parent) is None:
            self.parents.delete(parent)

    def _seen(self) -> Iterator[ParentMode]:
        for name in self.parents.names():
            with suppress(StateError):
                mode = self.parents.load(name)
                if mode and mode.boot_id == self.boot_id:
                    yield mode

    def _load(self, parent: str) -> ParentMode | None:
        try:
            mode = self.parents.load(parent)
        except CorruptRecord as error:
            self._set_aside(parent, error)
            mode = None
        if mode is None and self.parents.is_set_aside(parent):  # just now, or before a crash
            mode = self._made_again(parent)
        return mode if mode and mode.boot_id == self.boot_id else None

    def _set_aside(self, parent: str, error: CorruptRecord) -> None:
        kept = self.parents.set_aside(parent)
        _log.error(
            "record of hardware %s set aside as %s, made again from the claims: %s", parent, kept, error
        )
        self.telemetry.count(RECORDS_SET_ASIDE)
        self.telemetry.event(Reason.RECORD_SET_ASIDE, f"{error.message}: set aside as {kept}")

    def _made_again(self, parent: str) -> ParentMode | None:
        mode = None
        for uid, use in self._uses(parent):
            mode = (mode or ParentMode(parent, self.boot_id, use.mode, use.before, use.after)).joined(
                uid, use.part
            )
        if mode:
            self.parents.save(mode)
        return mode

    def _uses(self, parent: str) -> Iterator[tuple[str, ModeUse]]:
        """What the records of this boot say of a parent."""
        for uid in self.records.uids():
            with suppress(StateError):  # one that cannot be read is found, and told, by others
                record = self.records.load(uid)
                if record and record.boot_id == self.boot_id:
                    yield from ((uid, use) for use in record.plan.uses if use.parent == parent)

    def _held(self, ref: ClaimRef, use: ModeUse, others: ParentMode) -> DeviceHeld:
        holders = ", ".join(self._name(uid) for uid in others.holders)
        msg = f"claim {ref}: {use.parent} cannot be in mode {use.mode}: it is in mode {others.mode} for {holders}"
        return DeviceHeld(
            msg, cure="unprepare these claims first: delete their pods, or `claims` on this node"
        )

    def _name(self, uid: str) -> str:
        with suppress(StateError):
            if record := self.records.load(uid):
                return f"claim {record.ref}"
        return f"the claim with uid {uid}"


def _is_free(others: ParentMode, use: ModeUse) -> bool:
    return all(use.part not in has for has in others.holders.values())
