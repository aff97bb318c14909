"""A machine with a network card, locks on disk, and a virtual machine that keeps a VFIO device open.

The tests that take one are played on the simulated kernel, and on a real one by kernel/inside/bus.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dra_common.deadline import Deadline
from dra_common.locks import FileLocks
from dra_common.pci import Binding, Bus, Setting, group_node, look
from dra_common.ports import Host
from dra_common.testing.nic import PF
from dra_common.testing.waiting import wait_until

PARENT = "nic"
VF0, VF1 = "0000:01:10.0", "0000:01:10.2"

IGB, VFIO, NATIVE = Binding("igb"), Binding("vfio-pci", "vfio-pci"), Binding("igbvf")
FOUND = Setting(IGB, autoprobe=True)
STATES = [
    FOUND,
    Setting(IGB, autoprobe=False),
    Setting(VFIO, autoprobe=True),
    Setting(Binding(), autoprobe=True),
    Setting(IGB, autoprobe=True, vfs=(VFIO,)),
    Setting(IGB, autoprobe=True, vfs=(VFIO, NATIVE)),
    Setting(IGB, autoprobe=False, vfs=(Binding(), Binding("igbvf", "igbvf"), VFIO)),
    Setting(IGB, autoprobe=True, vfs=(NATIVE,) * 7),
]
"""How the PF can be set."""


@dataclass(frozen=True)
class World(ABC):
    """A machine.

    Args:
        spare: another PF of the same kind.
        moment: seconds that are waited in vain for what blocks.
    """

    root: Path
    host: Host
    spare: str
    moment: float

    @property
    def locks(self) -> FileLocks:
        return FileLocks(self.root / "claims", self.root / "hardware")

    @property
    def lock_file(self) -> Path:
        return self.root / "hardware" / f"{PARENT}.lock"

    @contextmanager
    def bus(self, *, seconds: float = 60.0, patience: float = 60.0) -> Iterator[Bus]:
        """A bus inside the parent's lock; short times are for what blocks for ever."""
        deadline = Deadline.after(seconds)
        with self.locks.parents([PARENT], deadline), Bus(self.host, patience=patience) as bus:
            yield bus

    @contextmanager
    def brief(self, step: str = "unbind vfio-pci") -> Iterator[Bus]:
        """A bus for what blocks for ever: its deadline passes as soon as its helper has begun ``step`` of the PF."""
        deadline, begun = Deadline.after(60), f"{PF}: {step}".encode()

        def give_up() -> None:
            wait_until(lambda: begun in self.lock_file.read_bytes(), step)
            deadline.end()

        with self.locks.parents([PARENT], deadline), Bus(self.host, patience=0) as bus:
            thread = threading.Thread(target=give_up)
            thread.start()
            yield bus
            thread.join()

    def outsider(self, path: str, value: str) -> None:
        """Write past everything of ours, as an administrator does."""
        self.host.sysfs.write(path, value)

    def read(self, name: str, bdf: str = PF) -> str:
        return self.host.sysfs.read(f"bus/pci/devices/{bdf}/{name}")

    def group(self, bdf: str = PF) -> str:
        return look(self.host.sysfs, bdf).iommu_group

    def node(self, bdf: str = PF) -> str:
        """The VFIO node of its group, "" if there is none."""
        return group_node(self.host, self.group(bdf))

    @abstractmethod
    def using(self, bdf: str) -> AbstractContextManager[None]:
        """Have a device open that is bound to VFIO, as a virtual machine has it."""

    @abstractmethod
    def driver(self) -> list[str]:
        """The command of a driver that binds igb to a function; its last argument is added: the address."""


def helpers(nic: World) -> set[int]:
    """Processes that have the parent's lock file open: the lock lives as long as one of them."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            targets = {str(entry.readlink()) for entry in (process / "fd").iterdir()}
        except OSError:
            continue
        if str(nic.lock_file) in targets:
            found.add(int(process.name))
    return found - {os.getpid()}


def wait_free(nic: World) -> None:
    """Wait until nobody has the parent's lock, and nothing is left of who had it."""
    with nic.locks.parents([PARENT], Deadline.after(60)):
        pass
    wait_until(lambda: not helpers(nic), "the helper's end", seconds=60)
    wait_until(
        lambda: all(thread.name != "left-behind" for thread in threading.enumerate()), "its end to be noticed"
    )
    assert nic.lock_file.read_bytes() == b""


def to_vfio(nic: World) -> None:
    with nic.bus() as bus:
        bus.rebind(PF, VFIO)
