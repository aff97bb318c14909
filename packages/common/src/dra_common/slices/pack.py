"""Which device stands in which slice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from dra_common.model import CounterSet, Device
from dra_common.slices import encode
from dra_common.slices.content import SliceContent
from dra_common.slices.features import ServerFeatures

MAX_DEVICES = 128
MAX_DEVICES_WITH_EXTRAS = 64
"""The limit as soon as one device of the slice has a taint or consumes a counter."""
MAX_COUNTER_SETS = 8

T = TypeVar("T")


def pack(
    devices: Sequence[Device], counter_sets: Sequence[CounterSet], features: ServerFeatures
) -> tuple[SliceContent, ...]:
    """Fill slices in order, counter sets first.

    The allocator tries slices by name and devices in list order, so the order of the snapshot is the order of
    preference. Counter sets come first because parents change more rarely than devices: a device more or less then
    leaves the slices before it alone.
    """
    counters = [
        SliceContent(shared_counters=part)
        for part in _parts(map(encode.counter_set, counter_sets), MAX_COUNTER_SETS)
    ]
    encoded = map(encode.device, devices)
    packed = [SliceContent(devices=part) for part in _parts(encoded, devices_per_slice(devices, features))]
    return tuple(counters + packed) or (SliceContent(),)


def devices_per_slice(devices: Iterable[Device], features: ServerFeatures) -> int:
    """Return how many devices a slice gets.

    Where devices *may* be tainted every slice is made as if one were: otherwise the first taint would move half of
    a full slice's devices, which renews the whole pool, at the moment in which something is already wrong.
    """
    if features.taints or any(device.consumes or device.taints for device in devices):
        return MAX_DEVICES_WITH_EXTRAS
    return MAX_DEVICES


def _parts(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    rest: Sequence[Any] = tuple(items)
    for start in range(0, len(rest), size):
        yield tuple(rest[start : start + size])
