"""Rows of the tables that say what a driver's published names mean; nothing at run time reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dra_common.model import TaintEffect


@dataclass(frozen=True, slots=True)
class Term:
    """An attribute, a capacity or a counter.

    Args:
        name: as published; without a domain it belongs to the driver's.
        kind: the field of the API that holds the value; capacities and counters are quantities.
        meaning: one sentence or two, for somebody who writes a selector.
        absent: when it is left out; empty = it is always there.
    """

    name: str
    kind: Literal["string", "bool", "int", "version", "quantity"]
    meaning: str
    absent: str = ""


@dataclass(frozen=True, slots=True)
class TaintTerm:
    """A taint.

    Args:
        key: its key.
        effect: its effect.
        meaning: what is wrong with the device.
        value: what its value says; empty = it has none.
        other: an effect that it may have, too; None = it always has the same.
        ends: what takes it away.
    """

    key: str
    effect: TaintEffect
    meaning: str
    ends: str
    value: str = ""
    other: TaintEffect | None = None
