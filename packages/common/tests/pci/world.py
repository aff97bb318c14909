"""A simulated machine with a network card, locks on disk, and a virtual machine that keeps a VFIO node open."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dra_common.deadline import Deadline
from dra_common.locks import FileLocks
from dra_common.pci import Bus
from dra_common.simulate import ControlClient, SimulatedHost, Simulator, find_profile
from dra_common.testing.nic import PF, SIMULATION

PARENT = "nic"


@dataclass(frozen=True)
class World:
    root: Path
    host: SimulatedHost
    locks: FileLocks

    @property
    def machine(self) -> Path:
        return self.root / "m"

    @property
    def lock_file(self) -> Path:
        return self.root / "hardware" / f"{PARENT}.lock"

    @contextmanager
    def bus(self, *, seconds: float = 20.0, patience: float = 20.0) -> Iterator[Bus]:
        """A bus inside the parent's lock; short times are for what blocks for ever."""
        deadline = Deadline.after(seconds)
        with self.locks.parents([PARENT], deadline), Bus(self.host, patience=patience) as bus:
            yield bus

    def outsider(self, path: str, value: str) -> None:
        """Write past everything of ours, as an administrator does."""
        self.host.sysfs.write(path, value)

    def read(self, name: str, bdf: str = PF) -> str:
        return self.host.sysfs.read(f"bus/pci/devices/{bdf}/{name}")

    @contextmanager
    def using(self, node: str) -> Iterator[None]:
        """Have a device node open, as a virtual machine has it."""
        client = ControlClient(self.machine)
        with client.connect() as connection, connection.makefile("rwb") as stream:
            assert client.exchange(stream, "open", node=node)["ok"]
            yield


@contextmanager
def world(root: Path) -> Iterator[World]:
    with Simulator(SIMULATION, find_profile(SIMULATION, "nic"), root / "m"):
        locks = FileLocks(root / "claims", root / "hardware")
        yield World(root, SimulatedHost(root / "m"), locks)


def name_of(number: int) -> str:
    return errno.errorcode[number]
