"""A machine like the guest whose behaviour the table was taken from: an igb card, a display, a spare card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dra_common.errors import HostError
from dra_common.simulate import (
    DEBUGFS,
    Function,
    KernelDriver,
    Machine,
    SimulatedHost,
    Simulation,
    Simulator,
    add_card,
    find_profile,
    refuse,
)
from dra_common.simulate.kernel import Kernel
from dra_common.simulate.run import _boot
from dra_common.testing.nic.simulation import Igb
from pydantic import BaseModel, ConfigDict

PROFILE = """
name: nic
description: An igb card, a display and a toy
kernel: 6.12.95
drivers: [igb, igbvf, vfio-pci, pci-stub, ast, toy]
numa: {0: 0-3, 1: 4-7}
dmem: {drm/0000:07:00.0/vram0: 4096}
functions:
  - {bdf: 0000:03:00.0, path: [0000:00:03.0], vendor: 0x1a03, device: 0x2000, class: 0x030000}
  - bdf: 0000:01:00.0
    path: [0000:00:01.0]
    device: 0x10c9
    class: 0x020000
    revision: 0x01
    subsystem_vendor: 0x8086
    subsystem_device: 0xa03c
    numa_node: 0
    iommu_group: 3
    aer: true
    bars: {0: {size: 131072}, 2: {size: 17179869184, prefetchable: true}}
    sizes: {rom: 65536}
    attributes: {current_link_speed: 2.5 GT/s PCIe}
    sriov: {total: 8, offset: 128, stride: 2, vf_device: 0x10ca, bars: {0: {size: 16384}}}
  - bdf: 0000:07:00.0
    path: [0000:00:07.0, 0000:05:00.0, 0000:06:01.0]
    device: 0x4242
    class: 0x038000
    numa_node: 1
    iommu_group: 9
    details: {toy: {tune: jig}}
  - {bdf: 0000:08:00.0, path: [0000:00:08.0], device: 0x4242, class: 0x038000, present: false}
"""


class Igbvf(KernelDriver):
    def __init__(self) -> None:
        super().__init__("igbvf", recovers=True)

    def matches(self, function: Function) -> bool:
        return function.spec.device == "0x10ca"


class PciStub(KernelDriver):
    def __init__(self) -> None:
        super().__init__("pci-stub")

    def matches(self, function: Function) -> bool:
        return False


class ToyDetails(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    tune: str = "reel"
    broken: int = 0


class Toy(KernelDriver):
    """A card with an attribute that can be written, a file in debugfs and a node that answers."""

    def __init__(self) -> None:
        super().__init__("toy", recovers=True)

    def reset(self, machine: Machine, function: Function) -> None:
        machine.set_file(f"{function.folder}/toy/mood/now", "new")

    def matches(self, function: Function) -> bool:
        return function.spec.device == "0x4242"

    def probe(self, machine: Machine, function: Function) -> None:
        details = function.detail("toy", ToyDetails)
        mood = f"{function.folder}/toy/mood/now"

        def store(text: str) -> None:
            if text.strip() not in {"good", "bad"}:
                raise refuse(22, "mood")
            machine.set_file(mood, text)
            machine.change(card, {"MOOD": text.strip()})

        machine.add_file(mood, "good", store=store, owner=function)
        knob = f"{DEBUGFS}/toy/{function.bdf}/knob"
        machine.add_file(knob, "0", store=lambda text: machine.set_file(knob, text), owner=function)
        card = add_card(machine, function, files={"tune": details.tune}).card
        if details.broken:
            raise refuse(details.broken, "broken")

    def query(self, machine: Machine, function: Function, node: str, name: str) -> bytes:
        if name == "toy.crash":
            raise RuntimeError("a bug in the simulation")
        if name != "toy.tune":
            return super().query(machine, function, node, name)
        return f"{node}:{function.detail('toy', ToyDetails).tune}".encode() + b"\0\xff"


def make_simulation(folder: Path, text: str = PROFILE) -> Simulation:
    file = folder / "nic.yaml"
    file.write_text(text)
    return Simulation({"nic": file}, [Igb(), Igbvf(), PciStub(), Toy()], {"toy": ToyDetails})


@pytest.fixture
def profile_text() -> str:
    return PROFILE


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    return make_simulation(tmp_path)


@pytest.fixture
def boot(tmp_path: Path) -> Callable[..., Kernel]:
    """Boot a machine in this process, without a socket, from changed text of the profile."""

    def boot_(text: str = PROFILE) -> Kernel:
        simulation = make_simulation(tmp_path, text)
        root = tmp_path / "machine"
        root.mkdir(exist_ok=True)
        return _boot(simulation, find_profile(simulation, "nic"), root, device_nodes=False)

    return boot_


@pytest.fixture
def kernel(boot: Callable[..., Kernel]) -> Kernel:
    return boot()


@pytest.fixture
def root(short_tmp: Path) -> Path:
    return short_tmp / "m"


@pytest.fixture
def simulator(simulation: Simulation, root: Path) -> Iterator[Simulator]:
    with Simulator(simulation, find_profile(simulation, "nic"), root) as running:
        yield running


@pytest.fixture
def host(simulator: Simulator, root: Path) -> SimulatedHost:
    return SimulatedHost(root)


@pytest.fixture
def refusal() -> Callable[[Callable[[], object]], int]:
    """Return the errno of what a call raises, 0 if it raises nothing, -1 if it has none."""

    def refusal_(call: Callable[[], object]) -> int:
        try:
            call()
        except (OSError, HostError) as error:
            return error.errno or -1
        return 0

    return refusal_
