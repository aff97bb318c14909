"""Machines of which files are missing or strange: no other device suffers, and what is published is valid."""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from dra_common.cdi import encode_spec
from dra_common.errors import HostError
from dra_common.host import RealHost, Roots
from dra_common.model import Snapshot
from dra_common.simulate import find_profile, write_tree
from dra_common.slices import ServerFeatures, to_slices
from gpu_driver.device import Gpu
from gpu_driver.driver import GpuDriver
from gpu_driver.queries import QUERIES, local_bytes
from gpu_driver.simulation import SIMULATION
from gpu_trees import not_published
from hypothesis import strategies as st
from properties.base import Property, fast_folder

PROFILES = ("flex-sriov", "two-gpus", "unbound-and-vfio", "battlemage-pro")
DRIVER = GpuDriver()
FEATURES = ServerFeatures.of((1, 36))

DAMAGES: tuple[Callable[[Path], object], ...] = (
    lambda _: None,
    Path.mkdir,
    os.mkfifo,
    lambda place: place.write_bytes(b""),
    lambda place: place.write_bytes(b"garbage\n"),
    lambda place: place.write_bytes(b"0x8086\n"),
    lambda place: place.write_bytes(b"-1\n"),
    lambda place: place.write_bytes(b"99999999999999999999\n"),
    lambda place: place.write_bytes(b"\xff\xfe\x00\x80"),
    lambda place: place.write_bytes(b"7" * 100_000),
    lambda place: place.write_bytes(b"../../../../etc\n"),
    lambda place: place.symlink_to(place.name),
    lambda place: place.symlink_to("/etc"),
    lambda place: place.symlink_to("/dev/zero"),
    lambda place: place.symlink_to(".."),
    lambda place: place.symlink_to("a" * 200),
)
Harm = tuple[int, int, int]
"""Which device, which of its entries, which damage; each modulo how many there are."""


@dataclass
class Machine:
    """The files of a simulated machine; what is done to them is undone."""

    profile: str
    root: Path = field(default_factory=fast_folder)

    def __post_init__(self) -> None:
        atexit.register(shutil.rmtree, self.root)
        write_tree(SIMULATION, find_profile(SIMULATION, self.profile), self.root)
        self.stash = self.root / "stash"
        self.stash.mkdir()
        base = f"{self.root}"
        self.host = RealHost(Roots(f"{base}/sys", f"{base}/dev", f"{base}/proc", f"{base}/debug"))
        self.sound = self.look()
        self.known = frozenset(DRIVER.discover(self.host).problems)
        self.bdfs = sorted(self.sound)
        self.entries = {bdf: sorted(self._entries(bdf)) for bdf in self.bdfs}

    def look(self) -> dict[str, Gpu]:
        return {gpu.bdf: gpu for gpu in DRIVER.discover(self.host).hardware.values()}

    def _entries(self, bdf: str) -> Iterator[Path]:
        link = self.root / "sys/bus/pci/devices" / bdf
        yield link
        yield from link.resolve().rglob("*")
        yield from (self.root / "dev").rglob(f"*{bdf}*")

    @contextmanager
    def harmed(self, harms: Sequence[Harm]) -> Iterator[frozenset[str]]:
        """Replace entries within the block; yields whose they are."""
        done: list[tuple[Path, Path]] = []
        victims = set[str]()
        try:
            for number, (device, entry, damage) in enumerate(harms):
                bdf = self.bdfs[device % len(self.bdfs)]
                place = self.entries[bdf][entry % len(self.entries[bdf])]
                if place.parent.is_dir() and not place.parent.is_symlink() and os.path.lexists(place):
                    victims.add(bdf)
                    place.rename(self.stash / str(number))
                    done.append((place, self.stash / str(number)))
                    DAMAGES[damage % len(DAMAGES)](place)
            yield frozenset(victims)
        finally:
            for place, kept in reversed(done):
                _remove(place)
                kept.rename(place)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


@cache
def machine(profile: str) -> Machine:
    return Machine(profile)


def check(given: tuple[str, Sequence[Harm]]) -> None:
    there = machine(given[0])
    with there.harmed(given[1]) as victims:
        found = DRIVER.discover(there.host)
        asked = sorted(found.hardware)[:2]
        named = DRIVER.discover(there.host, only=asked)
    assert named.hardware == {name: not_published(found.hardware[name]) for name in asked}
    assert all(line.startswith(tuple(victims)) for line in set(found.problems) - there.known)
    seen = {gpu.bdf: gpu for gpu in found.hardware.values()}
    for bdf in set(there.bdfs) - victims:
        assert _own(seen[bdf], victims) == _own(there.sound[bdf], victims)
    check_published(found.hardware)


def _own(gpu: Gpu, victims: frozenset[str]) -> Gpu:
    """Without what is read from the files of the physical function: number and memory of a virtual function."""
    return replace(gpu, vf_index=None, memory_mib=None) if gpu.parent in victims else gpu


def check_published(hardware: Mapping[str, Gpu]) -> None:
    """What is there, however odd, never keeps the others from being published or given."""
    seen = DRIVER.publish(hardware)
    assert {device.name for device in seen.devices} == set(hardware)
    to_slices(Snapshot(1, seen.devices, seen.counter_sets), driver=DRIVER.name, features=FEATURES)
    for name, gpu in hardware.items():
        for cdi_class, edits in DRIVER.static_edits(gpu, "/dev").items():
            if edits:
                encode_spec(DRIVER.cdi_vendor, cdi_class, {name: edits}, file=name)


def check_blob(given: tuple[str, bytes]) -> None:
    """A kernel's answer about memory: refused, or a size that a GPU can have."""
    driver, blob = given
    try:
        size = local_bytes(QUERIES[driver], blob)
    except HostError as error:
        assert "makes no sense" in error.message
        return
    assert 0 <= size < 1 << 53


def check_blob_bytes(data: bytes) -> None:
    """Both kernels' layouts."""
    for driver in QUERIES:
        check_blob((driver, data))


_numbers = st.integers(0, 2**16)
PROPERTY = Property(
    "sysfs",
    st.tuples(
        st.sampled_from(PROFILES), st.lists(st.tuples(_numbers, _numbers, _numbers), min_size=1, max_size=4)
    ),
    check,
    examples=100,
)
BLOBS = Property("ioctl", st.binary(max_size=400), check_blob_bytes, raw=True)
