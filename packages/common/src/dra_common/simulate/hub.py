"""Where uevents go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from dra_common.ports import Uevent

Listener = Callable[[Uevent], None]


class Hub:
    """Numbers uevents and hands them to listeners, in order; a listener must not block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._seqnum = 0

    def emit(self, action: str, devpath: str, subsystem: str, properties: Mapping[str, str]) -> None:
        """Send one event; the envelope (``ACTION`` … ``SEQNUM``) is added to ``properties``."""
        with self._lock:
            self._seqnum += 1
            envelope = {"ACTION": action, "DEVPATH": devpath, "SUBSYSTEM": subsystem}
            everything = {**envelope, **properties, "SEQNUM": str(self._seqnum)}
            for listener in self._listeners:
                listener(Uevent(action, devpath, subsystem, everything))

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hand every event from now on to ``listener``; returns what ends that."""
        with self._lock:
            self._listeners.append(listener)
        return lambda: self._end(listener)

    def _end(self, listener: Listener) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
