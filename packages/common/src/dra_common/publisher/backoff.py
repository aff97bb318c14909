"""How long to wait before the next try."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Timing:
    """How the publisher spends its time; all in seconds but ``burst``.

    Args:
        settle: how long events are collected before they are answered, so that a wipe of many slices is one repair.
        refused: the first pause after a refusal (422), before the same is tried again unasked; it doubles up to
            ``refused_most``: most likely only other contents help.
        first: the first pause after another error; it doubles up to ``most``.
        burst: so many repairs, and so many watches, are begun at once, further ones each ``every`` seconds. On a
            cluster of 5000 nodes that all have to fight, these are 170 repairs a second.
        changes: the same for what this driver has to say itself: ``burst`` at once, then one each ``changes`` seconds.
        join: how long :meth:`Publisher.stop` waits for a request that is under way.
    """

    settle: float = 0.1
    refused: float = 10.0
    refused_most: float = 300.0
    first: float = 1.0
    most: float = 30.0
    burst: int = 10
    every: float = 30.0
    changes: float = 5.0
    join: float = 5.0


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
        now = self.clock()
        self._turns = min(float(self.burst), self._turns + (now - self._seen) / self.every) - 1.0
        self._seen = now
        return max(0.0, -self._turns * self.every)
