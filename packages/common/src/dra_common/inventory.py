"""What this node has, as far as is known now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from dra_common.driver import Published
from dra_common.model import (
    Capacity,
    CounterSet,
    Device,
    DeviceHealth,
    HealthState,
    Quantity,
    Snapshot,
    Taint,
    TaintEffect,
    taint_value,
)

ABSENT = "absent"
"""``<driver>/absent``: the device was not found by the latest look at the machine."""

DENIED = "denied"
"""``<driver>/denied``: the operator does not want the device to be offered; it goes when its claim gives it back."""

SHARED = "shared"
"""``<driver>/shared``: claims share the device, which is to be shared no more; it goes with the last of them."""

CORDONED = "cordoned"
"""``<driver>/cordoned``: an operator wants no new claim on the device."""

UNHEALTHY = "unhealthy"
"""``<driver>/unhealthy``: somebody who watches the device says so; the value says what is worst."""

MEMORY = "memory"
"""The capacity of every accelerator with local memory."""
_OLDER = "healthy"
"""What some drivers said before they had the attribute ``health``: where it is published, it follows that."""

Taints = Mapping[str, tuple[Taint, ...]]
"""Device name -> taints that come from elsewhere than the driver's discovery."""

TaintSource = Callable[[Mapping[str, Any]], Taints]
"""Tells of the hardware that a look found, by device name, what is known of it besides."""


Diagnose = Callable[[Sequence[str], frozenset[str]], Mapping[str, DeviceHealth]]
"""Returns the health of devices, by name; the second argument names those that the latest look did not find."""


def absent_taint(driver: str) -> Taint:
    """Return the taint of a device that vanished.

    NoSchedule, not NoExecute: a look may miss a device for a moment (a driver being reloaded, a reset, a read that
    failed), and that must not evict the pods that run on it. It keeps new claims away until the next look decides.
    """
    return Taint(f"{driver}/{ABSENT}", TaintEffect.NO_SCHEDULE)


def denied_taint(driver: str) -> Taint:
    """Return the taint of a device that the configuration denies while a claim holds it.

    NoSchedule: whoever has it keeps it.
    """
    return Taint(f"{driver}/{DENIED}", TaintEffect.NO_SCHEDULE)


def shared_taint(driver: str) -> Taint:
    """Return the taint of a device that is to be given whole, while claims still share it.

    NoSchedule: who has a share keeps it.
    """
    return Taint(f"{driver}/{SHARED}", TaintEffect.NO_SCHEDULE)


def cordoned_taint(driver: str, why: str = "") -> Taint:
    """Return the taint of a device that an operator took out of use; its value is what of ``why`` a label may say.

    NoSchedule, as of a cordoned node: what runs goes on.
    """
    return Taint(f"{driver}/{CORDONED}", TaintEffect.NO_SCHEDULE, taint_value(why))


def cordons_of_wholes(driver: str, taints: Taints, parts: Mapping[str, str]) -> Taints:
    """Return the taints, also of the parts of what is cordoned; one of a part's own stands. Pure.

    ``parts`` is that of :class:`~dra_common.driver.Published`.
    """
    key = cordoned_taint(driver).key
    cordons = {name: tuple(taint for taint in each if taint.key == key) for name, each in taints.items()}
    inherited = {part: cordons[whole] for part, whole in parts.items() if cordons.get(whole)}
    return {**taints, **{part: (*taints.get(part, ()), *more) for part, more in inherited.items()}}


def unhealthy_taint(driver: str, health: DeviceHealth) -> Taint | None:
    """Return the taint of a device that is not well, None if it is to have none."""
    if health.effect is None:
        return None
    return Taint(f"{driver}/{UNHEALTHY}", health.effect, health.reason)


@dataclass(frozen=True, slots=True)
class Known:
    """What the looks so far have shown: devices as the driver describes them, without taints of ours.

    ``absent`` names those of ``devices`` that the latest look did not find, ``denied`` those that the operator does not
    want to be offered.
    """

    devices: tuple[Device, ...] = ()
    counter_sets: tuple[CounterSet, ...] = ()
    absent: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()


def look(before: Known, seen: Published, held: frozenset[str]) -> Known:
    """Return what is known after a look that found ``seen``; pure.

    A device that vanished stays, marked absent; it goes when the next look does not find it either and nothing
    holds it. It keeps its place in the order, so that a flicker does not move other devices between slices.
    """
    found = {device.name for device in seen.devices}
    gone = {device.name for device in before.devices} - found
    absent = frozenset(name for name in gone if name not in before.absent or name in held)
    devices = _merge_devices(before.devices, seen.devices, absent)
    counters = _merge_sets(before.counter_sets, seen.counter_sets, _needed(devices, absent))
    return Known(devices, counters, absent, seen.denied | before.denied & absent)


def with_taints(driver: str, known: Known, taints: Taints) -> tuple[Device, ...]:
    """Return the devices with the driver's taints, then ``taints``, then those of absence and denial; pure."""
    marks = ((known.absent, absent_taint(driver)), (known.denied, denied_taint(driver)))
    return tuple(
        _tainted(
            device,
            (*taints.get(device.name, ()), *(taint for marked, taint in marks if device.name in marked)),
        )
        for device in known.devices
    )


def offered(known: Known, held: frozenset[str]) -> Known:
    """Return what is published of it: a denied device only while a claim holds it; pure."""
    hidden = known.denied - held
    return replace(known, devices=tuple(each for each in known.devices if each.name not in hidden))


def still_shared(driver: str, devices: Iterable[Device], shared: frozenset[str]) -> tuple[Device, ...]:
    """Return the devices, of which those that claims still share are nobody's whole; pure.

    The scheduler gives a device that allows one allocation to a claim although others have shares of it; of one that
    allows several it takes what they have into account, and it would give all of every capacity without a policy.
    """
    return tuple(
        replace(_tainted(device, (shared_taint(driver),)), allow_multiple_allocations=True)
        if device.name in shared and not device.allow_multiple_allocations
        else device
        for device in devices
    )


def with_health(
    driver: str, devices: Iterable[Device], healths: Mapping[str, DeviceHealth]
) -> tuple[Device, ...]:
    """Return the devices with the attribute ``health``, and what else goes with it; pure."""
    return tuple(
        _diagnosed(driver, device, healths[device.name]) if device.name in healths else device
        for device in devices
    )


class Inventory:
    """Holds the current snapshot; one writer at a time, any number of readers in other threads.

    Args:
        diagnose: knows the health of devices, and does not take long to tell; None = nobody watches it.
    """

    def __init__(self, driver: str, diagnose: Diagnose | None = None) -> None:
        self._driver, self._diagnose = driver, diagnose
        self._lock = Lock()
        self._known = Known()
        self._taints: Taints = {}
        self._held: frozenset[str] = frozenset()
        self._shared: frozenset[str] = frozenset()
        self._snapshot = Snapshot(0)

    @property
    def snapshot(self) -> Snapshot:
        """What is true now. Generation 0: the machine was not looked at yet."""
        return self._snapshot

    @property
    def unconfirmed(self) -> frozenset[str]:
        """Devices that the next look removes unless it finds them: absent, and held by nothing."""
        with self._lock:
            return self._known.absent - self._snapshot.held

    @property
    def leaving(self) -> frozenset[str]:
        """Devices that are published only because a claim holds them: absent ones, and denied ones.

        Also those that are shared only because claims share them.
        """
        with self._lock:
            kept = {device.name for device in self._known.devices if not device.allow_multiple_allocations}
            gone = self._known.absent | self._known.denied
            return (gone & self._snapshot.held) | (self._snapshot.shared & kept)

    def update(
        self,
        published: Published,
        held: Iterable[str],
        taints: Taints | None = None,
        shared: Iterable[str] = (),
    ) -> Snapshot | None:
        """Take in one look at the machine. Returns the new snapshot; None if its content is that of the last.

        ``shared`` names those of ``held`` of which claims have shares. The first update is always news, even of a node
        without devices.
        """
        with self._lock:
            self._held = frozenset(held)
            self._taints = cordons_of_wholes(self._driver, taints or {}, published.parts)
            self._shared = frozenset(shared)
            self._known = look(self._known, published, self._held)
            return self._compose()

    def refresh(self) -> Snapshot | None:
        """Take in what is said of health now, without a look at the machine. Returns the new snapshot, None if none."""
        with self._lock:
            return self._compose() if self._snapshot.generation else None

    def _compose(self) -> Snapshot | None:
        devices = with_taints(self._driver, offered(self._known, self._held), self._taints)
        devices = still_shared(self._driver, devices, self._shared)
        if self._diagnose is not None:
            healths = self._diagnose([device.name for device in devices], self._known.absent)
            devices = with_health(self._driver, devices, healths)
        content = Snapshot(
            self._snapshot.generation, devices, self._known.counter_sets, self._held, self._shared
        )
        if self._snapshot.generation and content == self._snapshot:
            return None
        self._snapshot = replace(content, generation=content.generation + 1)
        return self._snapshot


def _merge_devices(
    before: tuple[Device, ...], seen: tuple[Device, ...], absent: frozenset[str]
) -> tuple[Device, ...]:
    """Put each absent device behind the one it stood behind; at the front if none of those is left."""
    found = {device.name for device in seen}
    behind: defaultdict[str, list[Device]] = defaultdict(list)
    anchor = ""
    for device in before:
        if device.name in absent:
            behind[anchor].append(device)
        elif device.name in found:
            anchor = device.name
    return (*behind[""], *(each for device in seen for each in (device, *behind[device.name])))


def _needed(devices: Iterable[Device], absent: frozenset[str]) -> frozenset[str]:
    return frozenset(
        use.counter_set for device in devices if device.name in absent for use in device.consumes
    )


def _merge_sets(
    before: tuple[CounterSet, ...], seen: tuple[CounterSet, ...], needed: frozenset[str]
) -> tuple[CounterSet, ...]:
    """Keep the counters that absent devices consume: a slice that names a missing counter is refused as a whole."""
    merged = {counters.name: counters for counters in seen}
    for old in before:
        if old.name in needed:
            new = merged.get(old.name, old)
            merged[old.name] = CounterSet(old.name, {**old.counters, **new.counters})
    return tuple(merged.values())


def _tainted(device: Device, extra: tuple[Taint, ...]) -> Device:
    """Add taints, none twice: a taint is known by its key and effect, and the driver's own value stands."""
    taints = {(taint.key, taint.effect): taint for taint in device.taints}
    for taint in extra:
        taints.setdefault((taint.key, taint.effect), taint)
    return replace(device, taints=tuple(taints.values())) if extra else device


def _diagnosed(driver: str, device: Device, health: DeviceHealth) -> Device:
    older = {_OLDER: health.state is not HealthState.UNHEALTHY} if _OLDER in device.attributes else {}
    told = {**device.attributes, **health.attributes, **older, "health": str(health.state)}
    said = replace(device, attributes=told)
    # Of a device that is shared each claim would get all of a capacity without a policy: the driver's to say.
    if health.memory and MEMORY not in device.capacity and not device.allow_multiple_allocations:
        memory = Capacity(Quantity.mebibytes(health.memory // 2**20))
        said = replace(said, capacity={**device.capacity, MEMORY: memory})
    taint = unhealthy_taint(driver, health)
    return _tainted(said, (taint,)) if taint else said
