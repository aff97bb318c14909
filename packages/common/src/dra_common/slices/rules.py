"""The API's rules for devices and counter sets, kept before the server is asked.

The server would refuse the whole slice with 422, and some of these (names that repeat in another slice, counter sets
that do not exist) it does not see at all: the scheduler then ignores the pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dra_common.errors import SliceError
from dra_common.model import Attribute, CounterConsumption, Device, Quantity, Snapshot, Version
from dra_common.slices import names
from dra_common.slices.features import ServerFeatures
from dra_common.slices.policy import check_policy

MAX_ENTRIES = 32
"""Attributes and capacities of one device together; also counters of one set and of one consumption."""
MAX_STRING_BYTES = 64
MAX_CONSUMED_SETS = 2
_INT64 = 2**63

Budgets = Mapping[str, Mapping[str, Quantity]]


def check(snapshot: Snapshot, *, driver: str, features: ServerFeatures) -> None:
    """Raise SliceError, naming device or counter set, field, rule and limit, for the first rule that is broken."""
    names.subdomain(driver, f"driver name {driver!r}")
    _unique((device.name for device in snapshot.devices), "device", "in the pool")
    _unique((item.name for item in snapshot.counter_sets), "counter set", "in the pool")
    for item in snapshot.counter_sets:
        names.dns_label(item.name, f"counter set {item.name!r}: its name")
        _counters(item.counters, f"counter set {item.name}")
    budgets = {item.name: item.counters for item in snapshot.counter_sets}
    for device in snapshot.devices:
        _device(device, driver, features, budgets)


def _device(device: Device, driver: str, features: ServerFeatures, budgets: Budgets) -> None:
    where = f"device {device.name}"
    names.dns_label(device.name, f"device {device.name!r}: its name")
    _limit(len(device.attributes) + len(device.capacity), MAX_ENTRIES, where, "attributes and capacities")
    _qualified(device.attributes, driver, f"{where}: attribute")
    _qualified(device.capacity, driver, f"{where}: capacity")
    for name, value in device.attributes.items():
        _attribute(value, f"{where}: attribute {name}")
    _capacity(device, where)
    if device.alone is not None:
        _qualified(device.alone, driver, f"{where}: capacity")
        _capacity(replace(device, capacity=device.alone, allow_multiple_allocations=False), where)
    _taints(device, features, where)
    _consumes(device.consumes, budgets, where)


def _qualified(entries: Iterable[str], driver: str, what: str) -> None:
    """Check names; ``x`` and ``<driver>/x`` are the same name."""
    seen = set[str]()
    for name in entries:
        names.qualified_name(name, f"{what} name {name!r}")
        full = name if "/" in name else f"{driver}/{name}"
        if full in seen:
            raise SliceError(
                f"{what} {name.rpartition('/')[2]} is there twice, with and without the driver's domain"
            )
        seen.add(full)


def _attribute(value: Attribute, what: str) -> None:
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise SliceError(f"{what}: {value} does not fit into 64 bits")
    elif isinstance(value, Version):
        names.version(value.value, f"{what}: {value.value!r}")
    elif isinstance(value, str):
        _string(value, what)
    else:
        raise SliceError(f"{what} is a {type(value).__name__}; bool, int, string and version are allowed")


def _string(value: str, what: str) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise SliceError(f"{what}: {value!r} is not valid UTF-8") from None
    if size > MAX_STRING_BYTES:
        raise SliceError(f"{what}: the string has {size} bytes, {MAX_STRING_BYTES} are allowed")


def _capacity(device: Device, where: str) -> None:
    for name, capacity in device.capacity.items():
        _amount(capacity.value, f"{where}: capacity {name}")
        if capacity.policy is None:
            continue
        if not device.allow_multiple_allocations:
            raise SliceError(f"{where}: capacity {name} has a request policy, but the device is not sharable")
        check_policy(capacity.policy, capacity.value, f"{where}: capacity {name}: request policy")


def _taints(device: Device, features: ServerFeatures, where: str) -> None:
    if features.taints:
        _limit(len(device.taints), features.max_taints, where, "taints")
    for taint in device.taints:
        names.label_key(taint.key, f"{where}: taint key {taint.key!r}")
        names.label_value(taint.value, f"{where}: taint {taint.key}: value {taint.value!r}")


def _consumes(entries: Sequence[CounterConsumption], budgets: Budgets, where: str) -> None:
    _limit(len(entries), MAX_CONSUMED_SETS, where, "counter sets to consume from")
    _unique((entry.counter_set for entry in entries), f"{where}: counter set", "in consumesCounters")
    for entry in entries:
        budget = budgets.get(entry.counter_set)
        if budget is None:
            raise SliceError(
                f"{where}: consumes from the counter set {entry.counter_set!r}, which does not exist"
            )
        _counters(entry.counters, f"{where}: counter set {entry.counter_set}")
        if unknown := sorted(set(entry.counters) - set(budget)):
            raise SliceError(f"{where}: counter set {entry.counter_set} has no counter {unknown[0]!r}")


def _counters(counters: Mapping[str, Quantity], what: str) -> None:
    if not counters:
        raise SliceError(f"{what}: has no counters, at least one is needed")
    _limit(len(counters), MAX_ENTRIES, what, "counters")
    for name, value in counters.items():
        names.dns_label(name, f"{what}: counter name {name!r}")
        _amount(value, f"{what}: counter {name}")


def _amount(value: Quantity, what: str) -> None:
    if not 0 <= value.value < _INT64:
        raise SliceError(f"{what}: {value.value} is not between 0 and 2^63-1")


def _limit(count: int, limit: int, where: str, what: str) -> None:
    if count > limit:
        raise SliceError(f"{where}: has {count} {what}, {limit} are allowed")


def _unique(items: Iterable[str], what: str, where: str) -> None:
    seen = set[str]()
    for item in items:
        if item in seen:
            raise SliceError(f"{what} {item}: is there twice {where}; names must be unique")
        seen.add(item)
