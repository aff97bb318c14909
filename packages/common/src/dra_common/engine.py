"""The claim engine, one for all drivers: what a NodePrepareResources and a NodeUnprepareResources call comes to.

Many claims and many calls run at once; the lock of a claim, the locks of hardware parents and the holds of devices,
all on disk, are what keeps them apart, within this process and between two.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic

from dra_common.allocation import check_uid, read_allocation
from dra_common.config import configure
from dra_common.deadline import Deadline
from dra_common.driver import Driver, H, Wanted
from dra_common.errors import ClaimError, DeviceRefused
from dra_common.lifecycle import Lifecycle
from dra_common.log import annotate
from dra_common.model import Claim, ClaimRecord, ClaimRef, Phase, PreparedDevice
from dra_common.ports import ClaimReader, Locks
from dra_common.recovery import forget

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine(Generic[H]):
    """Implements :class:`~dra_common.ports.ClaimService`. Holds no state of its own: every decision is read from disk.

    Args:
        driver: the hardware knowledge.
        lifecycle: the steps of one claim.
        claims: how ResourceClaims are read.
        locks: claim and parent locks.
        pool: the name of this node's pool, which is the node's name.
    """

    driver: Driver[H]
    lifecycle: Lifecycle[H]
    claims: ClaimReader
    locks: Locks
    pool: str

    def prepare(self, ref: ClaimRef, deadline: Deadline) -> tuple[PreparedDevice, ...]:
        """Prepare one claim; a claim prepared in this boot is answered from its record, without the API server.

        Raises ClaimError, ClusterError, LockTimeout, HostError, StateError; then nothing has changed, or the record
        says what is left to undo.
        """
        check_uid(ref)
        while True:
            claim = None if self.lifecycle.peek(ref.uid) else self._read(ref, deadline)
            with self._locked(ref, deadline):
                record = self.lifecycle.load(ref.uid)
                if record is not None and self.lifecycle.is_current(record):
                    return self._answer_again(record, ref)
                if claim is not None:
                    return self._prepare(claim, record, deadline)

    def unprepare(self, ref: ClaimRef, deadline: Deadline) -> None:
        """Leave nothing of a claim; one that is not known is fine. Never talks to the API server.

        Raises LockTimeout, HostError, StateError; what remains is recorded, and tried again by the next call.
        """
        check_uid(ref)
        with self._locked(ref, deadline):
            record = self.lifecycle.load(ref.uid)
            if record is None:
                forget(self.lifecycle, self.locks, ref.uid, deadline)
            else:
                _annotate(planned.allocated.device for planned in record.plan.devices)
                with self.locks.parents(record.plan.parents, deadline):
                    self.lifecycle.undo(record)
        if record is None:
            _log.info("the claim is not known: nothing to unprepare")

    @contextmanager
    def _locked(self, ref: ClaimRef, deadline: Deadline) -> Iterator[None]:
        """Hold the claim's lock; its file goes when there is no record (any more) that it protects.

        Raises ClaimError once nobody waits: the lock orders calls only as long as their caller does. A kubelet that
        gave up may have unprepared the claim, or prepared it anew, before we got here.
        """
        with self.locks.claim(ref.uid, deadline):
            try:
                if deadline.passed:
                    msg = f"claim {ref}: not begun: the kubelet no longer waits for the answer"
                    raise ClaimError(msg, cure="it asks again if it still needs it")
                yield
            finally:
                if not self.lifecycle.is_known(ref.uid):
                    self.locks.forget_claim(ref.uid)

    def _answer_again(self, record: ClaimRecord, ref: ClaimRef) -> tuple[PreparedDevice, ...]:
        _annotate(device.device for device in record.answer)
        self.lifecycle.keep(record)
        self.lifecycle.name(record, ref)
        _log.info("already prepared: answered from its record")
        return record.answer

    def _read(self, ref: ClaimRef, deadline: Deadline) -> Claim:
        """GET the claim, outside every lock."""
        raw = self.claims.read(ref, deadline)
        claim = read_allocation(raw, ref, driver=self.driver.name, pool=self.pool)
        _annotate(result.device for result in claim.results)
        return claim

    def _prepare(
        self, claim: Claim, record: ClaimRecord | None, deadline: Deadline
    ) -> tuple[PreparedDevice, ...]:
        """Prepare under the claim's lock; ``record`` is of another boot, or of a call that did not finish."""
        if record is not None and record.phase is not Phase.PREPARED:
            with self.locks.parents(record.plan.parents, deadline):
                self.lifecycle.settle(record)
        # Once unprepared, a claim may get another answer; before that it never does.
        before = record if record and record.phase is not Phase.UNPREPARING else None
        wanted = configure(claim, self.driver.config_kinds)
        hardware = self._hardware(claim)
        parents = self._parents(wanted, hardware)
        with self.locks.parents(parents, deadline):
            if parents:  # what was read without their locks was no more than a hint
                hardware = self._hardware(claim)
                _require(claim, parents, self._parents(wanted, hardware))
            hardware = self.lifecycle.examine(wanted, hardware)
            modes = self.lifecycle.modes.open_to(claim.ref.uid, parents)
            plan = self.driver.plan(wanted, hardware, modes)
            self.lifecycle.modes.check(claim.ref, plan, modes)
            prepared = self.lifecycle.carry_out(claim, plan, hardware, before)
        return prepared.answer

    def _hardware(self, claim: Claim) -> Mapping[str, H]:
        devices = frozenset(result.device for result in claim.results)
        return self.lifecycle.hardware(devices, claim.ref) if devices else {}

    def _parents(self, wanted: Iterable[Wanted], hardware: Mapping[str, H]) -> frozenset[str]:
        """Name the locks that the driver wants, and those of parents that some claim has in a mode already.

        What a driver would not lock by its policy of now may be in a mode by the one of before.
        """
        each = [(one, hardware[one.allocated.device]) for one in wanted]
        locks = frozenset(parent for one, found in each for parent in self.driver.locks(one, found))
        parents = {self.driver.parent(found) for one, found in each if not one.allocated.admin_access}
        return locks | self.lifecycle.modes.among(parents - locks)


def _require(claim: Claim, locked: frozenset[str], needed: frozenset[str]) -> None:
    if missing := sorted(needed - locked):
        msg = f"claim {claim.ref}: hardware {missing[0]} has changed while its lock was waited for"
        raise DeviceRefused(msg, cure="it is tried again")


def _annotate(devices: Iterable[str]) -> None:
    """From here on every log line of the call names its devices."""
    if named := ",".join(sorted(set(devices))):
        annotate(device=named)
