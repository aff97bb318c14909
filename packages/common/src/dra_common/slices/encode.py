"""Devices and counter sets as resource.k8s.io/v1 JSON; empty fields are left out, as the server prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dra_common.model import (
    Attribute,
    Capacity,
    CounterConsumption,
    CounterSet,
    Device,
    Quantity,
    RequestPolicy,
    Taint,
    Version,
)


def device(item: Device) -> dict[str, Any]:
    """Return one entry of ``spec.devices``."""
    encoded = {
        "name": item.name,
        "attributes": {name: attribute(value) for name, value in sorted(item.attributes.items())},
        "capacity": {name: capacity(value) for name, value in sorted(item.capacity.items())},
        "consumesCounters": [_consumption(entry) for entry in item.consumes],
        "taints": [taint(entry) for entry in item.taints],
        "allowMultipleAllocations": item.allow_multiple_allocations,
    }
    return {name: value for name, value in encoded.items() if value}


def counter_set(item: CounterSet) -> dict[str, Any]:
    """Return one entry of ``spec.sharedCounters``."""
    return {"name": item.name, "counters": _counters(item.counters)}


def attribute(value: Attribute) -> dict[str, Any]:
    """Return one attribute value; bool is asked first because it is an int in Python."""
    if isinstance(value, bool):
        return {"bool": value}
    if isinstance(value, int):
        return {"int": value}
    if isinstance(value, Version):
        return {"version": value.value}
    return {"string": value}


def capacity(item: Capacity) -> dict[str, Any]:
    """Return one capacity with its request policy."""
    encoded: dict[str, Any] = {"value": str(item.value)}
    if item.policy is not None:
        encoded["requestPolicy"] = _policy(item.policy)
    return encoded


def taint(item: Taint) -> dict[str, Any]:
    """Return one taint; ``timeAdded`` is the server's to set."""
    encoded = {"key": item.key, "value": item.value, "effect": str(item.effect)}
    return {name: value for name, value in encoded.items() if value}


def _policy(policy: RequestPolicy) -> dict[str, Any]:
    encoded: dict[str, Any] = {"default": str(policy.default)}
    if policy.valid_values:
        encoded["validValues"] = [str(value) for value in policy.valid_values]
    else:
        limits = {"min": policy.minimum, "max": policy.maximum, "step": policy.step}
        encoded["validRange"] = {name: str(value) for name, value in limits.items() if value is not None}
    return encoded


def _consumption(item: CounterConsumption) -> dict[str, Any]:
    return {"counterSet": item.counter_set, "counters": _counters(item.counters)}


def _counters(counters: Mapping[str, Quantity]) -> dict[str, Any]:
    return {name: {"value": str(value)} for name, value in sorted(counters.items())}
