"""What the scheduler may know of a device: the vocabulary of ResourceSlice ``spec.devices[]`` (resource.k8s.io/v1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from dra_common.model.quantity import Quantity


@dataclass(frozen=True, slots=True)
class Version:
    """A semantic version 2.0.0 attribute, at most 64 bytes."""

    value: str


Attribute: TypeAlias = bool | int | str | Version
"""An attribute's value; the Python type decides the API's ``bool``, ``int``, ``string`` or ``version``."""


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """How much of a consumable capacity one request may take (KEP-5075).

    Exactly one of ``valid_values`` (ascending) and ``minimum`` (with optional ``maximum`` and ``step``) is set.
    """

    default: Quantity
    valid_values: tuple[Quantity, ...] = ()
    minimum: Quantity | None = None
    maximum: Quantity | None = None
    step: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """An amount that requests can be compared with, or can consume when the device is shared."""

    value: Quantity
    policy: RequestPolicy | None = None


class TaintEffect(StrEnum):
    """What a taint does to claims that do not tolerate it (KEP-5055)."""

    NONE = "None"
    NO_SCHEDULE = "NoSchedule"
    NO_EXECUTE = "NoExecute"


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of one device. ``key`` is a label name, ``value`` a label value."""

    key: str
    effect: TaintEffect
    value: str = ""


_NOT_IN_A_LABEL = re.compile(r"[^A-Za-z0-9_.]+")
_LONGEST_LABEL_VALUE = 63


def taint_value(text: str) -> str:
    """Return free text as a taint's value, which is a label value: letters, digits, ``-_.`` inside, 63 at most."""
    return _NOT_IN_A_LABEL.sub("-", text).strip("-_.")[:_LONGEST_LABEL_VALUE].rstrip("-_.")


@dataclass(frozen=True, slots=True)
class CounterConsumption:
    """What a device takes out of one counter set when it is allocated (KEP-4815)."""

    counter_set: str
    counters: Mapping[str, Quantity]


@dataclass(frozen=True, slots=True)
class CounterSet:
    """Counters that the devices of one parent share, for example ``mode: 1``."""

    name: str
    counters: Mapping[str, Quantity]


@dataclass(frozen=True, slots=True)
class Device:
    """One allocatable device as published.

    Args:
        name: a DNS-1123 label, unique in the pool.
        attributes: names without a domain belong to the driver's domain; otherwise ``domain/name``.
        capacity: names as for attributes. An amount that is not known is left out, never published as 0.
        alone: of a device that allows multiple allocations, its capacity where the server cannot share devices, and one
            claim gets all of it; None = it is not published there.
    """

    name: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    capacity: Mapping[str, Capacity] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    consumes: tuple[CounterConsumption, ...] = ()
    allow_multiple_allocations: bool = False
    alone: Mapping[str, Capacity] | None = None
