"""Where the health of all devices stands, for those who wait for changes."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from dra_common.model import DeviceHealth


class Board:
    """:class:`dra_common.ports.HealthFeed`, written by one, read by many."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tick = 0
        self._healths: Mapping[str, DeviceHealth] = {}

    @property
    def healths(self) -> Mapping[str, DeviceHealth]:
        """What is true now, by device."""
        return self._healths

    def write(self, healths: Mapping[str, DeviceHealth]) -> None:
        """This is true from now on."""
        if healths != self._healths:
            self._healths = healths
            self.wake()

    def wait(self, seen: int, seconds: float) -> tuple[int, Mapping[str, DeviceHealth]]:
        """Return a number that is not ``seen`` and what is true now, after a change or :meth:`wake`, or in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._tick != seen, seconds)
            return self._tick, self._healths

    def wake(self) -> None:
        """Let everybody look, also who is just about to wait."""
        with self._changed:
            self._tick += 1
            self._changed.notify_all()
