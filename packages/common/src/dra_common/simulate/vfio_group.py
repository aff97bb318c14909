"""VFIO's groups: those of the IOMMU, and those that it makes itself where there is none.

A function without an IOMMU is taken only in the mode ``enable_unsafe_noiommu_mode`` of the module vfio: then it gets a
group of its own, named ``vfio-noiommu``, for as long as it is bound (``drivers/vfio/group.c``), and all nodes have
names that begin with ``noiommu-``.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from dra_common.simulate.errnos import refuse
from dra_common.simulate.function import Function

if TYPE_CHECKING:
    from dra_common.simulate.machine import Machine

_GROUPS = "kernel/iommu_groups"


def prefix(function: Function) -> str:
    """Return how the names of a function's nodes begin."""
    return "noiommu-" if function.spec.iommu_group is None else ""


def node(machine: Machine, function: Function) -> str:
    """Return the group's node below devfs; empty for a function without a group."""
    group = _of(machine, function)
    return f"vfio/{prefix(function)}{group}" if group else ""


def join(machine: Machine, function: Function) -> str:
    """Return the name of the function's group as nodes have it, and make it one if there is no IOMMU.

    Raises EINVAL: it has no group, and the kernel makes none.
    """
    if function.spec.iommu_group is None:
        _make(machine, function)
    return node(machine, function).removeprefix("vfio/")


def _of(machine: Machine, function: Function) -> str:
    """Return the number of the function's group, empty if it has none."""
    place = machine.sys.root / function.folder / "iommu_group"
    return place.readlink().name if place.is_symlink() else ""


def _make(machine: Machine, function: Function) -> None:
    if not machine.profile.vfio_noiommu:
        raise refuse(errno.EINVAL, f"{function.bdf}: no IOMMU group")
    group = f"{_GROUPS}/{machine.free_group()}"
    machine.on_release(function, lambda: machine.remove(group))
    machine.add_file(f"{group}/name", "vfio-noiommu")
    machine.add_link(f"{group}/devices/{function.bdf}", function.folder)
    machine.add_link(f"{function.folder}/iommu_group", group, owner=function)
