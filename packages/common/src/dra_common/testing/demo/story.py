"""What a driver package offers to be played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dra_common.testing.demo.narrator import Narrator
from dra_common.testing.node import SimulatedNode


@dataclass(frozen=True, slots=True)
class Story:
    """One story.

    Args:
        title: one line.
        driver: the DRA driver's name.
        profile: the simulated machine it is told on, unless another is asked for.
        tell: plays it on a node whose driver is not started yet.
    """

    title: str
    driver: str
    profile: str
    tell: Callable[[SimulatedNode, Narrator], None]
