"""What a driver package hands over: its machines and the kernel drivers that live in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable

from pydantic import BaseModel

from dra_common.simulate.kernel_driver import KernelDriver


def profiles_of(package: str) -> Mapping[str, Traversable]:
    """Return name -> YAML file of the profiles in a package's folder ``profiles``, sorted."""
    items = (files(package) / "profiles").iterdir()
    found = sorted((item for item in items if item.name.endswith(".yaml")), key=lambda item: item.name)
    return {item.name.removesuffix(".yaml"): item for item in found}


@dataclass(frozen=True, slots=True)
class Simulation:
    """A driver's part of the simulated kernel.

    Args:
        profiles: name -> YAML file, as :func:`profiles_of` finds them.
        kernel_drivers: what a profile may load, besides the generic ones (:mod:`dra_common.simulate.generic`).
        details: key below a function's ``details`` in a profile -> how it is checked; other keys are refused.
    """

    profiles: Mapping[str, Traversable]
    kernel_drivers: Sequence[KernelDriver] = ()
    details: Mapping[str, type[BaseModel]] = field(default_factory=dict)
