"""What a burst of uevents costs: a reset of many devices, a kernel driver that is loaded."""

from __future__ import annotations

import time
from collections.abc import Iterator

from dra_common.simulate import SimulatedHost
from dra_common.testing.benchmark.figures import Figure
from dra_common.testing.benchmark.world import Subject, world
from dra_common.testing.waiting import wait_until

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
        _rest(here.cpu_seconds)
        used = here.cpu_seconds() - before
        case = f"{_ROUNDS * len(functions)} events, {len(functions)} functions"
        yield Figure("uevents", case, used, "CPU s")
        yield Figure("uevents", case, len(here.node.api.writes), "writes", 0)


def _rest(used: object) -> None:
    """Wait until the process has used no time for a second."""
    seen = [(-1.0, time.monotonic())]

    def quiet() -> bool:
        now = used()  # type: ignore[operator]
        if now != seen[0][0]:
            seen[0] = (now, time.monotonic())
        return time.monotonic() - seen[0][1] > 1.0

    wait_until(quiet, "the driver to come to rest", seconds=60)
