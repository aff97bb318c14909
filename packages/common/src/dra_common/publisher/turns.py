"""One publisher for each turn: what is wanted is known all the time, and written only while it is our turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from dra_common.publisher.loop import Publisher
from dra_common.publisher.status import PublisherStatus
from dra_common.slices import SliceContent


class PublisherInTurn:
    """Implements :class:`dra_common.turn.Duty`.

    Args:
        make: returns a new publisher, not started. It begins with a list of what the server holds, so what an earlier
            holder of the turn published is not written again.
    """

    def __init__(self, make: Callable[[], Publisher]) -> None:
        self._make = make
        self._lock = threading.Lock()  # guards everything below
        self._contents: Sequence[SliceContent] = ()
        self._publisher: Publisher | None = None

    def publish(self, contents: Sequence[SliceContent]) -> None:
        """Make this the pool's content, now or when our turn comes; returns at once."""
        with self._lock:
            self._contents = contents
            if self._publisher:
                self._publisher.publish(contents)

    def status(self) -> PublisherStatus:
        """Return where publishing stands; of nobody's turn but ours."""
        with self._lock:
            return self._publisher.status() if self._publisher else PublisherStatus()

    def why_dead(self) -> str:
        """Return which thread of a publisher at work has ended, ``""`` if none."""
        with self._lock:
            return self._publisher.why_dead() if self._publisher else ""

    def begin(self) -> None:
        """Publish from now on."""
        with self._lock:
            self._publisher = self._make()
            if self._contents:
                self._publisher.publish(self._contents)
            self._publisher.start()

    def end(self) -> None:
        """Write nothing more; a request that is under way is waited for, with a limit."""
        with self._lock:
            publisher, self._publisher = self._publisher, None
        if publisher:
            publisher.stop()
