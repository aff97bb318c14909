"""One watch: lines of JSON until the server ends it, falls silent, or somebody closes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Self

from urllib3 import HTTPResponse

from dra_common.cluster import answers
from dra_common.cluster.answers import TRANSPORT_ERRORS, Call
from dra_common.cluster.transport import Transport
from dra_common.ports import WatchEvent

_CHUNK = 1 << 16
_TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")


class Watch:
    """A context manager and the iterator of its events.

    Iteration ends when the server ends the watch in good order (watch on from the last version) or after
    :meth:`close`. It raises Gone (list again), Unreachable (broken, or silent for ``idle`` seconds, although
    bookmarks come every minute) and the other ClusterErrors.
    """

    def __init__(self, transport: Transport, call: Call, *, idle: float) -> None:
        self._transport = transport
        self._call = call
        self._idle = idle
        self._response: HTTPResponse | None = None
        self._events: Iterator[WatchEvent] = iter(())
        self._closed = False

    def __enter__(self) -> Self:
        """Send the request. Raises ClusterError."""
        self._response = self._transport.open(self._call, self._idle)
        self._events = self._read(self._response)
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        if self._response is not None:
            self._response.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WatchEvent:
        return next(self._events)

    def close(self) -> None:
        """End the iteration at once; for other threads than the one that iterates."""
        self._closed = True
        if self._response is not None:
            # Only the socket: the file objects above it belong to the reading thread.
            try:
                self._response.shutdown()
            except (ValueError, RuntimeError, OSError):
                return  # it has ended already

    # ------------------------------------------------------------------ reading

    def _read(self, response: HTTPResponse) -> Iterator[WatchEvent]:
        rest = b""
        while chunk := self._chunk(response):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (self._event(line) for line in lines if line.strip())
        if rest.strip() and not self._ended():
            raise answers.unreachable(self._call, EOFError("the stream ended within a line"), self._idle)

    def _chunk(self, response: HTTPResponse) -> bytes:
        try:
            return response.read1(_CHUNK)
        except TRANSPORT_ERRORS as error:
            if self._ended():
                return b""
            raise answers.unreachable(self._call, error, self._idle) from error

    def _ended(self) -> bool:
        return self._closed or self._transport.closed

    def _event(self, line: bytes) -> WatchEvent:
        try:
            decoded: Any = json.loads(line)
            kind, item = decoded["type"], decoded["object"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise answers.garbage(self._call, 200, line) from error
        if kind == "ERROR" and isinstance(item, dict):
            raise answers.from_status(self._call, item)
        if kind not in _TYPES or not isinstance(item, dict):
            raise answers.garbage(self._call, 200, line)
        return WatchEvent(kind, item)
