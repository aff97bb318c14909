"""Waiting for what follows from a change: polled, with a deadline, and with a name."""

from __future__ import annotations

import time
from collections.abc import Callable

from dra_common.deadline import Deadline
from dra_common.errors import HardwareNotReady, HostNotFound

_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


def wait_for(what: str, condition: Callable[[], bool], deadline: Deadline, patience: float = 0.0) -> None:
    """Return when ``condition()`` holds; at ``deadline``, but not before ``patience`` seconds, HardwareNotReady.

    What is not there (HostNotFound) does not hold yet. ``what`` names the thing and the state.
    """
    least = Deadline.after(patience)
    began, pause = time.monotonic(), _FIRST_PAUSE
    while not _holds(condition):
        if deadline.passed and least.passed:
            seconds = time.monotonic() - began
            raise HardwareNotReady(
                f"{what}: not so after {seconds:.0f} s, though the kernel accepted the change",
                cure="look into the kernel log for what the device or its driver reports",
            )
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except HostNotFound:
        return False
