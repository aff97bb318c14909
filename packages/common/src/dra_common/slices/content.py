"""What stands in one ResourceSlice, before it has a name, a generation and an owner."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SliceContent:
    """The devices or the counter sets of one slice as resource.k8s.io/v1 JSON; never both (rule since 1.35).

    Both empty is the empty slice of a pool without devices. The mappings are not to be changed.
    """

    devices: tuple[Mapping[str, Any], ...] = ()
    shared_counters: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.devices and self.shared_counters:
            raise ValueError("devices and counter sets exclude each other in one slice")

    def spec(self) -> dict[str, Any]:
        """Return this part of ``ResourceSlice.spec``, a copy; driver, pool and node are the publisher's."""
        if self.shared_counters:
            return {"sharedCounters": copy.deepcopy(list(self.shared_counters))}
        return {"devices": copy.deepcopy(list(self.devices))}


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A device that is not published because this server cannot express what keeps it safe."""

    device: str
    reason: str

    def __str__(self) -> str:
        return f"device {self.device} is not published: {self.reason}"


@dataclass(frozen=True, slots=True)
class Slices:
    """All slices of the pool in index order, and the devices that are missing from them."""

    contents: tuple[SliceContent, ...]
    withdrawn: tuple[Withdrawn, ...] = ()
