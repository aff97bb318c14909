"""Moves one claim between its phases. The caller holds the claim's lock and the locks of the plan's parents.

Every step is written down before it is taken, in this order, so that a crash anywhere leaves enough to undo:

.. code-block:: text

    carry out:  holds -> record "preparing" -> modes of parents -> hardware -> CDI -> record "prepared"
    undo:       record "unpreparing" -> hardware back -> modes of parents -> CDI gone -> record gone -> holds gone

So a record never names a device that its claim does not hold, and undoing never touches what is somebody else's by now.
A hold without a record belongs to nobody: its claim's next call, or recovery, removes it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic

from dra_common import answer
from dra_common.driver import Driver, H, Wanted
from dra_common.errors import CorruptRecord, DeviceHeld, DeviceRefused, DeviceUnknown, DraError, StateError
from dra_common.model import (
    Allocated,
    Claim,
    ClaimRecord,
    ClaimRef,
    ModeUse,
    Phase,
    Plan,
    PlannedDevice,
    PreparedDevice,
)
from dra_common.modes import Modes
from dra_common.ports import Doorbell, Holds, Host, Parents, Records, SharedSpecs, SpecDevices, Specs
from dra_common.telemetry import RECORDS_SET_ASIDE, SILENT, Reason, Telemetry

_log = logging.getLogger(__name__)

NOT_THIS_BOOT = ""
"""The boot id of a record whose claim is prepared, but not in this boot; no boot has it."""


@dataclass(frozen=True, slots=True)
class State:
    """What this driver keeps on disk about claims."""

    records: Records
    holds: Holds
    specs: Specs
    shared: SharedSpecs
    parents: Parents


class Lifecycle(Generic[H]):
    """The steps of prepare and unprepare, each safe to repeat."""

    def __init__(
        self,
        driver: Driver[H],
        host: Host,
        state: State,
        doorbell: Doorbell,
        boot_id: str,
        *,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._driver = driver
        self._host = host
        self._state = state
        self._doorbell = doorbell
        self._telemetry = telemetry
        self.boot_id = boot_id
        self.modes = Modes(state.parents, state.records, boot_id, telemetry)

    def load(self, uid: str) -> ClaimRecord | None:
        """Return the record; a corrupt one is set aside, reported, and treated as none. Raises StateError."""
        try:
            return self._state.records.load(uid)
        except CorruptRecord as error:
            kept = self._state.records.set_aside(uid)
            _log.error("claim record set aside as %s: %s", kept, error)
            self._telemetry.count(RECORDS_SET_ASIDE)
            self._telemetry.event(Reason.RECORD_SET_ASIDE, f"{error.message}: set aside as {kept}")
            return None

    def is_current(self, record: ClaimRecord | None) -> bool:
        """Whether the claim is prepared, and in this boot: its record is the answer."""
        return record is not None and record.phase is Phase.PREPARED and record.boot_id == self.boot_id

    def peek(self, uid: str) -> bool:
        """Whether the claim looks current, without its lock; only a hint. Raises StateError."""
        try:
            return self.is_current(self._state.records.load(uid))
        except CorruptRecord:
            return False

    def is_known(self, uid: str) -> bool:
        """Whether there is a record of the claim, readable or not."""
        return self._state.records.exists(uid)

    def hardware(self, devices: frozenset[str], ref: ClaimRef) -> Mapping[str, H]:
        """Read the named devices again. Raises DeviceUnknown naming one that is not there, HostError."""
        found = self._driver.discover(self._host, only=devices)
        missing = sorted(devices - found.hardware.keys())
        if missing:
            why = "; ".join(found.problems) or "no such device"
            msg = f"claim {ref}: device {missing[0]} is not on this node: {why}"
            raise DeviceUnknown(msg, cure="see the published devices; re-create the claim to get another one")
        return found.hardware

    def examine(self, wanted: Sequence[Wanted], hardware: Mapping[str, H]) -> Mapping[str, H]:
        """Read what only a plan needs of the hardware. Raises HostError."""
        return self._driver.examine(wanted, hardware, self._host)

    def carry_out(
        self, claim: Claim, plan: Plan, hardware: Mapping[str, H], before: ClaimRecord | None = None
    ) -> ClaimRecord:
        """Bring a planned claim to *prepared* and return its record; on failure everything is as before.

        ``before`` is its record of an earlier boot, whose answer is given again. Raises DraError.
        """
        if before:
            record = replace(before.planned_again(plan, self.boot_id), ref=claim.ref)
        else:
            record = ClaimRecord(claim.ref, Phase.PREPARING, self.boot_id, plan, pod_claim=claim.pod_claim)
        self._hold(record)
        try:
            self._state.records.save(record)
            self.modes.join(record)
            self._driver.apply(plan, self._host)
            return self._publish_edits(record, self._facts(record, hardware))
        except Exception as error:
            self._roll_back(record, error)
            raise

    def keep(self, record: ClaimRecord) -> None:
        """Make sure that a prepared claim has its devices and, in this boot, its CDI files. Raises DraError.

        The files are made again from the hardware of now: card numbers change when a kernel driver is reloaded, and an
        old file would then name another tenant's device.
        """
        self._hold(record)
        if self.is_current(record) and record.plan.devices:
            self._write_specs(record, self.hardware(_devices(record), record.ref))

    def adopt(self, record: ClaimRecord, hardware: Mapping[str, H]) -> str:
        """Take over a claim that another driver prepared; its record says *prepared* already. Nothing is applied.

        Returns why its containers could not be started again now, empty if they can: to hold the devices is worth
        more than to refuse what runs. Raises DeviceHeld, StateError; then nothing has changed.
        """
        trouble = ""
        try:
            self._hold(record)
            try:
                self._share(record, hardware if self.is_current(record) else {})
            except DeviceRefused as error:
                trouble = str(error)
            self._state.records.save(record)
        except Exception:
            self._disown(record)
            raise
        return trouble if self.is_current(record) else ""

    def name(self, record: ClaimRecord, ref: ClaimRef) -> None:
        """Write down what the kubelet calls a claim that was adopted without its name. Raises StateError."""
        if not record.ref.is_named:
            self._state.records.save(replace(record, ref=ref))

    def specs(self, record: ClaimRecord) -> SpecDevices:
        """Return what a prepared claim's containers get by its CDI files, from the hardware of now. Raises DraError."""
        devices = _devices(record)
        hardware = self.hardware(devices, record.ref) if devices else {}
        if record.adopted:
            return {"": self._driver.adopted_edits(record.answer, hardware, self._host.dev_root)}
        return self._made(record, hardware)[0]

    def compare_specs(self, record: ClaimRecord) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the CDI files of a claim prepared in this boot that are missing, and those that are not right.

        Of an adopted claim the ids that nothing defines are missing. Raises DraError.
        """
        if record.adopted:
            return self._state.shared.unresolved(_ids(record.answer)), ()
        return self._state.specs.compare(record.ref.uid, self.specs(record))

    def settle(self, record: ClaimRecord) -> None:
        """Bring a claim whose last call did not finish to what it was before, or to nothing. Raises DraError."""
        # A preparation that failed after a reboot takes nothing from what was promised before it.
        if record.phase is Phase.PREPARING or (record.phase is Phase.FAILED and record.answer):
            self._take_back(record)
        else:
            self.undo(record)

    def undo(self, record: ClaimRecord) -> None:
        """Bring a claim in any phase to "nothing left". Raises DraError; what remains is tried again."""
        self._revert(self._mark(record))
        self._state.specs.delete(record.ref.uid)
        self._state.shared.release(record.ref.uid)
        self._let_go(record)
        if record.phase is Phase.FAILED:
            self._doorbell.ring("a failed claim was undone")

    def forget(self, uid: str) -> None:
        """Remove what is left of a claim without a readable record: modes, holds, CDI files, what was set aside.

        The caller holds the locks of :meth:`Modes.used_by`. Raises HostError, StateError; what remains is tried again.
        """
        self._leave_modes(uid)
        self._state.specs.delete(uid)
        self._state.shared.release(uid)
        self._state.holds.release_all(uid)
        self._state.records.forget_set_aside(uid)
        self._state.records.delete(uid)

    def _roll_back(self, record: ClaimRecord, cause: Exception) -> None:
        """Take a failed preparation back; raises nothing, since the caller reports the first cause."""
        try:
            self._take_back(record)
        except DraError as error:
            _log.error("could not undo the preparation (%s), it is tried again: %s", cause, error)
        except Exception:  # noqa: BLE001 - a defect of a driver: the first error says more
            _log.exception("could not undo the preparation (%s), it is tried again", cause)

    def _take_back(self, record: ClaimRecord) -> None:
        """Undo this boot's preparation; what was prepared in an earlier boot stays the claim's. Raises DraError."""
        self._revert(record)
        self._state.specs.delete(record.ref.uid)
        if record.answer:
            self._hold(record)  # a power cut may have taken the links
            self._state.records.save(replace(record, phase=Phase.PREPARED, boot_id=NOT_THIS_BOOT))
        else:
            self._let_go(record)

    def _mark(self, record: ClaimRecord) -> ClaimRecord:
        """Write down that undoing begins, unless the record says already that there is something to undo.

        If that fails, undoing goes on: kubelets evict pods from full disks, and cleaning up must not need space.
        """
        if record.phase is Phase.UNPREPARING or (record.phase is Phase.FAILED and not record.answer):
            return record
        marked = replace(record, phase=Phase.UNPREPARING)
        try:
            self._state.records.save(marked)
        except StateError as error:
            _log.warning("undoing without a note of it: %s", error)
        return marked

    def _revert(self, record: ClaimRecord) -> None:
        """Give back what was changed in this boot on devices that are this claim's; a failure makes it *failed*."""
        changed = Plan(
            tuple(planned for planned in record.plan.devices if self._is_to_revert(planned, record))
        )
        parents = {use.parent for use in record.plan.uses}
        try:
            if changed.devices:
                vacated = self.modes.vacated(record.ref.uid, parents)
                self._driver.revert(changed, self._host, vacated)
            self.modes.leave(record.ref.uid, parents)
        except Exception as error:
            self._fail(record, str(error) or type(error).__name__)
            raise
        if changed.devices:
            self._doorbell.ring("hardware was given back")

    def _leave_modes(self, uid: str) -> None:
        """Give back what only the files of its parents say of a claim. Raises HostError, StateError."""
        used = self.modes.used_by(uid)
        if not used:
            return
        uses = (mode.use(part) for mode in used.values() for part in mode.holders[uid])
        lost = Plan(tuple(PlannedDevice(_nothing(use), (use.parent,), use=use) for use in uses))
        self._driver.revert(lost, self._host, self.modes.vacated(uid, used))
        self.modes.leave(uid, used)
        self._doorbell.ring("hardware was given back")

    def _is_to_revert(self, planned: PlannedDevice, record: ClaimRecord) -> bool:
        # A reboot put everything back, and by now the device's name may be another card's.
        if not planned.changes_hardware or record.boot_id != self.boot_id:
            return False
        # What it has of a parent has no hold: when it did not join yet, or has left, the next claim has that part.
        if planned.use and planned.use.after is not None and not self.modes.has(record.ref.uid, planned.use):
            return False
        return self._take(planned.allocated, record.ref.uid) == record.ref.uid

    def _fail(self, record: ClaimRecord, why: str) -> None:
        try:
            if (record.phase, record.error) != (Phase.FAILED, why):
                # Of what is being unprepared nothing is promised any more.
                answer = () if record.phase is Phase.UNPREPARING else record.answer
                self._state.records.save(replace(record, phase=Phase.FAILED, answer=answer, error=why))
                self._telemetry.event(Reason.REVERT_FAILED, f"claim {record.ref}: not given back: {why}")
        except StateError as error:
            _log.error("cannot record that the hardware was not given back (%s): %s", why, error)
        self._doorbell.ring("a revert failed")

    def _let_go(self, record: ClaimRecord) -> None:
        """Remove the record, then its holds: whatever a record says to revert is held by its claim."""
        uid = record.ref.uid
        self._state.records.forget_set_aside(uid)
        self._state.records.delete(uid)
        self._release(record)
        self._doorbell.freed(_devices(record))

    def _release(self, record: ClaimRecord) -> None:
        for planned in record.plan.devices:
            self._state.holds.release(planned.allocated.device, planned.allocated.share_id, record.ref.uid)

    def _hold(self, record: ClaimRecord) -> None:
        """Take every device, or none that was not the claim's before. Raises DeviceHeld, StateError."""
        try:
            for planned in record.plan.devices:
                holder = self._take(planned.allocated, record.ref.uid)
                if holder != record.ref.uid:
                    raise self._held(record.ref, planned.allocated.device, holder)
        except DraError:
            if not record.answer:
                self._release(record)
            raise

    def _take(self, allocated: Allocated, uid: str) -> str:
        """Return who has the device now; nobody has what an administrator looks at."""
        if allocated.admin_access:
            return uid
        return self._state.holds.take(allocated.device, allocated.share_id, uid)

    def _held(self, ref: ClaimRef, device: str, holder: str) -> DeviceHeld:
        msg = f"claim {ref}: device {device} is held by claim {self._name(holder)}"
        return DeviceHeld(msg, cure="unprepare that claim first: delete its pods, or `claims` on this node")

    def _name(self, uid: str) -> str:
        try:
            record = self._state.records.load(uid)
        except StateError:
            record = None
        return str(record.ref) if record else f"with uid {uid}"

    def _facts(self, record: ClaimRecord, hardware: Mapping[str, H]) -> Mapping[str, H]:
        """Hardware as it is after ``apply``: read again only if something was changed."""
        if not any(planned.changes_hardware for planned in record.plan.devices):
            return hardware
        self._doorbell.ring("hardware was changed for a claim")
        return self.hardware(_devices(record), record.ref)

    def _publish_edits(self, record: ClaimRecord, hardware: Mapping[str, H]) -> ClaimRecord:
        answer = self._write_specs(record, hardware)
        prepared = replace(record, phase=Phase.PREPARED, answer=record.answer or answer)
        self._state.records.save(prepared)
        return prepared

    def _write_specs(self, record: ClaimRecord, hardware: Mapping[str, H]) -> tuple[PreparedDevice, ...]:
        """Write the claim's CDI files and check that every id about to be returned resolves."""
        if record.adopted:
            self._share(record, hardware)
            return record.answer
        classes, answer = self._made(record, hardware)
        self._state.specs.write(record.ref.uid, classes)
        _require(record.ref, self._state.specs.unresolved(record.ref.uid, _ids(record.answer or answer)))
        return answer

    def _share(self, record: ClaimRecord, hardware: Mapping[str, H]) -> None:
        """The same for ids that another driver gave, and that other claims of its may have too."""
        ids = _ids(record.answer)
        edits = self._driver.adopted_edits(record.answer, hardware, self._host.dev_root)
        self._state.shared.define(record.ref.uid, ids, edits)
        _require(record.ref, self._state.shared.unresolved(ids))

    def _disown(self, record: ClaimRecord) -> None:
        """Take back what an adoption did that failed; raises nothing, since the caller reports the first cause."""
        try:
            self._state.shared.release(record.ref.uid)
            self._release(record)
        except DraError as error:
            _log.warning("what was begun is removed at the next start: %s", error)

    def _made(
        self, record: ClaimRecord, hardware: Mapping[str, H]
    ) -> tuple[SpecDevices, tuple[PreparedDevice, ...]]:
        return answer.make(self._driver, record, hardware, self._host.dev_root)


def _nothing(use: ModeUse) -> Allocated:
    """Stand for a result that nobody remembers."""
    return Allocated(request="", pool="", device=use.parent)


def _ids(answer: tuple[PreparedDevice, ...]) -> list[str]:
    return [name for device in answer for name in device.cdi_ids]


def _require(ref: ClaimRef, missing: Sequence[str]) -> None:
    if missing:
        msg = f"claim {ref}: CDI id {missing[0]} cannot be made (again): the device has lost that part"
        raise DeviceRefused(
            msg, cure="see `devices` for its kernel driver and nodes, then delete and re-create the pod"
        )


def _devices(record: ClaimRecord) -> frozenset[str]:
    return frozenset(planned.allocated.device for planned in record.plan.devices)
