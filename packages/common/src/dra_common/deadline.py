"""A moment after which nobody waits for our answer any more."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Event


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock, in seconds; made once per call and handed down.

    :meth:`end` lets it come early, for everybody who was given it: the caller went away.
    """

    at: float
    _ended: Event = field(default_factory=Event, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline ``seconds`` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return 0.0 if self._ended.is_set() else max(0.0, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the moment is over."""
        return not self.remaining

    def end(self) -> None:
        """Nobody waits from now on; again: nothing."""
        self._ended.set()
