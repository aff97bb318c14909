"""How busy others keep the machine: times mean little where they do."""

import os
import time
from pathlib import Path

STAT = Path("/proc/stat")
# Of all processors. Below it, what others do is lost in the noise.
QUIET = 10.0
LOOK = 2.0


def busy_percent(seconds: float = LOOK) -> float:
    """Return how much of all processors is used in so many seconds; 100 = all of them. Source: proc_stat(5)."""
    idle, began = _idle_seconds(), time.monotonic()
    time.sleep(seconds)
    lasted = (time.monotonic() - began) * (os.cpu_count() or 1)
    return min(100.0, max(0.0, 100 * (1 - (_idle_seconds() - idle) / lasted)))


def warning(busy: float) -> str:
    """Say what that means for the figures, nothing if it means nothing."""
    if busy < QUIET:
        return ""
    return (
        f"others use {busy:.0f}% of this machine's processors: all times are too long (wait for them to end)"
    )


def _idle_seconds() -> float:
    """Return how long the processors had nothing to do, all together; waiting for a disk is in it."""
    fields = STAT.read_text().split("\n", 1)[0].split()
    idle, waiting = fields[4], fields[5]
    return (int(idle) + int(waiting)) / os.sysconf("SC_CLK_TCK")
