"""What can be read of a PCI function without ever blocking (ABI document sysfs-bus-pci).

``driver_override`` and ``sriov_numvfs`` are not among it: reading them takes the lock of the device, which a blocked
unbind holds for as long as it blocks. VFs are counted by their links; the override is read by :class:`~.bus.Bus`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dra_common.errors import HostError, HostNotFound
from dra_common.pci.facts import PCI_DEVICES
from dra_common.pci.names import is_bdf
from dra_common.ports import Host, Tree

_VIRTFN = re.compile(r"virtfn([0-9]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Function:
    """One function as sysfs shows it at one moment.

    Args:
        bdf: its address, ``0000:4d:00.0``.
        driver: what is bound; "" = none. While an unbind blocks in the kernel it is "" already: only the write's
            return means that it is done.
        total_vfs: how many VFs its driver can make; None for what is no PF, and without a driver, when the kernel shows
            another number (the hardware's).
        autoprobe: whether the kernel offers new VFs to drivers; None for what is no PF.
        vfs: address by index, in ascending order.
        pf: address of the PF if this is a VF; "" otherwise, and for a moment while a VF is being made.
        iommu_group: number as text; "" = there is no IOMMU.
    """

    bdf: str
    driver: str = ""
    total_vfs: int | None = None
    autoprobe: bool | None = None
    vfs: Mapping[int, str] = field(default_factory=dict)
    pf: str = ""
    iommu_group: str = ""


def folder(bdf: str) -> str:
    """Return the function's folder below sysfs. Raises HostError for what is no address, and could be a path."""
    if not is_bdf(bdf):
        raise HostError(f"{bdf!r} is not the address of a PCI function", cure="see `ls /sys/bus/pci/devices`")
    return f"{PCI_DEVICES}/{bdf}"


def look(sysfs: Tree, bdf: str) -> Function:
    """Return the function as it is now. Raises HostNotFound if there is none, HostError."""
    place = folder(bdf)
    names = sysfs.listdir(place)
    driver = _target(sysfs, f"{place}/driver")
    is_pf = "sriov_totalvfs" in names
    return Function(
        bdf,
        driver,
        total_vfs=_number(sysfs, f"{place}/sriov_totalvfs") if is_pf and driver else None,
        autoprobe=sysfs.read(f"{place}/sriov_drivers_autoprobe") != "0" if is_pf else None,
        vfs=_vfs(sysfs, place, names),
        pf=_target(sysfs, f"{place}/physfn"),
        iommu_group=_target(sysfs, f"{place}/iommu_group"),
    )


def group_members(sysfs: Tree, group: str) -> tuple[str, ...]:
    """Return the addresses of all functions in an IOMMU group, sorted. Raises HostNotFound, HostError."""
    return sysfs.listdir(f"kernel/iommu_groups/{group}/devices")


def group_node(host: Host, group: str) -> str:
    """Return the group's VFIO node below devfs, ``vfio/13``; "" if there is none (yet).

    It is there while a VFIO driver is bound to a function of the group. Without an IOMMU, and with the kernel's unsafe
    mode, its name begins with ``noiommu-`` (kernel document vfio).
    """
    nodes = (f"vfio/{group}", f"vfio/noiommu-{group}")
    return next((node for node in nodes if group and host.devfs.exists(node)), "")


def _target(sysfs: Tree, path: str) -> str:
    """Return the last name of a link's target, "" if there is no link."""
    try:
        return sysfs.readlink(path).rpartition("/")[2]
    except HostNotFound:
        return ""


def _number(sysfs: Tree, path: str) -> int:
    text = sysfs.read(path)
    if not (text.isascii() and text.isdigit()):
        raise HostError(f"{path} holds {text[:40]!r}, not a number")
    return int(text)


def _vfs(sysfs: Tree, place: str, names: tuple[str, ...]) -> Mapping[int, str]:
    found = {int(match[1]): name for name in names if (match := _VIRTFN.fullmatch(name))}
    vfs = {index: _target(sysfs, f"{place}/{found[index]}") for index in sorted(found)}
    return {index: bdf for index, bdf in vfs.items() if bdf}
