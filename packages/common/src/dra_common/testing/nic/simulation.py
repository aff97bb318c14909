"""The simulated machine with two such cards, and their kernel drivers."""

from __future__ import annotations

from importlib.resources import files

from dra_common.simulate import Function, IdDriver, KernelDriver, Machine, Simulation


class Igb(KernelDriver):
    """The PF's driver, which leaves seven of eight VFs, as the real one does."""

    def __init__(self) -> None:
        super().__init__("igb", sriov=True, recovers=True)

    def matches(self, function: Function) -> bool:
        """Whether it is an 82576."""
        return function.spec.device == "0x10c9"

    def probe(self, machine: Machine, function: Function) -> None:
        """Lower the number of VFs, and add a network device."""
        machine.set_total_vfs(function, 7)
        number = machine.allocate("eth", owner=function)
        machine.add_class_device(function.folder, "net", f"eth{number}", owner=function)


SIMULATION = Simulation(
    {"nic": files("dra_common.testing.nic") / "nic.yaml"}, [Igb(), IdDriver("igbvf", ["8086:10ca"])]
)
