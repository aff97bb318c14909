"""Many rings, one answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import TIMEOUT_MAX, Condition


@dataclass(frozen=True, slots=True)
class Rung:
    """The rings that one answer covers: how many, and why the first rang. None rang when a time limit passed."""

    count: int = 0
    reason: str = ""

    def __str__(self) -> str:
        if not self.count:
            return "time to look again"
        return self.reason if self.count == 1 else f"{self.reason} and {self.count - 1} more"


class Bell:
    """What rings for one listener: rings from any thread are gathered until it is quiet.

    Args:
        quiet: seconds without a ring after which the listener answers.
        latest: seconds after the first ring at which it answers even if it still rings.
    """

    def __init__(self, quiet: float, latest: float) -> None:
        self._quiet = quiet
        self._latest = latest
        self._changed = Condition()
        self._closed = False
        self._rung = Rung()
        self._first = self._last = 0.0

    def ring(self, reason: str) -> None:
        """Never blocks; after :meth:`close` nobody answers."""
        with self._changed:
            self._last = time.monotonic()
            if self._rung.count:
                self._rung = Rung(self._rung.count + 1, self._rung.reason)
                return  # the listener waits for quiet already and finds out by itself that it lasts longer
            self._first = self._last
            self._rung = Rung(1, reason)
            self._changed.notify()

    def wait(self, until: float) -> Rung | None:
        """Return the gathered rings once it is quiet, or at ``until`` (monotonic clock); None after :meth:`close`.

        A ring that comes after the return counts for the next call: nothing that happens while the listener is busy
        is lost.
        """
        with self._changed:
            while not self._closed:
                remaining = min(until, self._due()) - time.monotonic()
                if remaining <= 0:
                    rung, self._rung = self._rung, Rung()
                    return rung
                self._changed.wait(min(remaining, TIMEOUT_MAX))
            return None

    def close(self) -> None:
        """End :meth:`wait` at once, for good."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _due(self) -> float:
        if not self._rung.count:
            return float("inf")
        return min(self._last + self._quiet, self._first + self._latest)
