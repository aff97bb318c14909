"""What the simulated i915 and xe have in common."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping

from dra_common.simulate import Function, KernelDriver, Machine, refuse

from gpu_driver.products import product
from gpu_driver.queries import MemoryQuery
from gpu_driver.simulation.details import details_of

SYSTEM_MEMORY = 64 << 30
"""Bytes of the machine's own memory, which both drivers list as region of class 0."""

SPARE = 128 << 20
"""Bytes of local memory that a PF keeps for itself when VFs share the rest."""

SHARE_STEP = 2 << 20
"""Bytes. Shares are rounded down to this."""

_MEI_MAJOR = 241


def has_display(function: Function) -> bool:
    """Whether the product can drive a display: for one that cannot, the kernel drivers turn mode setting off."""
    return function.spec.class_.startswith("0x0300")


class GpuKernelDriver(KernelDriver):
    """A DRM driver for the products whose native driver it is."""

    query_layout: MemoryQuery

    def matches(self, function: Function) -> bool:
        """Whether the driver takes this product without being told to (``force_probe``)."""
        spec = function.spec
        return spec.vendor == "0x8086" and product(spec.device).native_driver == self.name

    def query(self, machine: Machine, function: Function, node: str, name: str) -> bytes:
        """Answer the memory query. Raises EINVAL for another driver's, EACCES on a node that the profile denies."""
        if name != self.query_layout.name:
            return super().query(machine, function, node, name)
        check_open(function, node)
        return self._regions(self._local(machine, function), details_of(function).tiles)

    def _local(self, machine: Machine, function: Function) -> int:
        """Bytes of local memory: the profile's, or a VF's quota."""
        if function.pf is None:
            return details_of(function).vram
        return self.quota(machine, function.pf, function.vf_index)

    def quota(self, machine: Machine, pf: Function, index: int) -> int:
        """Bytes of local memory that VF ``index`` has now."""
        raise NotImplementedError

    def _regions(self, local: int, tiles: int) -> bytes:
        """Lay out the answer as the driver's uAPI header says: a header, then equally long regions."""
        regions = [(0, SYSTEM_MEMORY)] + [(1, local // tiles)] * (tiles if local else 0)
        layout = self.query_layout.layout
        blob = bytearray(layout.header + len(regions) * layout.region)
        struct.pack_into("=I", blob, 0, len(regions))
        for number, (kind, size) in enumerate(regions):
            at = layout.header + number * layout.region
            struct.pack_into("=HH", blob, at, kind, max(0, number - 1))
            struct.pack_into("=Q", blob, at + layout.size_at, size)
        return bytes(blob)


def check_open(function: Function, node: str) -> None:
    """Refuse a node that the profile denies. Raises EACCES."""
    kind = "render" if node.startswith("dri/renderD") else "card"
    if kind in details_of(function).denied_nodes:
        raise refuse(errno.EACCES, node)


def share(pf: Function, count: int) -> int:
    """Return the local memory of one of ``count`` VFs: an equal part of what the PF does not keep."""
    free = max(0, details_of(pf).vram - SPARE)
    return free // count // SHARE_STEP * SHARE_STEP


def add_mei(machine: Machine, function: Function, driver: str) -> None:
    """Add the card's MEI devices, children of auxiliary devices as ``xe.mei-gscfi.768``."""
    for kind in ("mei-gscfi", "mei-gsc")[: details_of(function).mei]:
        number = machine.allocate("mei", owner=function)
        parent = f"{function.folder}/{driver}.{kind}.{int(function.bdf[5:7], 16) << 8}"
        name = f"mei{number}"
        machine.add_class_device(
            parent, "mei", name, dev=(_MEI_MAJOR, number), devname=name, node_mode=0o600, owner=function
        )


def add_hwmon(machine: Machine, function: Function, files: Mapping[str, str]) -> None:
    """Add ``hwmon/hwmonN``."""
    name = f"hwmon{machine.allocate('hwmon', owner=function)}"
    machine.add_class_device(function.folder, "hwmon", name, files=files, owner=function)
