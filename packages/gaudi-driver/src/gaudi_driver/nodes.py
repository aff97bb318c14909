"""Where a kernel has the device nodes of a Gaudi, and the attributes that its kernel driver makes.

Since Linux 6.3 both belong to the class ``accel``: nodes are made below the PCI function, which has the attributes. A
module built beside an older kernel makes virtual devices, ``devices/virtual/accel/accelN``, and has the attributes in
their folder ``device``. Before that it was the class ``habanalabs``, with ``devices/virtual/habanalabs/hlN``, which has
the attributes itself. A virtual device says whose it is by ``pci_addr``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dra_common.errors import HostError
from dra_common.pci import PCI_DEVICES, Facts, first
from dra_common.ports import Host, Tree

_DIGITS = re.compile(r"[0-9]+$", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Class:
    """A class of devices; its name is that of the folders in sysfs, ``folder`` the one below devfs."""

    name: str
    compute: re.Pattern[str]
    folder: str
    control: str


_CLASSES = (
    _Class("accel", re.compile(r"accel[0-9]{1,6}", re.ASCII), "accel/", "accel_controlD"),
    _Class("habanalabs", re.compile(r"hl[0-9]{1,6}", re.ASCII), "", "hl_controlD"),
)


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes below devfs with the number that is in their names; without any, the number is None."""

    index: int | None = None
    compute: str = ""
    control: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device is.

    Args:
        attributes: folder below sysfs; empty = there is none, as when another kernel driver is bound.
    """

    nodes: Nodes = Nodes()
    attributes: str = ""


def find(facts: Facts) -> Place:
    """Return nodes and attributes of a function that habanalabs has."""
    here = facts.path("") if "status" in facts.entries else ""
    for each in _CLASSES:
        if name := first(facts.children(each.name), each.compute):
            return Place(_nodes(facts.host, each, name), here)
    for each, name, folder in _virtual(facts.host.sysfs, facts.bdf):
        return Place(_nodes(facts.host, each, name), here or folder)
    return Place(attributes=here)


def attributes_of(sysfs: Tree, bdf: str) -> str:
    """Return the folder of the attributes alone; empty if there is none."""
    here = f"{PCI_DEVICES}/{bdf}"
    if sysfs.exists(f"{here}/status"):
        return here
    return next((folder for _, _, folder in _virtual(sysfs, bdf)), "")


def _virtual(sysfs: Tree, bdf: str) -> Iterator[tuple[_Class, str, str]]:
    """Yield class, name and folder of attributes of the virtual device of a function."""
    for each in _CLASSES:
        place = f"devices/virtual/{each.name}"
        for name in _names(sysfs, place):
            for folder in (f"{place}/{name}/device", f"{place}/{name}"):
                if each.compute.fullmatch(name) and _text(sysfs, f"{folder}/pci_addr") == bdf:
                    yield each, name, folder


def _nodes(host: Host, each: _Class, name: str) -> Nodes:
    match = _DIGITS.search(name)
    number = match[0] if match else ""
    control = f"{each.folder}{each.control}{number}"
    return Nodes(int(number), f"{each.folder}{name}", control if host.devfs.exists(control) else "")


def _names(sysfs: Tree, path: str) -> tuple[str, ...]:
    try:
        return sysfs.listdir(path)
    except HostError:
        return ()


def _text(sysfs: Tree, path: str) -> str:
    try:
        return sysfs.read(path).strip()
    except HostError:
        return ""
