"""Moods of an API server in which a driver must neither spin nor fill the log, and from which it comes back by itself.

.. code-block:: python

    for mood in MOODS:
        mood.begin(server)
        ...
        mood.end(server)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from dra_common.testing.apiserver import FakeApiServer
from dra_common.testing.apiserver.faults import Mood as Spoiling

SLICES = "resourceslices"


@dataclass(frozen=True, slots=True)
class Mood:
    """What an API server is like for a while.

    Args:
        name: what people call it.
        begin: makes a server like that.
        says: a part of the one line that a driver logs of it while slices are to be written.
        writes: whether slices can be written in it.
        end: makes the server well again.
    """

    name: str
    begin: Callable[[FakeApiServer], object]
    says: str = ""
    writes: bool = False
    end: Callable[[FakeApiServer], object] = field(default=lambda server: server.faults.clear())


def _spoil(status: Spoiling, *methods: str, retry_after: int = 0) -> Callable[[FakeApiServer], object]:
    def begin(server: FakeApiServer) -> None:
        for method in methods or (None,):
            server.faults.add(status=status, method=method, path=SLICES, retry_after=retry_after)

    return begin


_DAY = 86400

MOODS: tuple[Mood, ...] = (
    Mood("well", lambda _server: None, writes=True),
    Mood("away", FakeApiServer.stop, "refused", end=FakeApiServer.start),
    Mood("silent", FakeApiServer.pause, "no answer within", end=FakeApiServer.resume),
    Mood("falls silent in its answers", _spoil("stall"), "no answer within"),
    Mood("cuts every connection", _spoil("drop"), "the connection broke"),
    Mood("breaks off its answers", _spoil("half"), "the connection broke"),
    Mood("a login page", _spoil("garbage"), "not what an API server sends"),
    Mood("500", _spoil(500), "answered 500"),
    Mood("503", _spoil(503), "answered 503"),
    Mood("429 for a day", _spoil(429, retry_after=_DAY), "answered 429"),
    Mood("401", _spoil(401), "answered 401"),
    Mood("403", _spoil(403), "answered 403"),
    Mood("409 to every write", _spoil(409, "POST", "PUT"), "answered 409"),
    Mood("422 to every write", _spoil(422, "POST", "PUT"), "answered 422"),
    Mood("410 to every watch", _spoil(410, "WATCH"), writes=True),
    Mood("cuts every watch", _spoil("half", "WATCH"), "watch of ResourceSlices is lost", writes=True),
    Mood(
        "no resource.k8s.io/v1",
        partial(FakeApiServer.upgrade, version="1.33"),
        "needs Kubernetes 1.34 or newer",
        end=partial(FakeApiServer.upgrade, version="1.36"),
    ),
)
