"""One consistent view of what this node has."""

from __future__ import annotations

from dataclasses import dataclass

from dra_common.model.device import CounterSet, Device


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The devices and counter sets of this node's pool, in the order in which the scheduler should try them.

    ``generation`` counts snapshots of this process; two snapshots with equal devices, counter sets and holds have equal
    content whatever their generation. ``held`` names the devices that some claim holds, ``shared`` those of them of
    which claims have shares.
    """

    generation: int
    devices: tuple[Device, ...] = ()
    counter_sets: tuple[CounterSet, ...] = ()
    held: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()
