"""The guest as the world that the tests of dra_common.pci are played on, and a virtual machine in it."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pci import driver_process
from pci.world import World

# <linux/vfio.h>: ioctls without a direction, type ';' (0x3b), from 100 on.
_SET_IOMMU, _GET_STATUS, _SET_CONTAINER, _GET_DEVICE = 0x3B66, 0x3B67, 0x3B68, 0x3B6A
_TYPE1 = 1
_VIABLE = 1


@contextmanager
def group_open(node: str) -> Iterator[tuple[int, int]]:
    """Open a container and a group, give both descriptors."""
    with ExitStack() as stack:
        opened = []
        for path in ("/dev/vfio/vfio", f"/dev/{node}"):
            opened.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
            stack.callback(os.close, opened[-1])
        container, group = opened
        yield container, group


def viable(group: int) -> bool:
    """Whether nothing in the group is bound to another driver."""
    status = bytearray(struct.pack("II", 8, 0))
    fcntl.ioctl(group, _GET_STATUS, status)
    return bool(struct.unpack("II", status)[1] & _VIABLE)


@contextmanager
def attached(node: str) -> Iterator[int]:
    """Put a group into a container with an IOMMU domain, give the group's descriptor."""
    with group_open(node) as (container, group):
        fcntl.ioctl(group, _SET_CONTAINER, struct.pack("i", container))
        fcntl.ioctl(container, _SET_IOMMU, _TYPE1)
        yield group


@contextmanager
def device_open(node: str, bdf: str) -> Iterator[None]:
    """Have a device open by its group, as QEMU does."""
    with attached(node) as group:
        device = fcntl.ioctl(group, _GET_DEVICE, bytearray(f"{bdf}\0".encode()))
        try:
            yield
        finally:
            os.close(device)


class RealWorld(World):
    """This kernel."""

    @contextmanager
    def using(self, bdf: str) -> Iterator[None]:
        with device_open(self.node(bdf), bdf):
            yield

    def driver(self) -> list[str]:
        return [sys.executable, driver_process.__file__, str(self.root), "/"]
