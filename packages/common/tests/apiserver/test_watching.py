from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dra_common.testing.apiserver import FakeApiServer

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
Call = Callable[..., Any]


def version(call: Call) -> str:
    return str(call("GET", SLICES).body["metadata"]["resourceVersion"])


def summary(event: dict[str, Any]) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


def test_a_watch_replays_what_happened_since_and_then_follows(
    server: FakeApiServer, call: Call, dial: Call, post_slice: Call
) -> None:
    post_slice("before")
    start = version(call)
    post_slice("s1")
    lines = dial(server).lines(f"{SLICES}?watch=1&resourceVersion={start}")
    added = next(lines)
    assert summary(added) == ("ADDED", "s1")
    assert added["object"]["kind"] == "ResourceSlice"
    item = added["object"]
    item["spec"]["pool"]["generation"] = 2
    call("PUT", f"{SLICES}/s1", item)
    modified = next(lines)
    assert (summary(modified), modified["object"]["metadata"]["generation"]) == (("MODIFIED", "s1"), 2)
    call("DELETE", f"{SLICES}/s1")
    deleted = next(lines)
    assert summary(deleted) == ("DELETED", "s1")
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in (added, modified, deleted)]
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("start", ["", "&resourceVersion=0"])
def test_a_watch_without_version_begins_with_what_is_there(
    server: FakeApiServer, dial: Call, post_slice: Call, start: str
) -> None:
    post_slice("a")
    post_slice("b")
    lines = dial(server).lines(f"{SLICES}?watch=true{start}")
    assert [summary(next(lines)), summary(next(lines))] == [("ADDED", "a"), ("ADDED", "b")]
    post_slice("c")
    assert summary(next(lines)) == ("ADDED", "c")


def test_a_watch_sees_only_what_it_selects(
    server: FakeApiServer, call: Call, dial: Call, post_slice: Call
) -> None:
    start = version(call)
    lines = dial(server).lines(f"{SLICES}?watch=1&resourceVersion={start}&fieldSelector=spec.nodeName%3Dn2")
    post_slice("a")
    server.create("Node", {"metadata": {"name": "n2"}})
    post_slice("b", nodeName="n2")
    assert summary(next(lines)) == ("ADDED", "b")


def test_leaving_the_selection_is_a_deletion(server: FakeApiServer, dial: Call) -> None:
    def pod(node: str) -> dict[str, Any]:
        return {"metadata": {"name": "p", "namespace": "default"}, "spec": {"nodeName": node}}

    lines = dial(server).lines("/api/v1/namespaces/default/pods?watch=1&fieldSelector=spec.nodeName%3Dn1")
    server.put("Pod", {"metadata": {"name": "x", "namespace": "other"}, "spec": {"nodeName": "n1"}})
    for node in ("n0", "n1", "n2"):
        server.put("Pod", pod(node))
    assert [next(lines)["type"], next(lines)["type"]] == ["ADDED", "DELETED"]


def test_timeout_ends_the_stream_in_good_order(server: FakeApiServer, call: Call, dial: Call) -> None:
    path = f"{SLICES}?watch=1&resourceVersion={version(call)}&timeoutSeconds=1"
    assert list(dial(server).lines(path)) == []


def test_bookmarks_come_when_asked_for(
    server: FakeApiServer, call: Call, dial: Call, post_slice: Call
) -> None:
    start = version(call)
    connection = dial(server)
    lines = connection.lines(
        f"{SLICES}?watch=1&resourceVersion={start}&allowWatchBookmarks=true&timeoutSeconds=1"
    )
    post_slice("s1")
    assert summary(next(lines)) == ("ADDED", "s1")
    server.create("Node", {"metadata": {"name": "n1"}})
    server.bookmark()
    bookmark = next(lines)
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["kind"] == "ResourceSlice"
    # It covers writes to other resources too: that is what bookmarks are for.
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) == int(start) + 2
    assert [line["type"] for line in lines] == ["BOOKMARK"]


def test_bookmarks_come_by_themselves(dial: Call) -> None:
    with FakeApiServer(bookmark_interval=0.05) as server:
        lines = dial(server).lines(f"{SLICES}?watch=1&allowWatchBookmarks=1")
        assert [next(lines)["type"] for _ in range(3)] == ["BOOKMARK"] * 3


def test_a_version_that_is_too_old_is_an_error_event(server: FakeApiServer, call: Call, dial: Call) -> None:
    start = version(call)
    server.expire_history()
    (event,) = dial(server).lines(f"{SLICES}?watch=1&resourceVersion={start}")
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert "too old resource version" in event["object"]["message"]


def test_or_an_http_status(server: FakeApiServer, call: Call) -> None:
    start = version(call)
    server.expire_history(as_status=True)
    reply = call("GET", f"{SLICES}?watch=1&resourceVersion={start}")
    assert (reply.status, reply.body["code"]) == (410, 410)


def test_a_fresh_list_can_be_watched_after_an_expiry(
    server: FakeApiServer, call: Call, dial: Call, post_slice: Call
) -> None:
    server.expire_history()
    lines = dial(server).lines(f"{SLICES}?watch=1&resourceVersion={version(call)}")
    post_slice("s1")
    assert summary(next(lines)) == ("ADDED", "s1")


def test_an_open_watch_outlives_an_expiry(
    server: FakeApiServer, call: Call, dial: Call, post_slice: Call
) -> None:
    lines = dial(server).lines(f"{SLICES}?watch=1&resourceVersion={version(call)}")
    post_slice("s1")
    assert summary(next(lines)) == ("ADDED", "s1")
    server.expire_history()
    post_slice("s2")
    assert summary(next(lines)) == ("ADDED", "s2")


def test_the_history_is_bounded(server: FakeApiServer, call: Call, dial: Call) -> None:
    start = version(call)
    for number in range(4100):
        server.put("Node", {"metadata": {"name": "n", "labels": {"n": str(number)}}})
    (event,) = dial(server).lines(f"{SLICES}?watch=1&resourceVersion={start}")
    assert event["object"]["code"] == 410


def test_a_version_of_the_future_is_a_timeout(server: FakeApiServer, call: Call) -> None:
    reply = call("GET", f"{SLICES}?watch=1&resourceVersion=999999")
    assert (reply.status, reply.headers["Retry-After"]) == (504, "1")
    assert "Too large resource version" in reply.body["message"]


def test_a_version_that_is_no_number_is_a_bad_request(call: Call) -> None:
    assert call("GET", f"{SLICES}?watch=1&resourceVersion=abc").status == 400


def test_a_watch_ends_on_the_server_when_its_client_goes(
    server: FakeApiServer, call: Call, dial: Call
) -> None:
    connection = dial(server)
    connection.send("GET", f"{SLICES}?watch=1&resourceVersion={version(call)}")
    server.wait_for(lambda: server.watches == 1)
    connection.close()
    server.wait_for(lambda: server.watches == 0)
