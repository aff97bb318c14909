"""What waits to be written: merged, bounded, and let through at a rate."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace

from dra_common.pacing import Pacer
from dra_common.telemetry import Reason


@dataclass(frozen=True, slots=True)
class Limits:
    """How many Events a node may write.

    Args:
        burst: writes that one reason may make at once.
        every: seconds until it may make one more.
        notes: different notes of one reason that may wait; further ones are counted with the last.
        retry: seconds of the first pause after the API server did not take an Event; it doubles up to ``retry_most``.
        series: seconds for which the same note again is one more of the same Event. Servers keep an Event for an hour.
    """

    burst: int = 5
    every: float = 60.0
    notes: int = 10
    retry: float = 5.0
    retry_most: float = 300.0
    series: float = 1800.0


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened ``count`` times, the last time at ``last`` (seconds since the epoch)."""

    reason: Reason
    note: str
    count: int
    last: float


class Waiting:
    """Occurrences that were not written yet. Used under its owner's lock.

    Each reason is paced by itself: a storm of one kind neither reaches the API server nor
    keeps the other kinds from it. The same note again only counts.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: OrderedDict[tuple[Reason, str], Occurrence] = OrderedDict()
        self._pacers = {reason: Pacer(limits.burst, limits.every, time.monotonic) for reason in Reason}

    def __len__(self) -> int:
        """How many different ones wait."""
        return len(self._waiting)

    def add(self, reason: Reason, note: str, *, count: int = 1, last: float | None = None) -> None:
        """Remember an occurrence; never grows beyond its limits."""
        mine = [key for key in self._waiting if key[0] is reason]
        key = (
            (reason, note) if (reason, note) in self._waiting or len(mine) < self._limits.notes else mine[-1]
        )
        known = self._waiting.get(key, Occurrence(*key, 0, 0.0))
        when = time.time() if last is None else last
        self._waiting[key] = replace(known, count=known.count + count, last=max(known.last, when))

    def take(self) -> Occurrence | None:
        """Return the oldest one that may be written now; it no longer waits then."""
        for key, occurrence in self._waiting.items():
            pacer = self._pacers[key[0]]
            if not pacer.wait():
                pacer.take()
                del self._waiting[key]
                return occurrence
        return None

    def pause(self) -> float | None:
        """Seconds until one may be written; None if nothing waits."""
        return min((self._pacers[reason].wait() for reason, _ in self._waiting), default=None)
