"""The Gaudi part of the simulated kernel: the kernel driver habanalabs, and machines to try this driver on."""

from __future__ import annotations

from dra_common.simulate import Simulation, profiles_of

from gaudi_driver.simulation.details import DETAILS_KEY, GaudiDetails
from gaudi_driver.simulation.habanalabs import Habanalabs, HabanalabsOutOfTree

__all__ = ["SIMULATION", "GaudiDetails"]


SIMULATION = Simulation(
    profiles=profiles_of("gaudi_driver"),
    kernel_drivers=(Habanalabs(), HabanalabsOutOfTree()),
    details={DETAILS_KEY: GaudiDetails},
)
"""Kernel drivers for profiles: ``habanalabs`` (mainline) and ``habanalabs-oot`` (out-of-tree)."""
