"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.02


def wait_until(condition: Callable[[], T], what: str, *, seconds: float = 60.0, pause: float = _PAUSE) -> T:
    """Return the first true value of ``condition()``. Raises TimeoutError that names ``what``.

    It is asked each ``pause`` seconds, for ``seconds`` at most.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() >= deadline:
            msg = f"waited {seconds:g} s for {what}"
            raise TimeoutError(msg)
        time.sleep(pause)
    return value
