"""The GPU part of the simulated kernel: the kernel drivers i915 and xe, and machines to try this driver on."""

from __future__ import annotations

from dra_common.simulate import Simulation, VfioPci, profiles_of

from gpu_driver.simulation.details import DETAILS_KEY, GpuDetails
from gpu_driver.simulation.i915 import I915, I915Backport
from gpu_driver.simulation.xe import Xe

__all__ = ["SIMULATION", "GpuDetails"]


SIMULATION = Simulation(
    profiles=profiles_of("gpu_driver"),
    kernel_drivers=(I915(), I915Backport(), Xe(), VfioPci("xe-vfio-pci", module="xe_vfio_pci")),
    details={DETAILS_KEY: GpuDetails},
)
"""Kernel drivers for profiles: ``i915`` (mainline), ``i915-backport`` (out-of-tree), ``xe`` and ``xe-vfio-pci``."""
