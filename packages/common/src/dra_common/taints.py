"""Taints that neither the driver's discovery nor the inventory knows of: what claims and locks say of devices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from dra_common.driver import Driver, H
from dra_common.errors import DraError
from dra_common.inventory import Taints
from dra_common.model import ClaimRecord, Phase, PlannedDevice, Taint, TaintEffect
from dra_common.ports import Locks, Records

REVERT_FAILED = "revert-failed"
"""``<driver>/revert-failed``: a claim could not be undone, so the hardware is not in the state it is described in."""

BUSY = "busy"
"""``<driver>/busy``: somebody uses the device past this driver, or the kernel has not returned from a change of it."""


def revert_failed_taint(driver: str) -> Taint:
    """Return the taint of the devices of a failed claim.

    NoSchedule: nothing new may get the device; whoever shares its parent goes on.
    """
    return Taint(f"{driver}/{REVERT_FAILED}", TaintEffect.NO_SCHEDULE)


def busy_taint(driver: str) -> Taint:
    """Return the taint of a device that cannot be changed now. NoSchedule: who has it goes on."""
    return Taint(f"{driver}/{BUSY}", TaintEffect.NO_SCHEDULE)


def claim_taints(driver: Driver[H], records: Records, boot_id: str, hardware: Mapping[str, H]) -> Taints:
    """Taints of devices whose claim could not be undone, or that are no longer as their claim needs them.

    What was prepared in another boot than ``boot_id`` is not prepared now. Raises StateError.
    """
    found: defaultdict[str, list[Taint]] = defaultdict(list)
    for record in _readable(records):
        if record.phase is Phase.FAILED:
            for planned in record.plan.devices:
                if planned.changes_hardware:
                    found[planned.allocated.device].append(revert_failed_taint(driver.name))
        # What another driver gave is left as it was found.
        elif record.phase is Phase.PREPARED and record.boot_id == boot_id and not record.adopted:
            for name, planned in _held(record, hardware):
                found[name] += driver.estranged(planned, hardware[name])
    return {name: tuple(taints) for name, taints in found.items() if taints}


def busy_taints(driver: Driver[H], locks: Locks, hardware: Mapping[str, H]) -> Taints:
    """Taints of devices of which the kernel has not returned from a change. Raises StateError."""
    stuck = locks.stuck()
    taint = (busy_taint(driver.name),)
    return {name: taint for name, found in hardware.items() if driver.parent(found) in stuck}


def _held(record: ClaimRecord, hardware: Mapping[str, H]) -> Iterator[tuple[str, PlannedDevice]]:
    """Yield the devices that are the claim's, and are there."""
    for planned in record.plan.devices:
        if not planned.allocated.admin_access and planned.allocated.device in hardware:
            yield planned.allocated.device, planned


def _readable(records: Records) -> Iterator[ClaimRecord]:
    for uid in records.uids():
        try:
            record = records.load(uid)
        except DraError:
            continue
        if record:
            yield record
