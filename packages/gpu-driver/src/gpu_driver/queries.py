"""Asking the i915 and xe kernel drivers for their memory regions by ioctl.

Layouts are those of ``include/uapi/drm/xe_drm.h`` and ``include/uapi/drm/i915_drm.h`` on 64-bit machines. A question
takes two calls: one with length 0 tells the length, one with a buffer fills it. :meth:`run` does both and returns the
kernel's bytes as they are; what they mean is decided by :func:`local_bytes`, which trusts nothing.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import struct
from dataclasses import dataclass

from dra_common.errors import HostError

XE_DEVICE_QUERY = 0xC0286440
I915_QUERY = 0xC0106479

_XE_QUERY_MEM_REGIONS = 1
_XE_QUERY = struct.Struct("=QIIQQQ")  # extensions, query, size, data, reserved[2]
_I915_QUERY_MEMORY_REGIONS = 4
_I915_ITEM = struct.Struct("=QiIQ")  # query_id, length, flags, data_ptr
_I915_ARGUMENT = struct.Struct("=IIQ")  # num_items, flags, items_ptr

_MOST = 64 * 1024
"""Bytes. An answer has some hundred; a length beyond this is a driver that answers something else."""

LOCAL = 1
"""Memory class of both drivers: XE_DRM_MEM_REGION_CLASS_VRAM, I915_MEMORY_CLASS_DEVICE. 0 is system memory."""

HUGE = 1 << 50
"""Bytes. No GPU has a pebibyte; i915 reserves -1 for a size that it does not know."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a driver lays out its answer: a header that begins with the number of regions, then the regions.

    A region begins with u16 class and u16 instance; ``size_at`` is where its u64 size in bytes is.
    """

    header: int
    region: int
    size_at: int


@dataclass(frozen=True, slots=True)
class XeMemRegions:
    """``DRM_XE_DEVICE_QUERY_MEM_REGIONS``; anybody who may open the node may ask."""

    name: str = "xe.mem_regions"
    layout: Layout = Layout(header=8, region=88, size_at=8)

    def run(self, fd: int) -> bytes:
        """Ask the open node ``fd``. Raises OSError with the kernel's errno."""
        size = _checked(self._call(fd, 0, 0))
        buffer = ctypes.create_string_buffer(size)
        self._call(fd, size, ctypes.addressof(buffer))
        return buffer.raw

    @staticmethod
    def _call(fd: int, size: int, data: int) -> int:
        argument = bytearray(_XE_QUERY.pack(0, _XE_QUERY_MEM_REGIONS, size, data, 0, 0))
        fcntl.ioctl(fd, XE_DEVICE_QUERY, argument)
        return int(_XE_QUERY.unpack(argument)[2])


@dataclass(frozen=True, slots=True)
class I915MemoryRegions:
    """``DRM_I915_QUERY_MEMORY_REGIONS``; a render node suffices."""

    name: str = "i915.memory_regions"
    layout: Layout = Layout(header=16, region=88, size_at=8)

    def run(self, fd: int) -> bytes:
        """Ask the open node ``fd``. Raises OSError with the kernel's errno."""
        size = _checked(self._call(fd, 0, 0))
        buffer = ctypes.create_string_buffer(size)
        self._call(fd, size, ctypes.addressof(buffer))
        return buffer.raw

    @staticmethod
    def _call(fd: int, length: int, data: int) -> int:
        packed = _I915_ITEM.pack(_I915_QUERY_MEMORY_REGIONS, length, 0, data)
        item = ctypes.create_string_buffer(packed, len(packed))
        fcntl.ioctl(fd, I915_QUERY, bytearray(_I915_ARGUMENT.pack(1, 0, ctypes.addressof(item))))
        answer = int(_I915_ITEM.unpack(item.raw)[1])
        if answer < 0:  # an item that failed carries its errno, and the ioctl succeeds
            raise OSError(-answer, f"query item: {errno.errorcode.get(-answer, str(-answer))}")
        return answer


MemoryQuery = XeMemRegions | I915MemoryRegions

QUERIES: dict[str, MemoryQuery] = {"xe": XeMemRegions(), "i915": I915MemoryRegions()}
"""Kernel driver -> the question that it understands."""


def local_bytes(query: MemoryQuery, blob: bytes) -> int:
    """Return the bytes of local memory in an answer; 0 if there is no local region.

    Raises HostError when the answer is truncated, too long, or holds a size that cannot be.
    """
    layout = query.layout
    if len(blob) < layout.header:
        raise _bad(query, f"{len(blob)} bytes, less than the header's {layout.header}")
    (count,) = struct.unpack_from("=I", blob)
    expected = layout.header + count * layout.region
    if len(blob) != expected:
        raise _bad(query, f"{len(blob)} bytes, but {count} regions take {expected}")
    return sum(_local(query, blob, layout.header + index * layout.region) for index in range(count))


def _local(query: MemoryQuery, blob: bytes, offset: int) -> int:
    (kind,) = struct.unpack_from("=H", blob, offset)
    (size,) = struct.unpack_from("=Q", blob, offset + query.layout.size_at)
    if kind != LOCAL:
        return 0
    if size >= HUGE:
        raise _bad(query, f"a region of {size} bytes")
    return int(size)


def _checked(size: int) -> int:
    if not 0 < size <= _MOST:
        raise OSError(errno.EPROTO, f"the driver wants a buffer of {size} bytes")
    return size


def _bad(query: MemoryQuery, why: str) -> HostError:
    return HostError(f"the answer to {query.name} makes no sense: {why}", errno=errno.EPROTO)
