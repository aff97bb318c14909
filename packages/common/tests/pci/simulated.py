"""The simulated machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dra_common.simulate import ControlClient, SimulatedHost, Simulator, find_profile
from dra_common.testing.nic import SPARE
from dra_common.testing.nic.simulation import SIMULATION
from pci.world import World


class SimulatedWorld(World):
    @property
    def machine(self) -> Path:
        return self.root / "m"

    @contextmanager
    def using(self, bdf: str) -> Iterator[None]:
        client = ControlClient(self.machine)
        with client.connect() as connection, connection.makefile("rwb") as stream:
            assert client.exchange(stream, "open", node=self.node(bdf), bdf=bdf)["ok"]
            yield

    def driver(self) -> list[str]:
        program = Path(__file__).with_name("driver_process.py")
        return [sys.executable, str(program), str(self.root), str(self.machine)]


@contextmanager
def world(root: Path) -> Iterator[SimulatedWorld]:
    with Simulator(SIMULATION, find_profile(SIMULATION, "nic"), root / "m"):
        yield SimulatedWorld(root, SimulatedHost(root / "m"), SPARE, moment=0.1)
