"""Publishing less when a server cannot express what keeps a device safe.

Never only the field is left out: that would offer a broken device, or the same hardware twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from dra_common.model import CounterSet, Device, Snapshot, TaintEffect
from dra_common.slices.content import Withdrawn
from dra_common.slices.features import GATES, ServerFeatures

Degraded = tuple[tuple[Device, ...], tuple[CounterSet, ...], tuple[Withdrawn, ...]]

_KEEPS_AWAY = (TaintEffect.NO_SCHEDULE, TaintEffect.NO_EXECUTE)


def degrade(snapshot: Snapshot, features: ServerFeatures) -> Degraded:
    """Return devices, counter sets and what was withdrawn; without loss where the server has all features.

    - No sharing: devices that allow multiple allocations are withdrawn; one that one claim could have for itself is
      published so, unless claims share it already.
    - No taints: a device that should keep pods away is withdrawn, unless one claim holds it whole, which keeps
      others away just as well; other taints are left out.
    - No counters: of the devices that share counters as many stay as could all be allocated at once; see
      :func:`_without_counters`.
    """
    devices, gone = list(snapshot.devices), dict[str, str]()
    if not features.consumable_capacity:
        devices = [_alone(device) if device.name not in snapshot.shared else device for device in devices]
        gone |= {device.name: _NO_SHARING for device in devices if device.allow_multiple_allocations}
    if not features.taints:
        gone |= {device.name: _tainted(device) for device in devices if _needs_taint(device, snapshot.held)}
        devices = [replace(device, taints=()) for device in devices]
    counter_sets = snapshot.counter_sets
    if not features.partitionable:
        gone |= _without_counters(devices, counter_sets, snapshot.held, frozenset(gone))
        devices, counter_sets = [replace(device, consumes=()) for device in devices], ()
    kept = tuple(device for device in devices if device.name not in gone)
    return kept, counter_sets, tuple(_report(snapshot.devices, gone))


def _alone(device: Device) -> Device:
    if device.alone is None:
        return device
    return replace(device, allow_multiple_allocations=False, capacity=device.alone, alone=None)


_NO_SHARING = f"the server cannot share devices between claims (feature gate {GATES['consumable_capacity']})"
_NO_COUNTERS = (
    f"the server has no counters (feature gate {GATES['partitionable']}) to keep it from being used together with "
    "other devices of the same hardware"
)


def _report(devices: Iterable[Device], gone: Mapping[str, str]) -> Iterable[Withdrawn]:
    return (Withdrawn(device.name, gone[device.name]) for device in devices if device.name in gone)


def _needs_taint(device: Device, held: frozenset[str]) -> bool:
    keeps_away = any(taint.effect in _KEEPS_AWAY for taint in device.taints)
    return keeps_away and (device.name not in held or device.allow_multiple_allocations)


def _tainted(device: Device) -> str:
    keys = ", ".join(sorted({taint.key for taint in device.taints if taint.effect in _KEEPS_AWAY}))
    return f"the server has no device taints (feature gate {GATES['taints']}) to say {keys}"


@dataclass(slots=True)
class _Budget:
    """What is left of each counter."""

    totals: Mapping[tuple[str, str], int]
    spent: dict[tuple[str, str], int] = field(default_factory=dict)

    def share(self, device: Device) -> Fraction:
        """The largest part of any counter that the device takes."""
        shares = (Fraction(amount, self.totals[key]) for key, amount in _costs(device) if self.totals[key])
        return max(shares, default=Fraction(0))

    def fits(self, device: Device) -> bool:
        return all(self.spent.get(key, 0) + amount <= self.totals[key] for key, amount in _costs(device))

    def charge(self, device: Device) -> None:
        for key, amount in _costs(device):
            self.spent[key] = self.spent.get(key, 0) + amount


def _costs(device: Device) -> list[tuple[tuple[str, str], int]]:
    return [
        ((entry.counter_set, name), amount.value)
        for entry in device.consumes
        for name, amount in entry.counters.items()
    ]


def _without_counters(
    devices: Iterable[Device], counter_sets: Iterable[CounterSet], held: frozenset[str], gone: frozenset[str]
) -> dict[str, str]:
    """Choose the devices that may be offered together with nothing to count them.

    What claims hold is charged first. Then the devices that take the smallest part of their counters: static virtual
    functions rather than the physical function below them, and the whole device where nothing else is left.
    Sharable devices never stay: how often a counter would be charged depends on the claims.
    """
    totals = {
        (item.name, name): amount.value for item in counter_sets for name, amount in item.counters.items()
    }
    budget, removed = _Budget(totals), dict[str, str]()
    consumers = [device for device in devices if device.consumes]
    for device in sorted(consumers, key=lambda item: (item.name not in held, budget.share(item))):
        stays = not device.allow_multiple_allocations and device.name not in gone and budget.fits(device)
        if stays or device.name in held:
            budget.charge(device)
        if not stays and device.name not in gone:
            removed[device.name] = _NO_COUNTERS
    return removed
