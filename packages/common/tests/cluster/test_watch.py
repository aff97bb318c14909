from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from dra_common.cluster import ClusterClient, Watch
from dra_common.errors import Forbidden, Gone, ServerError, Unreachable
from dra_common.ports import WatchEvent
from dra_common.testing.apiserver import FakeApiServer

NODES = "/api/v1/nodes"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
At = Callable[..., ClusterClient]
Playback = Callable[[Sequence[bytes | float]], str]


def node(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


def version(client: ClusterClient) -> str:
    return str(client.list(NODES)["metadata"]["resourceVersion"])


def summary(event: WatchEvent) -> tuple[str, str]:
    return event.type, event.object["metadata"]["name"]


def chunk(text: str) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text.encode())


def line(name: str) -> str:
    return json.dumps({"type": "ADDED", "object": node(name)}) + "\n"


def test_events_come_as_they_happen(server: FakeApiServer, client: ClusterClient) -> None:
    with client.watch(NODES, resource_version=version(client)) as watch:
        server.create("Node", node("n1"))
        assert summary(next(watch)) == ("ADDED", "n1")
        server.put("Node", node("n1", a="b"))
        event = next(watch)
        assert (summary(event), event.object["metadata"]["labels"]) == (("MODIFIED", "n1"), {"a": "b"})
        server.delete("Node", "n1")
        assert summary(next(watch)) == ("DELETED", "n1")
        server.bookmark()
        bookmark = next(watch)
        assert (bookmark.type, bookmark.object["metadata"]["resourceVersion"]) == ("BOOKMARK", "4")


def test_the_request_asks_for_bookmarks_and_an_end_at_random(
    server: FakeApiServer, client: ClusterClient
) -> None:
    ends = set()
    for _ in range(12):
        with client.watch(NODES, query={"fieldSelector": "metadata.name=a"}, resource_version="1"):
            query = dict(server.requests[-1].query)
        ends.add(int(query.pop("timeoutSeconds")))
        assert query == {
            "fieldSelector": "metadata.name=a",
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": "1",
        }
    assert len(ends) > 1
    assert all(240 <= end <= 300 for end in ends)


def test_a_clean_end_ends_the_iteration(at: At, playback: Playback) -> None:
    address = playback([HEAD, chunk(line("n1")), chunk(line("n2")), b"0\r\n\r\n"])
    with at(address).watch(NODES, resource_version="1") as watch:
        assert [summary(event) for event in watch] == [("ADDED", "n1"), ("ADDED", "n2")]


def test_lines_need_not_match_chunks(at: At, playback: Playback) -> None:
    text = line("n1") + line("n2") + "\n" + line("ä")
    raw = text.encode()
    pieces = [HEAD, *(b"%x\r\n%s\r\n" % (len(raw[i : i + 7]), raw[i : i + 7]) for i in range(0, len(raw), 7))]
    with at(playback([*pieces, b"0\r\n\r\n"])).watch(NODES, resource_version="1") as watch:
        assert [event.object["metadata"]["name"] for event in watch] == ["n1", "n2", "ä"]


def test_a_watch_may_end_with_the_connection(at: At, playback: Playback) -> None:
    address = playback([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", line("n1").encode()])
    with at(address).watch(NODES, resource_version="1") as watch:
        assert [summary(event) for event in watch] == [("ADDED", "n1")]


# ---------------------------------------------------------------------- refusals


def test_too_old_in_the_stream_is_gone(server: FakeApiServer, client: ClusterClient) -> None:
    start = version(client)
    server.expire_history()
    with client.watch(NODES, resource_version=start) as watch, pytest.raises(Gone) as caught:
        next(watch)
    assert "GET /api/v1/nodes: the API server answered 410: too old resource version" in caught.value.message
    assert "list again" in caught.value.cure


def test_too_old_as_a_status_is_gone(server: FakeApiServer, client: ClusterClient) -> None:
    start = version(client)
    server.expire_history(as_status=True)
    with pytest.raises(Gone, match="too old resource version"), client.watch(NODES, resource_version=start):
        pass


def test_refused(server: FakeApiServer, client: ClusterClient) -> None:
    server.faults.add(status=403, method="WATCH")
    with pytest.raises(Forbidden, match=r'verbs \["watch"\]'), client.watch(NODES, resource_version="1"):
        pass


@pytest.mark.parametrize(
    ("status", "kind"),
    [({"code": 500, "message": "etcd is away"}, ServerError), ({"message": "etcd is away"}, ServerError)],
)
def test_an_error_event_is_an_error(
    at: At, playback: Playback, status: dict[str, Any], kind: type[Exception]
) -> None:
    text = json.dumps({"type": "ERROR", "object": status}) + "\n"
    watch = at(playback([HEAD, chunk(text)])).watch(NODES, resource_version="1")
    with watch, pytest.raises(kind, match=r"GET /api/v1/nodes: .*etcd is away"):
        next(watch)


# ---------------------------------------------------------------------- silence and noise


def test_a_dropped_watch_is_unreachable(server: FakeApiServer, client: ClusterClient) -> None:
    with client.watch(NODES, resource_version=version(client)) as watch:
        server.create("Node", node("n1"))
        assert summary(next(watch)) == ("ADDED", "n1")
        server.drop_watches()
        with pytest.raises(Unreachable, match="GET /api/v1/nodes: the connection broke"):
            next(watch)


def test_half_a_line_is_unreachable(server: FakeApiServer, client: ClusterClient) -> None:
    server.faults.add(status="half", method="WATCH")
    with (
        client.watch(NODES, resource_version="1") as watch,
        pytest.raises(Unreachable, match="the connection broke"),
    ):
        next(watch)


def test_half_a_line_at_a_clean_end_is_unreachable_too(at: At, playback: Playback) -> None:
    watch = at(playback([HEAD, chunk('{"type":"ADD'), b"0\r\n\r\n"])).watch(NODES, resource_version="1")
    with watch, pytest.raises(Unreachable, match="the stream ended within a line"):
        next(watch)


@pytest.mark.parametrize(
    "text",
    [
        "<html>log in</html>\n",
        "[]\n",
        '{"type":"ADDED"}\n',
        '{"type":"MOVED","object":{}}\n',
        '{"type":"ADDED","object":[]}\n',
        '{"type":"ERROR","object":"x"}\n',
    ],
)
def test_lines_that_no_api_server_sends(at: At, playback: Playback, text: str) -> None:
    watch = at(playback([HEAD, chunk(line("n1")), chunk(text)])).watch(NODES, resource_version="1")
    with watch:
        assert summary(next(watch)) == ("ADDED", "n1")
        with pytest.raises(
            Unreachable, match=r"GET /api/v1/nodes: the answer \(200\) is not what an API server"
        ):
            next(watch)


def test_silence_without_bookmarks_is_unreachable(server: FakeApiServer, at: At) -> None:
    with at(server.url, watch_idle=0.3).watch(NODES, resource_version="1") as watch:
        server.pause()
        server.create("Node", node("n1"))
        with pytest.raises(Unreachable, match=r"no answer within 0\.3 s"):
            next(watch)


def test_bookmarks_keep_a_quiet_watch_alive(at: At) -> None:
    with (
        FakeApiServer(bookmark_interval=0.1) as server,
        at(server.url, watch_idle=1.5).watch(NODES, resource_version="1") as watch,
    ):
        # Longer than the idle limit: only the bookmarks between can have kept it.
        assert {next(watch).type for _ in range(18)} == {"BOOKMARK"}


# ---------------------------------------------------------------------- closing


def read_all(watch: Watch, result: list[object]) -> None:
    try:
        result.append([summary(event) for event in watch])
    except Exception as error:  # noqa: BLE001 (the test looks at it)
        result.append(error)


@pytest.mark.parametrize("close", [lambda client, watch: client.close(), lambda client, watch: watch.close()])
def test_another_thread_ends_a_silent_watch_at_once(
    server: FakeApiServer, client: ClusterClient, close: Callable[[ClusterClient, Watch], None]
) -> None:
    result: list[object] = []
    with client.watch(NODES, resource_version=version(client)) as watch:
        thread = threading.Thread(target=read_all, args=(watch, result))
        thread.start()
        close(client, watch)
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert result == [[]]
    server.wait_for(lambda: server.watches == 0, what="the server to see the watch end")


def test_close_ends_a_watch_that_the_server_has_not_answered_yet(
    server: FakeApiServer, client: ClusterClient
) -> None:
    caught: list[Unreachable] = []

    def enter() -> None:
        try:
            client.watch(NODES, resource_version="1").__enter__()
        except Unreachable as error:
            caught.append(error)

    server.pause()
    thread = threading.Thread(target=enter)
    thread.start()
    server.wait_for(lambda: server.requests)
    client.close()
    thread.join(timeout=60)
    assert [error.message for error in caught] == ["GET /api/v1/nodes: this client was closed"]


def test_leaving_the_context_ends_the_watch(server: FakeApiServer, client: ClusterClient) -> None:
    with client.watch(NODES, resource_version="1") as watch:
        server.wait_for(lambda: server.watches == 1)
    server.wait_for(lambda: server.watches == 0)
    watch.close()
    assert client.get("/version")["major"] == "1"


def test_closing_twice_and_before_the_start_is_fine(client: ClusterClient) -> None:
    client.watch(NODES, resource_version="1").close()
    with client.watch(NODES, resource_version="1") as watch:
        watch.close()
        watch.close()
        assert list(watch) == []
