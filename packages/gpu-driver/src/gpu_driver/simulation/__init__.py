"""The GPU part of the simulated kernel: the kernel drivers i915 and xe, and machines to try this driver on."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

from dra_common.simulate import Simulation, VfioPci

from gpu_driver.simulation.details import DETAILS_KEY, GpuDetails
from gpu_driver.simulation.i915 import I915, I915Backport
from gpu_driver.simulation.xe import Xe

__all__ = ["SIMULATION", "GpuDetails"]


def _profiles() -> Mapping[str, Traversable]:
    folder = files("gpu_driver") / "profiles"
    found = sorted(
        (item for item in folder.iterdir() if item.name.endswith(".yaml")), key=lambda item: item.name
    )
    return {item.name.removesuffix(".yaml"): item for item in found}


SIMULATION = Simulation(
    profiles=_profiles(),
    kernel_drivers=(I915(), I915Backport(), Xe(), VfioPci("xe-vfio-pci", module="xe_vfio_pci")),
    details={DETAILS_KEY: GpuDetails},
)
"""Kernel drivers for profiles: ``i915`` (mainline), ``i915-backport`` (out-of-tree), ``xe`` and ``xe-vfio-pci``."""
