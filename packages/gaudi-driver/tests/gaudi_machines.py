"""Simulated machines in this process, and the hand that does things to their hardware."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dra_common.simulate import ControlClient, SimulatedHost, Simulator, find_profile
from gaudi_driver.simulation import SIMULATION

Boot = Callable[[str], SimulatedHost]


@contextmanager
def machines() -> Iterator[Boot]:
    """Yield what starts a profile (name or path); the machine runs until the end of the block."""
    with ExitStack() as stack:

        def start(profile: str) -> SimulatedHost:
            root = Path(tempfile.mkdtemp(prefix="gaudi"))
            stack.callback(shutil.rmtree, root, ignore_errors=True)
            stack.enter_context(Simulator(SIMULATION, find_profile(SIMULATION, profile), root))
            return SimulatedHost(root)

        yield start


def folder(host: SimulatedHost) -> Path:
    """Return the machine's folder."""
    return Path(host.sysfs.root).parent


def hand(host: SimulatedHost, op: str, **fields: str) -> Mapping[str, object]:
    """Do what a hand on the hardware does."""
    return ControlClient(folder(host)).request(op, **fields)


def write_profile(
    place: Path, details: str = "", *, device: str = "0x1020", drivers: str = "habanalabs", more: str = ""
) -> str:
    """Write a machine with one Gaudi, 0000:43:00.0; return the path of its profile."""
    file = place / "own.yaml"
    file.write_text(
        f"name: own\ndrivers: [{drivers}, vfio-pci]\nfunctions:\n"
        f"  - {{bdf: 0000:43:00.0, path: [0000:42:02.0], vendor: 0x1da3, device: {device}, class: 0x120000,\n"
        f"     iommu_group: 1, details: {{gaudi: {{{details}}}}}{more}}}\n"
    )
    return str(file)
