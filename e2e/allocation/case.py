"""One machine and what is asked of it, one claim after the other."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Json = dict[str, Any]
Item = TypeVar("Item")


class Dice(random.Random):
    """A source of chance that gives the same for the same seed."""

    def chance(self, probability: float) -> bool:
        """Throw once."""
        return self.random() < probability

    def some(self, items: Sequence[Item], least: int = 1) -> list[Item]:
        """Give at least so many of the items, in their order."""
        chosen = set(self.sample(range(len(items)), self.randint(least, len(items))))
        return [item for index, item in enumerate(items) if index in chosen]


@dataclass(frozen=True, slots=True)
class Traits:
    """What schedulers of a minor version do, where the oldest that we support differs from the newest.

    Args:
        ordered: pools and slices are tried by name, so that the choice is determined. Before, it was the order of a Go
            map: what is chosen varies, and with it whose failing selector or which invalid pool is met first and ends
            the attempt.
        whole_pools: nothing is taken from incomplete pools, and slices for other nodes count for a pool.
        alternatives_of_all: an alternative after the first may have allocationMode All; 1.34 goes on with the first
            alternative's request after one device.
        large: there may be many devices and many requests for them; 1.34 tries them in every order and gives up after
            ten seconds.
        consumable: KEP-5075 is there. 1.34 stores distinctAttribute though the gate is off, asks for the attribute,
            and compares addresses instead of values; its selectors do not know ``device.allowMultipleAllocations``.
    """

    ordered: bool
    whole_pools: bool
    alternatives_of_all: bool
    large: bool
    consumable: bool


NOW = Traits(ordered=True, whole_pools=True, alternatives_of_all=True, large=True, consumable=True)
"""Kubernetes 1.37."""
OLD = Traits(ordered=False, whole_pools=False, alternatives_of_all=False, large=False, consumable=False)
"""Kubernetes 1.34."""


def traits_of(minor: str) -> Traits:
    """Give those of a version such as 1.37."""
    return OLD if minor == "1.34" else NOW


@dataclass(frozen=True, slots=True)
class Ask:
    """A pod with this claim (its spec) comes."""

    spec: Json


@dataclass(frozen=True, slots=True)
class Release:
    """The pod of an earlier step goes, and its claim with it, if it had been given anything."""

    step: int


Step = Ask | Release


@dataclass(frozen=True, slots=True)
class Case:
    """A node, its slices, the classes for it, and what happens.

    ``name`` is the node's; names of drivers, classes and slices contain it, so that cases do not meet.
    """

    name: str
    slices: tuple[Json, ...]
    classes: tuple[Json, ...]
    steps: tuple[Step, ...]
