"""The answer to the kubelet, and the CDI devices that it names; pure.

A container gets the CDI ids of all entries of the answer that it matches: an entry's requests have the one that the
container names, or the entry has none, or the container names none and so uses the whole claim (kubelet,
``ClaimInfo.cdiDevicesAsList``). In that order the runtime applies them, and of a variable that comes twice the last
value counts. So what a container gets once for the claim follows what its devices give it:

.. code-block:: text

    <uid>-<device>[-<share id>]   what a device gives
    <uid>.<request>               for a container that uses the request; behind its last device
    <uid>                         for every container that uses anything of the claim: an entry without requests
    <uid>:whole                   for a container that names no request: the last, of a request that nobody can name

A claim with one request needs the first of them alone: all that it gives once is ``<uid>``. A container that names two
requests of a claim, one after the other, cannot be told from two that name one each; it has the variables of the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dra_common.driver import Driver, H
from dra_common.metadata import Told, cdi_device, with_metadata
from dra_common.model import (
    ClaimEdits,
    ClaimRecord,
    ContainerEdits,
    Edits,
    PlannedDevice,
    PreparedDevice,
)
from dra_common.ports import SpecDevices

NO_REQUEST: Final = "*"
"""Stands for a request in an entry that only containers get which name none: no request can be called so (RFC 1123)."""


@dataclass(slots=True)
class _Draft:
    """CDI class -> CDI device -> edits, and the entries that name them."""

    vendor: str
    classes: dict[str, dict[str, ContainerEdits]] = field(default_factory=dict)
    entries: list[PreparedDevice] = field(default_factory=list)

    def define(self, name: str, edits: Edits) -> tuple[str, ...]:
        """Define a CDI device in each class that gives something; return its ids."""
        given = [cdi_class for cdi_class, edit in edits.items() if edit]
        for cdi_class in given:
            self.classes.setdefault(cdi_class, {})[name] = edits[cdi_class]
        return tuple(f"{self.vendor}/{cdi_class}={name}" for cdi_class in given)

    def extend(self, index: int, ids: tuple[str, ...]) -> None:
        entry = self.entries[index]
        self.entries[index] = replace(entry, cdi_ids=entry.cdi_ids + ids)

    def stand_beside(self, requests: tuple[str, ...], ids: tuple[str, ...]) -> None:
        """Add an entry that is no further device: the kubelet knows it by the last one."""
        if ids:
            self.entries.append(replace(self.entries[-1], requests=requests, cdi_ids=ids))


def make(
    driver: Driver[Any], record: ClaimRecord, hardware: Mapping[str, Any], dev_root: str
) -> tuple[SpecDevices, tuple[PreparedDevice, ...]]:
    """Make the edits of all devices of a claim, and the answer that names them."""
    draft = _Draft(driver.cdi_vendor)
    for planned in record.plan.devices:
        draft.entries.append(
            _device(driver, record, planned, hardware[planned.allocated.device], dev_root, draft)
        )
    if draft.entries:
        _add_once(draft, record.ref.uid, driver.claim_edits(record.plan, hardware, dev_root))
    told = tuple(
        Told(planned.allocated, driver.metadata(planned, hardware[planned.allocated.device]))
        for planned in record.plan.devices
    )
    return with_metadata(draft.classes, record, told, driver.name), tuple(draft.entries)


def _device(
    driver: Driver[H], record: ClaimRecord, planned: PlannedDevice, hardware: H, dev_root: str, draft: _Draft
) -> PreparedDevice:
    allocated = planned.allocated
    ids = draft.define(cdi_device(record.ref.uid, allocated), driver.edits(planned, hardware, dev_root))
    return PreparedDevice(
        (allocated.base_request,), allocated.pool, allocated.device, ids, allocated.share_id
    )


def _add_once(draft: _Draft, uid: str, edits: ClaimEdits) -> None:
    last = {entry.requests[0]: index for index, entry in enumerate(draft.entries)}
    if len(last) == 1:
        (request,) = last
        draft.extend(-1, draft.define(uid, _joined(edits.requests.get(request, {}), edits.every)))
        return
    for request, index in last.items():
        draft.extend(index, draft.define(f"{uid}.{request}", edits.requests.get(request, {})))
    draft.stand_beside((), draft.define(uid, edits.every))
    draft.stand_beside((NO_REQUEST,), draft.define(f"{uid}:whole", edits.whole))


def _joined(first: Edits, second: Edits) -> Edits:
    nothing = ContainerEdits()
    return {
        name: first.get(name, nothing) + second.get(name, nothing)
        for name in dict.fromkeys((*first, *second))
    }
