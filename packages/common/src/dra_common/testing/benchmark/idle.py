"""What a driver costs that has nothing to do but to wait for an API server in each of its moods.

``python -m dra_common.testing.benchmark.idle`` prints mood, share of one core, wake-ups, log lines, requests.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dra_common.tables import print_table
from dra_common.testing.apiserver import FakeApiServer
from dra_common.testing.benchmark.figures import Figure
from dra_common.testing.benchmark.world import Subject, World, world
from dra_common.testing.moods import MOODS, Mood
from dra_common.testing.waiting import wait_until

_SECONDS = 10.0
_RECOVERY = 180.0
"""Seconds: a server that asked for a day of peace gets a minute, and then comes the jitter."""
_MOST = 1.0
"""Percent of one core."""


@dataclass(frozen=True, slots=True)
class Idle:
    """What one process did in one mood.

    Args:
        cpu: percent of one core, user and system.
        wakeups: times a second that a thread of it gave up the processor and got it again.
        lines: that it logged, from the beginning of the mood until it was over.
        requests: that it sent while the mood lasted.
        seconds: that the mood lasted.
    """

    mood: str
    cpu: float
    wakeups: float
    lines: int
    requests: int
    seconds: float


def idle(here: World, mood: Mood, seconds: float) -> Idle:
    """Begin a mood with the slices wiped, watch the driver for so long, and wait until all is well again."""
    node = here.node
    lines = len(node.log.read_text().splitlines())
    node.api.forget_requests()
    mood.begin(node.api)
    wipe(node.api)
    cpu, wakeups, began = here.cpu_seconds(), wakeups_of(here.pid), time.monotonic()
    time.sleep(seconds)
    lasted = time.monotonic() - began
    cpu, wakeups = here.cpu_seconds() - cpu, wakeups_of(here.pid) - wakeups
    requests = len(node.api.requests)
    mood.end(node.api)
    wait_until(lambda: node.slices() and node.api.watches, "slices, and a watch on them", seconds=_RECOVERY)

    def told() -> list[str]:
        return node.log.read_text().splitlines()[lines:]

    wait_until(
        lambda: any(" INFO " in line and " published: " in line for line in told()),
        "the good news",
        seconds=_RECOVERY,
    )
    return Idle(mood.name, 100 * cpu / lasted, wakeups / lasted, len(told()), requests, lasted)


def wipe(api: FakeApiServer) -> None:
    """Delete all slices, past the API, as they may vanish while nobody can see it."""
    if api.serves("ResourceSlice"):
        for item in api.objects("ResourceSlice"):
            api.delete("ResourceSlice", item["metadata"]["name"])


def wakeups_of(pid: int) -> int:
    """Return the voluntary context switches of all threads so far."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = (line.split(":") for line in status.read_text().splitlines())
        total += next(int(value) for name, value in fields if name == "voluntary_ctxt_switches")
    return total


def measure_all(subject: Subject, seconds: float = _SECONDS) -> Iterator[Idle]:
    """Go through all moods, each with a process of its own: one that had many wipes to repair takes its time."""
    for mood in MOODS:
        sys.stderr.write(f"… API server: {mood.name}\n")
        with world(subject) as here:
            yield idle(here, mood, seconds)


def measure(subject: Subject) -> Iterator[Figure]:
    """Return the share of one core in each mood."""
    for one in measure_all(subject):
        yield Figure("idle", f"API server: {one.mood}", one.cpu, "% of a core", _MOST)


def main() -> None:
    """Print the table."""
    rows = (
        (one.mood, f"{one.cpu:.2f}", f"{one.wakeups:.0f}", str(one.lines), str(one.requests))
        for one in measure_all(Subject("gpu_driver", "gpu.intel.com"))
    )
    print_table(("API SERVER", "CPU %", "WAKE-UPS/S", "LOG LINES", "REQUESTS"), rows, sys.stdout)


if __name__ == "__main__":
    main()
