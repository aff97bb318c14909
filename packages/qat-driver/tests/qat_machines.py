"""Machines with QATs as a test wants them, and what is done to their virtual functions."""

from __future__ import annotations

from pathlib import Path

import pytest
from dra_common.errors import HostWriteError
from dra_common.simulate import SimulatedHost

PF = "0000:6b:00.0"
DEBUG = f"qat_4xxx_{PF}"


def write_profile(
    place: Path,
    details: str = "",
    *,
    kernel: str = "6.12.0",
    device: str = "0x4940",
    vf: str = "0x4941",
    drivers: str = "4xxx",
    group: str = "iommu_group: 9, ",
    total: int = 16,
) -> str:
    """Write a machine with one PF, 0000:6b:00.0, without VFs; return the path of its profile."""
    file = place / "own.yaml"
    file.write_text(
        f"name: own\nkernel: {kernel}\ndrivers: [{drivers}, vfio-pci]\nfunctions:\n"
        f"  - {{bdf: {PF}, vendor: 0x8086, device: {device}, class: 0x0b4000, aer: true,\n"
        f"     {group}sriov: {{total: {total}, vf_device: {vf}}}, details: {{qat: {{{details}}}}}}}\n"
    )
    return str(file)


def device(bdf: str = PF) -> str:
    return f"bus/pci/devices/{bdf}"


def write(host: SimulatedHost, name: str, value: str, bdf: str = PF) -> None:
    """Write to an attribute of a function."""
    host.sysfs.write(f"{device(bdf)}/{name}", value)


def read(host: SimulatedHost, name: str, bdf: str = PF) -> str:
    """Read an attribute of a function."""
    return host.sysfs.read(f"{device(bdf)}/{name}").strip()


def refused(host: SimulatedHost, name: str, value: str, bdf: str = PF) -> int:
    """Return the errno of a write to an attribute of a function."""
    with pytest.raises(HostWriteError) as caught:
        write(host, name, value, bdf)
    return caught.value.errno


def has(host: SimulatedHost, name: str, bdf: str = PF) -> bool:
    """Whether a function has this file, link or folder."""
    return name in host.sysfs.listdir(device(bdf))


def vfs(host: SimulatedHost, bdf: str = PF) -> list[str]:
    """Return the addresses of a function's VFs by its links."""
    names = [name for name in host.sysfs.listdir(device(bdf)) if name.startswith("virtfn")]
    ordered = sorted(names, key=lambda name: int(name.removeprefix("virtfn")))
    return [host.sysfs.readlink(f"{device(bdf)}/{name}").rpartition("/")[2] for name in ordered]


def to_vfio(host: SimulatedHost, bdf: str) -> None:
    """Bind an unbound function to vfio-pci."""
    write(host, "driver_override", "vfio-pci", bdf)
    host.sysfs.write("bus/pci/drivers_probe", bdf)
