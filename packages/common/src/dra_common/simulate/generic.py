"""Kernel drivers that every machine may have."""

from __future__ import annotations

from dra_common.simulate.drm import DisplayDriver
from dra_common.simulate.kernel_driver import KernelDriver
from dra_common.simulate.vfio import VfioPci


def generic_drivers() -> tuple[KernelDriver, ...]:
    """Return what profiles may name besides a driver package's own: ``vfio-pci`` and ``ast`` (a server's BMC)."""
    return VfioPci(), DisplayDriver("ast", ["1a03:2000"])
