"""The simulated kernel: a sysfs, devfs and procfs tree from a YAML profile that reacts to writes as Linux does.

A driver package brings profiles and :class:`KernelDriver` classes for its hardware (:class:`Simulation`); everything
that is the PCI core's (binding, SR-IOV, IOMMU groups, VFIO, uevents) is here. :func:`serve` runs a machine,
:class:`SimulatedHost` and :class:`SimulatedUevents` are how a driver sees it.
"""

from dra_common.simulate.client import ControlClient, SimulatedHost, SimulatedUevents
from dra_common.simulate.drm import Card, DisplayDriver, add_card
from dra_common.simulate.errnos import parse_bool, parse_unsigned, refuse
from dra_common.simulate.folder import DEBUGFS, remove, require_vacant
from dra_common.simulate.function import Function
from dra_common.simulate.kernel_driver import IdDriver, KernelDriver
from dra_common.simulate.machine import VIRTUAL, Machine
from dra_common.simulate.profile import FunctionSpec, Profile, SriovSpec
from dra_common.simulate.run import Simulator, find_profile, list_profiles, serve, write_tree
from dra_common.simulate.simulation import Simulation, profiles_of
from dra_common.simulate.vfio import VfioPci

__all__ = [
    "DEBUGFS",
    "VIRTUAL",
    "Card",
    "ControlClient",
    "DisplayDriver",
    "Function",
    "FunctionSpec",
    "IdDriver",
    "KernelDriver",
    "Machine",
    "Profile",
    "SimulatedHost",
    "SimulatedUevents",
    "Simulation",
    "Simulator",
    "SriovSpec",
    "VfioPci",
    "add_card",
    "find_profile",
    "list_profiles",
    "parse_bool",
    "parse_unsigned",
    "profiles_of",
    "refuse",
    "remove",
    "require_vacant",
    "serve",
    "write_tree",
]
