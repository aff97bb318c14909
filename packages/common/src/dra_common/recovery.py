"""At start, before the kubelet is answered: finish or undo what a crash interrupted, remove what belongs to nobody."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Generic

from dra_common.deadline import Deadline
from dra_common.driver import H
from dra_common.errors import DraError, NewerRecord, StateError
from dra_common.lifecycle import Lifecycle, State
from dra_common.log import bind
from dra_common.model import ClaimRecord, Phase
from dra_common.modes import Modes
from dra_common.ports import Locks
from dra_common.telemetry import RECOVERY_ACTIONS, SILENT, Reason, Telemetry

_log = logging.getLogger(__name__)

_PARENT_WAIT = 5.0
"""Seconds to wait, over all claims, for hardware that another instance is working on; later calls try again."""


@dataclass(slots=True)
class Recovered:
    """What recovery did, UIDs of claims by action."""

    undone: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Recovery(Generic[H]):
    """Looks at every record, hold and CDI file once; acts only on claims whose lock it can take at once."""

    lifecycle: Lifecycle[H]
    state: State
    locks: Locks
    telemetry: Telemetry = SILENT

    def run(self) -> Recovered:
        """Recover. One claim that cannot be recovered is logged and left to later calls; the others go on.

        Raises StateError only if the state folders themselves cannot be listed.
        """
        done = Recovered()
        deadline = Deadline.after(_PARENT_WAIT)
        self._mend_modes(deadline)
        # First, so that a hold of nobody's does not keep its device from the claim that has it by its record.
        for uid in sorted(orphan_uids(self.state, self.locks.claim_uids(), self.lifecycle.modes)):
            self._with_lock(uid, done, self._remove_orphan)
        for uid in self.state.records.uids():
            self._with_lock(uid, done, partial(self._recover, deadline))
        self._sweep()
        self._count(done)
        if done.undone or done.orphans or done.failed:
            _log.info(
                "recovery: %d undone, %d prepared claims kept, %d orphans removed, %d left for later",
                len(done.undone),
                len(done.kept),
                len(done.orphans),
                len(done.failed),
            )
        return done

    def _mend_modes(self, deadline: Deadline) -> None:
        """Remove what the hardware's modes were before a reboot, and make damaged files of them again."""
        for parent in self.state.parents.names():
            try:
                with self.locks.parents([parent], deadline):
                    self.lifecycle.modes.mend(parent)
            except DraError as error:
                _log.error("the mode of hardware %s is not known: %s", parent, error)

    def _count(self, done: Recovered) -> None:
        for action in fields(done):
            if amount := len(getattr(done, action.name)):
                self.telemetry.count(RECOVERY_ACTIONS, amount, action=action.name)

    def _with_lock(self, uid: str, done: Recovered, act: Callable[[str, Recovered], None]) -> None:
        with bind(uid=uid):
            try:
                with self.locks.try_claim(uid) as locked:
                    if locked:
                        act(uid, done)
                    else:
                        _log.info("another instance works on this claim: left to it")
            except DraError as error:
                done.failed.append(uid)
                _log.error("claim not recovered: %s", error)
                if isinstance(error, NewerRecord):
                    self.telemetry.event(Reason.RECORD_TOO_NEW, str(error))
            except Exception:  # noqa: BLE001 - a defect of a driver: the claims of others must be served
                done.failed.append(uid)
                _log.exception("claim not recovered")

    def _recover(self, deadline: Deadline, uid: str, done: Recovered) -> None:
        record = self.lifecycle.load(uid)
        if record is None:
            return
        with suppress(StateError):  # what stays does not matter to the claim
            self.state.records.drop_unfinished(uid)
            self.state.specs.drop_unfinished(uid)
        with bind(claim=record.ref.full_name):
            if record.phase is Phase.PREPARED:
                self.lifecycle.keep(record)
                done.kept.append(uid)
            else:
                self._settle(record, deadline)
                done.undone.append(uid)

    def _settle(self, record: ClaimRecord, deadline: Deadline) -> None:
        _log.warning("found %s after a restart: undoing", record.phase)
        with self.locks.parents(record.plan.parents, deadline):
            self.lifecycle.settle(record)
        if not self.lifecycle.is_known(record.ref.uid):
            self.locks.forget_claim(record.ref.uid)

    def _remove_orphan(self, uid: str, done: Recovered) -> None:
        if remove_orphan(self.lifecycle, self.locks, uid):
            done.orphans.append(uid)

    def _sweep(self) -> None:
        try:
            self.state.specs.sweep_temporary()
            self.state.shared.finish()
        except DraError as error:
            _log.warning("unfinished CDI files stay: %s", error)
        try:
            self.state.holds.tidy()
        except DraError as error:
            _log.warning("empty folders of holds stay: %s", error)


def orphan_uids(state: State, locked: frozenset[str], modes: Modes) -> frozenset[str]:
    """UIDs with hardware, a hold or a file but no record; a record set aside still speaks for its claim.

    ``locked`` has those whose lock file is a reason to look. Raises StateError.
    """
    unfinished = state.records.unfinished_uids()
    seen = _union(
        state.holds.holders().values(),
        state.specs.uids(),
        state.shared.uids(),
        locked,
        unfinished,
        modes.holders(),
    )
    return seen - frozenset(state.records.uids()) - state.records.set_aside_uids()


def remove_orphan(lifecycle: Lifecycle[H], locks: Locks, uid: str) -> bool:
    """Remove what is left of a claim that was being removed, or never got far; whether it still was an orphan.

    Called under the claim's lock. Raises LockTimeout, HostError, StateError.
    """
    if lifecycle.is_known(uid):
        return False
    forget(lifecycle, locks, uid, Deadline.after(_PARENT_WAIT))
    locks.forget_claim(uid)
    return True


def forget(lifecycle: Lifecycle[H], locks: Locks, uid: str, deadline: Deadline) -> None:
    """Remove what is left of a claim without a readable record, under its lock.

    Raises LockTimeout, HostError, StateError.
    """
    with locks.parents(lifecycle.modes.used_by(uid), deadline):
        lifecycle.forget(uid)


def _union(*groups: Iterable[str]) -> frozenset[str]:
    return frozenset(uid for group in groups for uid in group)
