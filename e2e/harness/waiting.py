"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

from harness.errors import HarnessError

Value = TypeVar("Value")
INTERVAL = 0.05


class NotInTime(HarnessError):
    """The condition did not come true before the deadline."""


def wait_for(
    condition: Callable[[], Value], what: str, timeout: float = 30, *, interval: float = INTERVAL
) -> Value:
    """Return the first true value of ``condition()``, asked every ``interval`` seconds.

    Raises ``NotInTime`` after ``timeout`` seconds; it names ``what`` was waited for and what was seen last. An
    ``AssertionError`` of the condition means "not yet", and its text is what was seen.
    """
    deadline = time.monotonic() + timeout
    while True:
        seen = "an assertion that did not hold"
        try:
            value = condition()
            if value:
                return value
            seen = repr(value)
        except AssertionError as error:
            seen = str(error)
        if time.monotonic() > deadline:
            raise NotInTime(f"waited {timeout:g} s for {what}; last seen: {seen}")
        time.sleep(interval)
