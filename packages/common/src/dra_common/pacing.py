"""How long to wait before the next try."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays that double from ``first`` to ``most`` seconds, each shortened at random by up to half.

    The jitter keeps the drivers of a whole cluster from coming back in step after an outage of the API server.
    """

    first: float = 0.5
    most: float = 30.0
    _failures: int = field(default=0, init=False)

    def next(self) -> float:
        """Return the next delay in seconds."""
        delay = min(self.most, self.first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing

    def reset(self) -> None:
        """Start again from ``first``: something worked."""
        self._failures = 0


@dataclass(slots=True)
class Pacer:
    """A bucket of ``burst`` turns that refills by one each ``every`` seconds.

    What is rare is done at once; what comes again and again gets a steady slow answer and never the speed of the
    network. Used by one thread at a time.
    """

    burst: int = 10
    every: float = 30.0
    clock: Callable[[], float] = time.monotonic
    _turns: float = field(default=0.0, init=False)
    _seen: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._turns, self._seen = float(self.burst), self.clock()

    def take(self) -> float:
        """Count one turn and return the seconds until it may begin, 0 for now."""
        self._refill()
        self._turns -= 1.0
        return max(0.0, -self._turns * self.every)

    def wait(self) -> float:
        """Return the seconds until the next turn could begin at once, 0 for now; counts none."""
        self._refill()
        return max(0.0, (1.0 - self._turns) * self.every)

    def _refill(self) -> None:
        now = self.clock()
        self._turns = min(float(self.burst), self._turns + (now - self._seen) / self.every)
        self._seen = now
