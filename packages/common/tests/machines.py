"""Simulated machines in this process, and the hand that does things to their hardware."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dra_common.simulate import ControlClient, SimulatedHost, Simulation, Simulator, find_profile

Boot = Callable[[str], SimulatedHost]


@contextmanager
def machines(simulation: Simulation) -> Iterator[Boot]:
    """Yield what starts a profile (name or path); the machine runs until the end of the block."""
    with ExitStack() as stack:

        def start(profile: str) -> SimulatedHost:
            root = Path(tempfile.mkdtemp(prefix="dra"))
            stack.callback(shutil.rmtree, root, ignore_errors=True)
            stack.enter_context(Simulator(simulation, find_profile(simulation, profile), root))
            return SimulatedHost(root)

        yield start


def folder(host: SimulatedHost) -> Path:
    """Return the machine's folder."""
    return Path(host.sysfs.root).parent


def hand(host: SimulatedHost, op: str, **fields: str) -> Mapping[str, object]:
    """Do what a hand on the hardware does."""
    return ControlClient(folder(host)).request(op, **fields)
