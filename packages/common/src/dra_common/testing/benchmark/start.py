"""From the start of the process to the first ResourceSlice that the server has."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from dra_common.testing.benchmark.figures import Figure, runs, timed
from dra_common.testing.benchmark.world import Subject, node_of

_FIRST_SLICE = 0.7
_RUNS = 7


def measure(subject: Subject) -> Iterator[Figure]:
    """Measure on this machine and on a small one, beside a bare interpreter."""
    bare = [timed(lambda: subprocess.run([sys.executable, "-c", ""], check=True)) for _ in range(_RUNS)]
    yield runs("start", "a bare interpreter", bare, "s")
    for profile in ("two-gpus", subject.profile):
        seconds = [_once(subject.on(profile)) for _ in range(_RUNS)]
        yield runs("start", f"to the first slice, {profile}", seconds, "s", _FIRST_SLICE)


def _once(subject: Subject) -> float:
    with node_of(subject) as node:
        began = time.perf_counter()
        node.start_driver(wait=False)
        while not node.slices():
            if node.process is None or node.process.poll() is not None:
                raise RuntimeError(f"the driver ended:\n{node.log_tail()}")
            time.sleep(0.002)
        return time.perf_counter() - began
