"""The simulated kernel: a sysfs, devfs and procfs tree from a YAML profile that reacts to writes as Linux does.

A driver package brings profiles and :class:`KernelDriver` classes for its hardware; everything that is the PCI core's
(binding, SR-IOV, IOMMU groups, VFIO, uevents) is here.
"""

from dra_common.simulate.function import Function
from dra_common.simulate.kernel_driver import IdDriver, KernelDriver
from dra_common.simulate.machine import VIRTUAL, Machine
from dra_common.simulate.profile import FunctionSpec, Profile, SriovSpec
from dra_common.simulate.simulation import Simulation

__all__ = [
    "VIRTUAL",
    "Function",
    "FunctionSpec",
    "IdDriver",
    "KernelDriver",
    "Machine",
    "Profile",
    "Simulation",
    "SriovSpec",
]
