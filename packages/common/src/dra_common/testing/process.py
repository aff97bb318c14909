"""What a process uses, as the kernel counts it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from dra_common.testing.waiting import wait_until

_QUIET = 1.0


def cpu_seconds(pid: int) -> float:
    """Return what a process has used so far, user and system; its children are not in it (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid: int) -> Mapping[str, int]:
    """Return its memory in KiB: ``VmRSS``, ``RssAnon``, ``RssFile``, ``RssShmem`` (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) for name, value in pairs if name.startswith(("VmRSS", "Rss"))}


def wait_at_rest(pid: int, *, seconds: float = 60.0, most: float = 0.0) -> None:
    """Wait until it has used no more than ``most`` seconds of a processor within one second. Raises TimeoutError."""
    seen = [(cpu_seconds(pid), time.monotonic())]

    def quiet() -> bool:
        now = cpu_seconds(pid)
        if now > seen[0][0] + most:
            seen[0] = (now, time.monotonic())
        return time.monotonic() - seen[0][1] > _QUIET

    wait_until(quiet, "the driver to come to rest", seconds=seconds)
