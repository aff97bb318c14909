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
        refused: until contents that the server refused (422) are tried again unasked.
        first: the first pause after another error; it doubles up to ``most``.
        burst: so many repairs of what others changed are made at once, further ones each ``every`` seconds.
        join: how long :meth:`Publisher.stop` waits for a request that is under way.
    """

    settle: float = 0.1
    refused: float = 300.0
    first: float = 0.5
    most: float = 30.0
    burst: int = 10
    every: float = 5.0
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
    """A bucket of ``burst`` repairs that refills by one each ``every`` seconds.

    A wipe or a wrong edit is put right at once; somebody who undoes our writes again and again gets a steady slow
    answer and not a fight at the speed of the network.
    """

    burst: int = 10
    every: float = 5.0
    clock: Callable[[], float] = time.monotonic
    _tokens: float = field(default=0.0, init=False)
    _seen: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._tokens, self._seen = float(self.burst), self.clock()

    def delay(self) -> float:
        """Return the seconds until the next repair may start, 0 for now."""
        self._refill()
        return max(0.0, (1.0 - self._tokens) * self.every)

    def spend(self) -> None:
        """Count one repair."""
        self._refill()
        self._tokens = max(0.0, self._tokens - 1.0)

    def _refill(self) -> None:
        now = self.clock()
        self._tokens = min(float(self.burst), self._tokens + (now - self._seen) / self.every)
        self._seen = now
