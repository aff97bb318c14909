"""Telling virtual functions from physical ones, and whose they are.

A VF has the link ``physfn`` to its PF, but not at all times: the kernel makes the link when the VF is there already,
and takes it away before it unbinds the VF's driver, which may take long (``pci_iov_add_virtfn``,
``pci_iov_remove_virtfn`` in ``drivers/pci/iov.c``). Meanwhile its address tells.
"""

from __future__ import annotations

from dataclasses import replace

from dra_common.errors import HostError
from dra_common.pci import PCI_DEVICES, Facts, address, is_bdf

from gpu_driver.device import Gpu

_REACH = 512
"""How far beyond its PF a VF is looked for: 255 VFs, from the next bus on. A routing id has 256 functions a bus."""


def told(gpu: Gpu, facts: Facts) -> Gpu:
    """Return a function as the VF that it is, with its PF, and its number if the PF confirms it; or as it came."""
    if "physfn" in facts.entries:
        return _linked(replace(gpu, kind="vf"), facts)
    if "sriov_totalvfs" in facts.entries:
        return gpu
    parent = next((bdf for bdf in _near(facts) if _makes(facts, bdf, gpu.device_id)), "")
    return replace(gpu, kind="vf", parent=parent) if parent else gpu


def _linked(gpu: Gpu, facts: Facts) -> Gpu:
    try:
        target = facts.host.sysfs.readlink(facts.path("physfn"))
    except HostError as error:
        facts.note(error.message)
        return gpu
    parent = target.rpartition("/")[2]
    if not is_bdf(parent) or parent == gpu.bdf:
        facts.note(f"the link physfn leads to {target[:80]!r}, not to a physical function")
        return gpu
    return replace(gpu, parent=parent, vf_index=_confirmed(facts, parent))


def _confirmed(facts: Facts, parent: str) -> int | None:
    """Return the VF's number, checked with the PF's link. The PF may have 255 of them; this looks at one."""
    index = _index(facts, parent)
    try:
        link = facts.host.sysfs.readlink(f"{PCI_DEVICES}/{parent}/virtfn{index}")
    except HostError:
        return None
    return index if link.rpartition("/")[2] == facts.bdf else None


def _near(facts: Facts) -> list[str]:
    """Return the addresses from which a PF's VFs could reach this one."""
    try:
        names = facts.host.sysfs.listdir(PCI_DEVICES)
    except HostError:
        return []
    there = [bdf for bdf in names if is_bdf(bdf) and address(bdf)[0] == address(facts.bdf)[0]]
    return [bdf for bdf in there if 0 < _routing_id(facts.bdf) - _routing_id(bdf) < _REACH]


def _makes(facts: Facts, parent: str, device_id: str) -> bool:
    """Whether a function is a PF one of whose VFs, which have this device id, is at this address."""
    index = _index(facts, parent)
    if index is None:
        return False
    try:
        total, device = (
            facts.host.sysfs.read(f"{PCI_DEVICES}/{parent}/sriov_{name}").strip()
            for name in ("totalvfs", "vf_device")
        )
        return index < int(total) and int(device, 16) == int(device_id, 16)
    except (HostError, ValueError):
        return False


def _index(facts: Facts, parent: str) -> int | None:
    """Compute which VF of a PF has this routing id (PCIe Base Specification, SR-IOV)."""
    try:
        offset, stride = (
            int(facts.host.sysfs.read(f"{PCI_DEVICES}/{parent}/sriov_{name}"))
            for name in ("offset", "stride")
        )
        index, rest = divmod(_routing_id(facts.bdf) - _routing_id(parent) - offset, stride)
    except (HostError, ValueError, ZeroDivisionError):
        return None
    return index if not rest and index >= 0 else None


def _routing_id(bdf: str) -> int:
    _, bus, device, function = address(bdf)
    return bus << 8 | device << 3 | function
