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
from dra_common.pci import Facts, first
from dra_common.ports import Host

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
    for each, name, folder in _virtual(facts.host):
        if _text(facts.host, f"{folder}/pci_addr") == facts.bdf:
            return Place(_nodes(facts.host, each, name), here or folder)
    return Place(attributes=here)


def _virtual(host: Host) -> Iterator[tuple[_Class, str, str]]:
    """Yield class, name and folder of attributes of each virtual device."""
    for each in _CLASSES:
        place = f"devices/virtual/{each.name}"
        for name in _names(host, place):
            if each.compute.fullmatch(name):
                yield from ((each, name, f"{place}/{name}{below}") for below in ("/device", ""))


def _nodes(host: Host, each: _Class, name: str) -> Nodes:
    match = _DIGITS.search(name)
    number = match[0] if match else ""
    control = f"{each.folder}{each.control}{number}"
    return Nodes(int(number), f"{each.folder}{name}", control if host.devfs.exists(control) else "")


def _names(host: Host, path: str) -> tuple[str, ...]:
    try:
        return host.sysfs.listdir(path)
    except HostError:
        return ()


def _text(host: Host, path: str) -> str:
    try:
        return host.sysfs.read(path).strip()
    except HostError:
        return ""
