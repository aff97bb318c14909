"""What a driver package hands over: its machines and the kernel drivers that live in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable

from pydantic import BaseModel

from dra_common.simulate.kernel_driver import KernelDriver


@dataclass(frozen=True, slots=True)
class Simulation:
    """A driver's part of the simulated kernel.

    Args:
        profiles: name -> YAML file, for example ``importlib.resources.files(__package__) / "profiles" / "empty.yaml"``.
        kernel_drivers: what a profile may load, besides the generic ones (:mod:`dra_common.simulate.generic`).
        details: key below a function's ``details`` in a profile -> how it is checked; other keys are refused.
    """

    profiles: Mapping[str, Traversable]
    kernel_drivers: Sequence[KernelDriver] = ()
    details: Mapping[str, type[BaseModel]] = field(default_factory=dict)
