"""What a burst of uevents costs: a reset of many devices, a kernel driver that is loaded."""

from __future__ import annotations

from collections.abc import Iterator

from dra_common.simulate import SimulatedHost
from dra_common.testing.benchmark.figures import Figure
from dra_common.testing.benchmark.world import Subject, world
from dra_common.testing.process import wait_at_rest

_ROUNDS = 10
_PCI = "bus/pci/devices"


def measure(subject: Subject) -> Iterator[Figure]:
    """Send ten events for each device without a pause, then let the driver come to rest."""
    with world(subject) as here:
        sysfs = SimulatedHost(here.node.machine).sysfs
        functions = sysfs.listdir(_PCI)
        here.node.api.forget_requests()
        before = here.cpu_seconds()
        for _ in range(_ROUNDS):
            for function in functions:
                sysfs.write(f"{_PCI}/{function}/uevent", "change")
        wait_at_rest(here.pid)
        used = here.cpu_seconds() - before
        case = f"{_ROUNDS * len(functions)} events, {len(functions)} functions"
        yield Figure("uevents", case, used, "CPU s")
        yield Figure("uevents", case, len(here.node.api.writes), "writes", 0)
