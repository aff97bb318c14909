"""Whatever an API server, or a proxy before it, answers: one of our errors, in one line, with a pause that ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dra_common.cluster import answers
from dra_common.cluster.answers import Call
from dra_common.cluster.watch import Watch
from dra_common.errors import ClusterError, Throttled
from dra_common.ports import WatchEvent
from properties.base import DEEP, Property, damaged

CALL = Call("GET", "/apis/resource.k8s.io/v1/resourceslices", "https://api.example.com")
STATUS = {"kind": "Status", "code": 429, "message": "too many\nrequests", "details": {"retryAfterSeconds": 7}}
LINES = (
    b'{"type": "ADDED", "object": {"metadata": {"name": "a"}}}\n{"type": "BOOKMARK", "object": {}}\n',
    json.dumps({"type": "ERROR", "object": STATUS}).encode() + b"\n",
    b'{"type": "ADDED", "object": ' + b'{"a":' * 3,
    DEEP + b"\n",
)
SEEDS = (
    *((status - 300).to_bytes(2) + json.dumps(STATUS).encode() for status in (429, 410, 500, 422)),
    (104).to_bytes(2) + b"404 page not found\n",
    (129).to_bytes(2) + DEEP,
)
LONGEST = 2500


def check(data: bytes) -> None:
    """The first two bytes are the status, the rest the body, and the beginning of the body the header."""
    status, body = 300 + int.from_bytes(data[:2]) % 400, data[2:]
    header = body[:8].decode("latin-1")
    check_error(answers.refused(CALL, status, {"Retry-After": header}, body), status)
    check_error(answers.garbage(CALL, status, body), status)


def check_error(error: ClusterError, status: int) -> None:
    assert error.status == status
    assert "\n" not in error.message
    assert len(error.message) < LONGEST
    assert error.cure
    if isinstance(error, Throttled):
        assert 0 <= error.retry_after <= 60


class Stream:
    """An answer that comes in pieces of ``size`` bytes, then ends."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = [data[start : start + size] for start in range(0, len(data), size)]
        self._at = iter(self._pieces)

    def read1(self, _most: int) -> bytes:
        return next(self._at, b"")

    def close(self) -> None:
        self._at = iter(())


class Wire:
    """What a watch reads from."""

    closed = False

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = data, size

    def open(self, _call: Call, _idle: float) -> Any:
        return Stream(self._data, self._size)


def watched(data: bytes, size: int) -> tuple[list[WatchEvent], str]:
    """Events until the end, and how it ended."""
    events = list[WatchEvent]()

    def each() -> Iterator[WatchEvent]:
        with Watch(Wire(data, size), CALL, idle=1) as watch:  # type: ignore[arg-type]
            yield from watch

    try:
        events.extend(each())
    except ClusterError as error:
        assert "\n" not in str(error)
        return events, f"{type(error).__name__} {error}"
    return events, ""


def check_watch(data: bytes) -> None:
    """Events or one of our errors; where the network cuts the stream does not matter."""
    sizes = (1, 7, 1 << 16) if len(data) < LONGEST else (1 << 10, 1 << 16)
    found = [watched(data, size) for size in sizes]
    assert all(each == found[0] for each in found)


PROPERTY = Property("answers", damaged(SEEDS), check, seeds=SEEDS, raw=True)
WATCH = Property("watch", damaged(LINES), check_watch, seeds=LINES, raw=True)
