"""The Gaudi part of the simulated kernel: the kernel driver habanalabs, and machines to try this driver on."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

from dra_common.simulate import Simulation

from gaudi_driver.simulation.details import DETAILS_KEY, GaudiDetails
from gaudi_driver.simulation.habanalabs import Habanalabs, HabanalabsOutOfTree

__all__ = ["SIMULATION", "GaudiDetails"]


def _profiles() -> Mapping[str, Traversable]:
    folder = files("gaudi_driver") / "profiles"
    found = sorted(
        (item for item in folder.iterdir() if item.name.endswith(".yaml")), key=lambda item: item.name
    )
    return {item.name.removesuffix(".yaml"): item for item in found}


SIMULATION = Simulation(
    profiles=_profiles(),
    kernel_drivers=(Habanalabs(), HabanalabsOutOfTree()),
    details={DETAILS_KEY: GaudiDetails},
)
"""Kernel drivers for profiles: ``habanalabs`` (mainline) and ``habanalabs-oot`` (out-of-tree)."""
