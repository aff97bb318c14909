"""What a burst of uevents costs: a reset of many devices, a kernel driver that is loaded."""

from __future__ import annotations

from collections.abc import Iterator

from dra_common.simulate import SimulatedHost
from dra_common.testing.benchmark.figures import Figure
from dra_common.testing.benchmark.world import Subject, World, node_of
from dra_common.testing.process import wait_at_rest

_EVENTS = 1000
_MOST_LOOKS = 5
_LOOKS = "looking at the machine: "
_PCI = "bus/pci/devices"


def measure(subject: Subject) -> Iterator[Figure]:
    """Send a thousand events, of all devices in turn and without a pause, then let the driver come to rest."""
    with node_of(subject) as node:
        node.start_driver("-v=4")  # each look is a line
        here = World(node)
        sysfs = SimulatedHost(node.machine).sysfs
        functions = sysfs.listdir(_PCI)
        wait_at_rest(here.pid)
        node.api.forget_requests()
        before, looks = here.cpu_seconds(), _looks(here)
        for number in range(_EVENTS):
            sysfs.write(f"{_PCI}/{functions[number % len(functions)]}/uevent", "change")
        wait_at_rest(here.pid)
        case = f"{_EVENTS} events, {len(functions)} functions"
        yield Figure("uevents", case, here.cpu_seconds() - before, "CPU s")
        yield Figure("uevents", case, _looks(here) - looks, "looks", _MOST_LOOKS)
        yield Figure("uevents", case, len(node.api.writes), "writes", 0)


def _looks(here: World) -> int:
    return here.node.log.read_text().count(_LOOKS)
