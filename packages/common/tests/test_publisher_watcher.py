"""A watch that never spins, against a server that ends every watch at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from dra_common.errors import ClusterError, Gone, Throttled, Unreachable
from dra_common.pacing import Backoff, Pacer
from dra_common.ports import WatchEvent
from dra_common.publisher.watcher import Change, Watcher


class Stream:
    """One watch: some events, then an error or a clean end."""

    def __init__(self, script: Sequence[WatchEvent | ClusterError]) -> None:
        self.script, self.closed = script, False

    def __enter__(self) -> Iterator[WatchEvent]:
        return self._events()

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def _events(self) -> Iterator[WatchEvent]:
        for step in self.script:
            if isinstance(step, ClusterError):
                raise step
            yield step


class Server:
    """Only watches; the last script is used again and again."""

    def __init__(self, *scripts: Sequence[WatchEvent | ClusterError]) -> None:
        self.scripts, self.versions = list(scripts), list[str]()

    def watch(self, path: str, *, query: Mapping[str, str] | None = None, resource_version: str) -> Stream:
        self.versions.append(resource_version)
        return Stream(self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0])


def event(kind: Any, version: int, name: str = "s") -> WatchEvent:
    return WatchEvent(kind, {"metadata": {"name": name, "resourceVersion": str(version)}})


class Ears:
    """What the watcher reports."""

    def __init__(self, server: Server, pacer: Pacer | None = None) -> None:
        self.changes: list[Change] = []
        self.lists = 0
        self.server = server
        self.watcher = Watcher(
            server,  # type: ignore[arg-type]
            "spec.driver=d",
            on_change=self.changes.append,
            on_gone=self.gone,
            backoff=Backoff(1.0, 64.0),
            pacer=pacer or Pacer(1000),
        )
        self.watcher.start_from("5")

    def heard(self) -> list[tuple[str, str, bool]]:
        return [(change.name, change.version, change.deleted) for change in self.changes]

    def gone(self) -> None:
        self.lists += 1
        self.watcher.start_from(str(100 * self.lists))


def test_events_are_reported_and_the_next_watch_goes_on_from_the_last() -> None:
    server = Server([event("ADDED", 7), event("MODIFIED", 8), event("DELETED", 9), event("BOOKMARK", 12)], [])
    ears = Ears(server)
    assert ears.watcher._attempt() < 1.0, "a watch that ended as agreed is followed by the next"
    ears.watcher._attempt()
    assert ears.heard() == [("s", "7", False), ("s", "8", False), ("s", "9", True)]
    assert server.versions == ["5", "12"]


@pytest.mark.parametrize("script", [[], [Gone("too old")], [Unreachable("away")]])
def test_a_server_that_never_gives_anything_is_asked_more_and_more_rarely(
    script: list[WatchEvent | ClusterError],
) -> None:
    """The public client's informer lists 93 times a second when every watch is too old."""
    ears = Ears(Server(script))
    pauses = [ears.watcher._attempt() for _ in range(9)]
    for index, pause in enumerate(pauses):
        assert pause >= min(64.0, 2.0**index) / 2


@pytest.mark.parametrize("end", [[], [Gone("too old")], [Unreachable("cut")]])
def test_watches_that_end_after_each_event_are_opened_ever_more_rarely(end: list[ClusterError]) -> None:
    """A proxy that cuts every request: each watch gives something, and each pause begins anew."""
    ears = Ears(Server([event("BOOKMARK", 9), *end]), Pacer(3, 60.0, clock=lambda: 0.0))
    pauses = [ears.watcher._attempt() for _ in range(6)]
    assert max(pauses[:3]) <= 1.0
    assert pauses[3:] == [60.0, 120.0, 180.0]


def test_a_server_that_asks_for_time_gets_it() -> None:
    ears = Ears(Server([Throttled("busy", retry_after=17.0)]))
    assert ears.watcher._attempt() == 17.0


@pytest.mark.parametrize("status", [400, 403, 404, 500, 504])
def test_a_watch_that_the_server_refuses_is_a_reason_to_list(status: int) -> None:
    """504: the version is of the future, since etcd was restored. 403: there will never be a watch."""
    ears = Ears(Server([ClusterError("no", status=status)]))
    assert ears.watcher._attempt() >= 0.5
    assert ears.lists == 1
    ears.watcher._attempt()
    assert ears.server.versions == ["5", "100"]


def test_a_watch_that_was_cut_is_no_reason_to_list() -> None:
    """Else a restart of the API server would be answered with a list by every node of the cluster."""
    ears = Ears(Server([Unreachable("cut")]))
    ears.watcher._attempt()
    assert ears.lists == 0


def test_an_event_makes_the_pauses_short_again() -> None:
    away = Unreachable("away")
    ears = Ears(Server([away], [away], [away], [away], [event("BOOKMARK", 9), away], [away]))
    pauses = [ears.watcher._attempt() for _ in range(6)]
    assert pauses[3] >= 4.0
    assert pauses[4] <= 1.0
    assert pauses[5] <= 2.0


def test_too_old_asks_for_a_list_and_goes_on_from_there() -> None:
    server = Server([event("ADDED", 7), Gone("too old")], [])
    ears = Ears(server)
    ears.watcher._attempt()
    ears.watcher._attempt()
    assert ears.lists == 1
    assert server.versions == ["5", "100"]


def test_a_list_does_not_move_a_watch_that_is_going_on() -> None:
    """Events between the version watched and that of the list would be lost; they may be all there is to say."""
    server = Server([])
    ears = Ears(server)
    ears.watcher.start_from("50")
    ears.watcher._attempt()
    assert server.versions == ["5"]


def test_trouble_is_logged_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    away, again = [Unreachable("away")], [Unreachable("again")]
    ears = Ears(Server(away, away, away, [event("BOOKMARK", 6)], again))
    for _ in range(8):
        ears.watcher._attempt()
    lines = [record.getMessage() for record in caplog.records]
    assert [line.rpartition(": ")[2] for line in lines] == [
        "away",
        "the watch of ResourceSlices is back",
        "again",
    ]


def test_a_watch_that_is_cut_and_comes_back_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """Load balancers cut what is idle, and every upgrade of the control plane cuts everything."""
    caplog.set_level("INFO")
    ears = Ears(Server([event("BOOKMARK", 9), Unreachable("cut")]))
    for _ in range(50):
        ears.watcher._attempt()
    assert caplog.messages == []


def test_what_another_has_told_is_not_told_again(caplog: pytest.LogCaptureFixture) -> None:
    ears = Ears(Server([Unreachable("away")]))
    known = True
    ears.watcher._is_known = lambda _error: known
    for _ in range(5):
        ears.watcher._attempt()
    assert caplog.messages == []
    known = False
    ears.watcher._attempt()
    ears.watcher._attempt()
    assert len(caplog.messages) == 1, "the other one is over it, the watch is not"


def looks(agreed: float, *scripts: Sequence[WatchEvent | ClusterError]) -> list[int]:
    """Which watches, from 1, were a reason to look at the server; the last script is played twice."""
    heard: list[int] = []
    ears = Ears(Server(*scripts))
    ears.watcher._on_back = lambda: heard.append(len(ears.server.versions))
    ears.watcher._backoff, ears.watcher._agreed = Backoff(0.0, 0.0), agreed
    for _ in range(len(scripts) + 1):
        ears.watcher._attempt()
    return heard


def test_a_server_that_is_back_is_told_to_who_wants_to_look_at_it() -> None:
    """After the first one, too: from the last look to it, the server could change with nothing cut."""
    away: list[WatchEvent | ClusterError] = [event("ADDED", 6), Unreachable("away")]
    gone = [Gone("too old")]
    good = [event("BOOKMARK", 7)]
    assert looks(0.0, good, good, away, good, good, gone, good, good) == [1, 4, 7]


def test_a_watch_that_a_server_ends_in_good_order_before_its_time_may_be_its_last() -> None:
    """A kube-apiserver that stops takes leave of its watches, and a load balancer has the next one at once."""
    assert looks(240.0, [event("ADDED", 6)], []) == [1, 2, 3]


def test_a_proxy_that_keeps_events_to_itself_is_a_reason_to_list() -> None:
    """The watch is open and silent: without a list nobody would ever hear of a wipe."""
    ears = Ears(Server([Unreachable("no answer within 75 s")]))
    ears.watcher._backoff = Backoff(0.0, -1.0)  # any time is too long for a watch to give nothing
    ears.watcher._attempt()
    assert ears.lists == 1


def test_an_event_that_cannot_be_understood_does_not_end_the_watching(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ears = Ears(Server([WatchEvent("ADDED", {})], [event("ADDED", 7)]))
    ears.watcher._attempt()
    ears.watcher._attempt()
    assert ears.heard() == [("s", "7", False)]
    assert any(record.exc_info for record in caplog.records)


def test_stop_ends_the_thread_in_a_pause() -> None:
    ears = Ears(Server([Unreachable("away")]))
    thread = threading.Thread(target=ears.watcher.run, daemon=True)
    thread.start()
    ears.watcher.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert ears.changes == []
