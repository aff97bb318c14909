"""Asking the i915 and xe kernel drivers by ioctl: both for memory regions, xe also for what is inside the GPU.

Layouts are those of ``include/uapi/drm/xe_drm.h`` and ``include/uapi/drm/i915_drm.h`` on 64-bit machines. A question
takes two calls: one with length 0 tells the length, one with a buffer fills it. :meth:`run` does both and returns the
kernel's bytes as they are; what they mean is decided by :func:`local_bytes`, :func:`topology` and
:func:`guc_submission`, which trust nothing.
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
_XE_QUERY_GT_TOPOLOGY = 5
_XE_QUERY_UC_FW_VERSION = 7
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
        return _ask_xe(fd, _XE_QUERY_MEM_REGIONS)


@dataclass(frozen=True, slots=True)
class XeGtTopology:
    """``DRM_XE_DEVICE_QUERY_GT_TOPOLOGY``: bit masks of what is not fused off, for each GT."""

    name: str = "xe.gt_topology"

    def run(self, fd: int) -> bytes:
        """Ask the open node ``fd``. Raises OSError with the kernel's errno."""
        return _ask_xe(fd, _XE_QUERY_GT_TOPOLOGY)


@dataclass(frozen=True, slots=True)
class XeGucVersion:
    """``DRM_XE_DEVICE_QUERY_UC_FW_VERSION`` of ``XE_QUERY_UC_TYPE_GUC_SUBMISSION``, which is 0 in the first field."""

    name: str = "xe.guc_version"

    def run(self, fd: int) -> bytes:
        """Ask the open node ``fd``. Raises OSError with the kernel's errno."""
        return _ask_xe(fd, _XE_QUERY_UC_FW_VERSION)


def _ask_xe(fd: int, query: int) -> bytes:
    """Ask twice, the second time with a buffer of zeros, which no question of ours has to fill. Raises OSError."""
    size = _checked(_call_xe(fd, query, 0, 0))
    buffer = ctypes.create_string_buffer(size)
    _call_xe(fd, query, size, ctypes.addressof(buffer))
    return buffer.raw


def _call_xe(fd: int, query: int, size: int, data: int) -> int:
    argument = bytearray(_XE_QUERY.pack(0, query, size, data, 0, 0))
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


@dataclass(frozen=True, slots=True)
class Cores:
    """``xe`` = Xe cores (DSS, each with some EUs), ``eus`` = execution units, of the whole GPU."""

    xe: int
    eus: int


_MASK = struct.Struct("=HHI")  # gt_id, type, num_bytes; the mask follows
_DSS, _EUS = (1, 2), (4, 5)
"""Types of masks: DSS for geometry and for compute; EUs of each DSS, SIMD8 or SIMD16. 3 is L3 banks."""
_MOST_GTS = 16


def topology(blob: bytes) -> Cores | None:
    """Return how many cores and EUs the masks of all GTs stand for; None if they tell of none (media GTs have none).

    Raises HostError when the answer is truncated, or no GPU.
    """
    query = XeGtTopology()
    dss: dict[int, int] = {}
    eus: dict[int, int] = {}
    at = 0
    while at < len(blob):
        if len(blob) < at + _MASK.size:
            raise _bad(query, f"{len(blob)} bytes, cut off in the middle of a mask's head")
        gt, kind, size = _MASK.unpack_from(blob, at)
        at += _MASK.size
        if len(blob) < at + size:
            raise _bad(query, f"{len(blob)} bytes, cut off in a mask of {size}")
        found = dss if kind in _DSS else eus if kind in _EUS else {}
        found[gt] = found.get(gt, 0) | int.from_bytes(blob[at : at + size], "little")
        at += size
    if len(dss) > _MOST_GTS:
        raise _bad(query, f"{len(dss)} GTs")
    counts = {gt: mask.bit_count() for gt, mask in dss.items()}
    total = sum(count * eus.get(gt, 0).bit_count() for gt, count in counts.items())
    return Cores(sum(counts.values()), total) if total else None


_FIRMWARE = struct.Struct("=HHIIIIIQ")  # uc_type, pad, branch, major, minor, patch, pad2, reserved


def guc_submission(blob: bytes) -> str:
    """Return the version of the GuC's submission interface, ``1.19.1``.

    Raises HostError when the answer has another length, or numbers that no version has.
    """
    query = XeGucVersion()
    if len(blob) != _FIRMWARE.size:
        raise _bad(query, f"{len(blob)} bytes, not {_FIRMWARE.size}")
    kind, _, _, *numbers, _, _ = _FIRMWARE.unpack(blob)
    if kind or not any(numbers) or max(numbers) > _HIGHEST:
        raise _bad(query, f"firmware {kind} of version {numbers}")
    return ".".join(map(str, numbers))


_HIGHEST = 0xFFFF
"""Of each number of a firmware's version."""


def _checked(size: int) -> int:
    if not 0 < size <= _MOST:
        raise OSError(errno.EPROTO, f"the driver wants a buffer of {size} bytes")
    return size


def _bad(query: MemoryQuery | XeGtTopology | XeGucVersion, why: str) -> HostError:
    return HostError(f"the answer to {query.name} makes no sense: {why}", errno=errno.EPROTO)
