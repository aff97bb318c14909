from __future__ import annotations

import ctypes
import errno
import fcntl
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from dra_common.errors import HostError
from gpu_driver.queries import (
    QUERIES,
    Cores,
    I915MemoryRegions,
    XeGtTopology,
    XeGucVersion,
    XeMemRegions,
    guc_submission,
    local_bytes,
    topology,
)
from gpu_trees import firmware_blob, topology_blob
from hypothesis import given
from hypothesis import strategies as st

GIB = 1 << 30
Blobs = Mapping[str, Callable[..., bytes]]
Ioctl = Callable[[int, int, bytearray], int]


def peek(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)


def poke(address: int, data: bytes) -> None:
    ctypes.memmove(address, data, len(data))


def xe_kernel(answer: bytes, asked: int = 1) -> Ioctl:
    """What xe_query_ioctl does with the struct of include/uapi/drm/xe_drm.h, byte for byte."""

    def ioctl(_fd: int, number: int, argument: bytearray) -> int:
        assert number == 0xC0286440
        assert len(argument) == 40
        extensions, query, size, data, *reserved = struct.unpack("<QIIQQQ", argument)
        if extensions or any(reserved) or query != asked:
            raise OSError(errno.EINVAL, "Invalid argument")
        if size == 0:
            struct.pack_into("<I", argument, 12, len(answer))
            return 0
        if size != len(answer):
            raise OSError(errno.EINVAL, "Invalid argument")
        assert not any(peek(data, size)), "the kernel refuses what it is given in fields that must be zero"
        poke(data, answer)
        return 0

    return ioctl


def i915_kernel(answer: bytes, *, item_error: int = 0) -> Ioctl:
    """What i915_query_ioctl does with the structs of include/uapi/drm/i915_drm.h."""

    def ioctl(_fd: int, number: int, argument: bytearray) -> int:
        assert number == 0xC0106479
        assert len(argument) == 16
        count, flags, items = struct.unpack("<IIQ", argument)
        assert (count, flags) == (1, 0)
        query, length, item_flags, data = struct.unpack("<QiIQ", peek(items, 24))
        result = len(answer)
        if query != 4 or item_flags:
            result = -errno.EINVAL
        elif item_error:
            result = -item_error
        elif length:
            poke(data, answer)
        poke(items + 8, struct.pack("<i", result))
        return 0

    return ioctl


def test_xe_asks_twice_and_returns_the_bytes(monkeypatch: pytest.MonkeyPatch, blobs: Blobs) -> None:
    answer = blobs["xe"]((0, 64 * GIB), (1, 12809404416))
    monkeypatch.setattr(fcntl, "ioctl", xe_kernel(answer))
    assert XeMemRegions().run(3) == answer


def test_i915_asks_twice_and_returns_the_bytes(monkeypatch: pytest.MonkeyPatch, blobs: Blobs) -> None:
    answer = blobs["i915"]((0, 64 * GIB), (1, 17079205888))
    monkeypatch.setattr(fcntl, "ioctl", i915_kernel(answer))
    assert I915MemoryRegions().run(3) == answer


def test_i915_item_error_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "ioctl", i915_kernel(b"", item_error=errno.ENODEV))
    with pytest.raises(OSError, match="ENODEV") as caught:
        I915MemoryRegions().run(3)
    assert caught.value.errno == errno.ENODEV


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_a_senseless_length_is_refused_before_memory_is_taken(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(fcntl, "ioctl", xe_kernel(b"\0" * size))
    with pytest.raises(OSError, match=f"buffer of {size} bytes") as caught:
        XeMemRegions().run(3)
    assert caught.value.errno == errno.EPROTO


@pytest.mark.parametrize("driver", ["xe", "i915"])
def test_a_file_that_is_no_drm_node_refuses(driver: str) -> None:
    with Path("/dev/null").open() as null, pytest.raises(OSError, match=r"\[Errno 25\]") as caught:
        QUERIES[driver].run(null.fileno())
    assert caught.value.errno == errno.ENOTTY


def test_the_names_by_which_a_simulated_kernel_answers() -> None:
    assert {driver: query.name for driver, query in QUERIES.items()} == {
        "xe": "xe.mem_regions",
        "i915": "i915.memory_regions",
    }


@pytest.mark.parametrize("driver", ["xe", "i915"])
def test_local_memory_is_the_sum_of_the_local_regions(driver: str, blobs: Blobs) -> None:
    make, query = blobs[driver], QUERIES[driver]
    assert local_bytes(query, make((0, 64 * GIB), (1, 17095983104))) == 17095983104
    assert local_bytes(query, make((0, 512 * GIB), (1, 64 * GIB), (1, 64 * GIB))) == 128 * GIB
    assert local_bytes(query, make((0, 64 * GIB))) == 0
    assert (
        local_bytes(query, make((0, 64 * GIB), (7, 3 * GIB), (1, GIB))) == GIB
    )  # a class that we do not know


@pytest.mark.parametrize("driver", ["xe", "i915"])
def test_a_truncated_or_longer_answer_is_refused(driver: str, blobs: Blobs) -> None:
    blob = blobs[driver]((0, 64 * GIB), (1, GIB))
    for length in range(len(blob)):
        with pytest.raises(HostError, match="makes no sense"):
            local_bytes(QUERIES[driver], blob[:length])
    with pytest.raises(HostError, match=f"2 regions take {len(blob)}"):
        local_bytes(QUERIES[driver], blob + b"\0")


@pytest.mark.parametrize("driver", ["xe", "i915"])
@pytest.mark.parametrize("size", [1 << 50, (1 << 64) - 1])
def test_a_size_that_no_gpu_has_is_refused(driver: str, size: int, blobs: Blobs) -> None:
    with pytest.raises(HostError, match=f"a region of {size} bytes"):
        local_bytes(QUERIES[driver], blobs[driver]((0, GIB), (1, size)))


@given(blob=st.binary(max_size=400), driver=st.sampled_from(["xe", "i915"]))
def test_garbage_is_refused_or_a_plausible_size(blob: bytes, driver: str) -> None:
    refused = 0
    size = 0
    try:
        size = local_bytes(QUERIES[driver], blob)
    except HostError as error:
        refused = error.errno
    assert (refused, size) == (errno.EPROTO, 0) or 0 <= size < 1 << 53


# --------------------------------------------------------------------------- what is inside


def test_topology_and_firmware_are_asked_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, query, answer in (
        (5, XeGtTopology(), topology_blob((0, 1, 3))),
        (7, XeGucVersion(), firmware_blob(1, 19, 1)),
    ):
        monkeypatch.setattr(fcntl, "ioctl", xe_kernel(answer, number))
        assert query.run(3) == answer


@pytest.mark.parametrize(
    ("masks", "cores"),
    [
        # A B580: 20 Xe cores of 8 SIMD16 EUs; its media GT has none.
        (
            [(0, 1, 0xFFFFF), (0, 2, 0xFFFFF), (0, 3, 0xFFF), (0, 5, 0xFF), (1, 1, 0), (1, 2, 0), (1, 5, 0)],
            (20, 160),
        ),
        # SIMD8, and cores with gaps; for compute only, as on two tiles without a display.
        ([(0, 1, 0), (0, 2, 0b1011), (0, 4, 0xFFFF), (1, 1, 0), (1, 2, 0b1), (1, 4, 0xFF)], (4, 56)),
        # A core for compute that is not for geometry counts once, as does one that is for both.
        ([(0, 1, 0b0111), (0, 2, 0b1110), (0, 5, 1)], (4, 4)),
        ([(0, 99, 0xFF)], None),
        ([(0, 1, 0xFF)], None),
        ([], None),
    ],
)
def test_cores_and_eus_are_counted_by_gt(
    masks: list[tuple[int, int, int]], cores: tuple[int, int] | None
) -> None:
    assert topology(topology_blob(*masks)) == (Cores(*cores) if cores else None)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_as_topology_or_firmware(blob: bytes) -> None:
    for understand in (topology, guc_submission):
        with suppress(HostError):
            assert understand(blob) is None or understand(blob)


@pytest.mark.parametrize("cut", [1, 7, 9, 15])
def test_a_truncated_topology_is_refused(cut: int) -> None:
    with pytest.raises(HostError, match="cut off in"):
        topology(topology_blob((0, 1, 3), (0, 5, 3))[: 16 + cut])


def test_firmware_of_some_version() -> None:
    assert guc_submission(firmware_blob(1, 19, 1)) == "1.19.1"
    assert guc_submission(firmware_blob(1, 0, 0)) == "1.0.0"


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        firmware_blob(1, 2, 3)[:-1],
        firmware_blob(0, 0, 0),
        firmware_blob(1, 70000, 0),
        firmware_blob(1, 2, 3, kind=1),
    ],
)
def test_firmware_that_makes_no_sense(blob: bytes) -> None:
    with pytest.raises(HostError, match=r"xe\.guc_version makes no sense"):
        guc_submission(blob)
