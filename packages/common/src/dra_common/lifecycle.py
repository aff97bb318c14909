"""Moves one claim between its phases. The caller holds the claim's lock and the locks of the plan's parents.

Every step is written down before it is taken, in this order, so that a crash anywhere leaves enough to undo:

.. code-block:: text

    carry out:  record "preparing" -> holds -> hardware -> CDI -> record "prepared"
    undo:       record "unpreparing" -> hardware back -> CDI gone -> holds gone -> record gone
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Generic

from dra_common.driver import Driver, H
from dra_common.errors import CorruptRecord, DeviceHeld, DeviceRefused, DeviceUnknown, DraError, StateError
from dra_common.model import (
    ClaimRecord,
    ClaimRef,
    ContainerEdits,
    Phase,
    Plan,
    PlannedDevice,
    PreparedDevice,
)
from dra_common.ports import Doorbell, Holds, Host, Records, Specs

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class State:
    """What this driver keeps on disk about claims."""

    records: Records
    holds: Holds
    specs: Specs


class Lifecycle(Generic[H]):
    """The steps of prepare and unprepare, each safe to repeat."""

    def __init__(self, driver: Driver[H], host: Host, state: State, doorbell: Doorbell, boot_id: str) -> None:
        self._driver = driver
        self._host = host
        self._state = state
        self._doorbell = doorbell
        self.boot_id = boot_id

    def load(self, uid: str) -> ClaimRecord | None:
        """Return the record; a corrupt one is set aside, reported, and treated as none. Raises StateError."""
        try:
            return self._state.records.load(uid)
        except CorruptRecord as error:
            kept = self._state.records.set_aside(uid)
            _log.error("claim record set aside as %s: %s", kept, error)
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

    def carry_out(
        self, ref: ClaimRef, plan: Plan, hardware: Mapping[str, H], before: ClaimRecord | None
    ) -> ClaimRecord:
        """Bring a planned claim to *prepared* and return its record; on failure everything is as before.

        ``before`` is the record of an earlier boot: its answer is given again. Raises DraError.
        """
        record = ClaimRecord(ref, Phase.PREPARING, self.boot_id, plan, before.answer if before else ())
        self._state.records.save(record)
        try:
            self._hold(record)
            self._driver.apply(plan, self._host)
            return self._publish_edits(record, self._facts(record, hardware))
        except Exception as error:
            self.roll_back(record, str(error), before)
            raise

    def restore_specs(self, record: ClaimRecord) -> None:
        """Make sure that the CDI files of a prepared claim are there and right. Raises DraError.

        They are made again from the hardware of now: card numbers change when a kernel driver is reloaded, and an old
        file would then name another tenant's device.
        """
        if record.plan.devices:
            devices = frozenset(planned.allocated.device for planned in record.plan.devices)
            self._write_specs(record, self.hardware(devices, record.ref))

    def roll_back(self, record: ClaimRecord, cause: str, before: ClaimRecord | None = None) -> None:
        """Undo an interrupted or failed preparation; a revert that fails leaves the record *failed*.

        Never raises a DraError: the caller reports the first cause, and recovery tries again.
        """
        try:
            self._remove(record, before)
        except DraError as error:
            _log.error("could not undo the preparation (%s): %s", cause, error)

    def undo(self, record: ClaimRecord) -> None:
        """Bring a claim in any phase to "nothing left". Raises DraError; what remains is tried again."""
        if record.phase is not Phase.UNPREPARING:
            record = replace(record, phase=Phase.UNPREPARING)
            self._state.records.save(record)
        self._remove(record, None)

    def forget(self, uid: str) -> None:
        """Remove what is left of a claim without a readable record: holds, CDI files, what was set aside."""
        self._state.specs.delete(uid)
        self._state.holds.release_all(uid)
        self._state.records.forget_set_aside(uid)
        self._state.records.delete(uid)

    def hold_again(self, record: ClaimRecord) -> None:
        """Take the holds of a prepared claim that are missing. Raises DeviceHeld."""
        self._hold(record)

    def _remove(self, record: ClaimRecord, before: ClaimRecord | None) -> None:
        self._revert(record)
        self._state.specs.delete(record.ref.uid)
        if before is not None:
            self._state.records.save(before)
            return
        for planned in record.plan.devices:
            self._state.holds.release(planned.allocated.device, planned.allocated.share_id, record.ref.uid)
        self._state.records.forget_set_aside(record.ref.uid)
        self._state.records.delete(record.ref.uid)

    def _revert(self, record: ClaimRecord) -> None:
        if all(planned.undo is None for planned in record.plan.devices):
            return
        try:
            self._driver.revert(record.plan, self._host)
        except DraError as error:
            self._state.records.save(replace(record, phase=Phase.FAILED, error=str(error)))
            self._doorbell.ring("a revert failed")
            raise
        self._doorbell.ring("hardware was given back")

    def _hold(self, record: ClaimRecord) -> None:
        for planned in record.plan.devices:
            allocated = planned.allocated
            if allocated.admin_access:
                continue
            holder = self._state.holds.take(allocated.device, allocated.share_id, record.ref.uid)
            if holder != record.ref.uid:
                msg = f"claim {record.ref}: device {allocated.device} is held by claim {self._name(holder)}"
                raise DeviceHeld(
                    msg, cure="unprepare that claim first: delete its pods, or `claims` on this node"
                )

    def _name(self, uid: str) -> str:
        try:
            record = self._state.records.load(uid)
        except StateError:
            record = None
        return str(record.ref) if record else f"with uid {uid}"

    def _facts(self, record: ClaimRecord, hardware: Mapping[str, H]) -> Mapping[str, H]:
        """Hardware as it is after ``apply``: read again only if something was changed."""
        changed = [planned for planned in record.plan.devices if planned.undo is not None]
        if not changed:
            return hardware
        self._doorbell.ring("hardware was changed for a claim")
        return self.hardware(
            frozenset(planned.allocated.device for planned in record.plan.devices), record.ref
        )

    def _publish_edits(self, record: ClaimRecord, hardware: Mapping[str, H]) -> ClaimRecord:
        answer = self._write_specs(record, hardware)
        prepared = replace(record, phase=Phase.PREPARED, answer=record.answer or answer)
        self._state.records.save(prepared)
        return prepared

    def _write_specs(self, record: ClaimRecord, hardware: Mapping[str, H]) -> tuple[PreparedDevice, ...]:
        """Write the claim's CDI files and check that every id about to be returned resolves."""
        classes: dict[str, dict[str, ContainerEdits]] = {}
        answer = tuple(self._edit(planned, hardware, record, classes) for planned in record.plan.devices)
        self._state.specs.write(record.ref.uid, classes)
        wanted = [name for device in (record.answer or answer) for name in device.cdi_ids]
        missing = self._state.specs.unresolved(record.ref.uid, wanted)
        if missing:
            msg = f"claim {record.ref}: CDI id {missing[0]} cannot be made (again): the device has lost that part"
            raise DeviceRefused(
                msg, cure="see `devices` for its kernel driver and nodes, then delete and re-create the pod"
            )
        return answer

    def _edit(
        self,
        planned: PlannedDevice,
        hardware: Mapping[str, H],
        record: ClaimRecord,
        classes: dict[str, dict[str, ContainerEdits]],
    ) -> PreparedDevice:
        allocated = planned.allocated
        name = "-".join(part for part in (record.ref.uid, allocated.device, allocated.share_id) if part)
        edits = self._driver.edits(planned, hardware[allocated.device], self._host.dev_root)
        given = [cdi_class for cdi_class, edit in edits.items() if edit]
        for cdi_class in given:
            classes.setdefault(cdi_class, {})[name] = edits[cdi_class]
        ids = tuple(f"{self._driver.cdi_vendor}/{cdi_class}={name}" for cdi_class in given)
        return PreparedDevice(
            (allocated.base_request,), allocated.pool, allocated.device, ids, allocated.share_id
        )
