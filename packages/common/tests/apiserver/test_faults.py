from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from typing import Any

import pytest
from dra_common.testing.apiserver import FakeApiServer

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
Call = Callable[..., Any]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "BadRequest"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "NotFound"),
        (409, "Conflict"),
        (410, "Expired"),
        (422, "Invalid"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (504, "Timeout"),
    ],
)
def test_a_status_is_answered_as_the_real_server_does(
    server: FakeApiServer, call: Call, status: int, reason: str
) -> None:
    server.faults.add(status=status)
    reply = call("GET", SLICES)
    assert (reply.status, reply.body["kind"], reply.body["reason"]) == (status, "Status", reason)
    assert (reply.body["code"], reply.body["status"]) == (status, "Failure")
    assert reply.body["message"]


def test_a_fault_names_method_path_and_count(server: FakeApiServer, call: Call) -> None:
    fault = server.faults.add(status=500, method="GET", path=r"resourceslices\?fieldSelector", count=2)
    path = f"{SLICES}?fieldSelector=spec.driver%3Dx"
    assert call("GET", SLICES).status == 200
    assert call("DELETE", path).status == 200
    assert [call("GET", path).status for _ in range(3)] == [500, 500, 200]
    assert fault.hits == 2


def test_clear_ends_all_faults(server: FakeApiServer, call: Call) -> None:
    server.faults.add(status=500)
    assert call("GET", SLICES).status == 500
    server.faults.clear()
    assert call("GET", SLICES).status == 200


def test_retry_after_and_message(server: FakeApiServer, call: Call) -> None:
    server.faults.add(status=429, retry_after=7, message="slow down")
    reply = call("GET", SLICES)
    assert (reply.headers["Retry-After"], reply.body["message"]) == ("7", "slow down")
    assert reply.body["details"]["retryAfterSeconds"] == 7


def test_drop_closes_without_a_word(server: FakeApiServer, call: Call) -> None:
    server.faults.add(status="drop", count=1)
    with pytest.raises(http.client.RemoteDisconnected):
        call("GET", SLICES)
    assert call("GET", SLICES).status == 200


def test_half_breaks_off_in_the_body(server: FakeApiServer, call: Call) -> None:
    server.faults.add(status="half")
    with pytest.raises(http.client.IncompleteRead):
        call("GET", SLICES)


def test_stall_falls_silent_in_the_body_and_stop_ends_it(server: FakeApiServer, call: Any) -> None:
    server.faults.add(status="stall")
    call.send("GET", SLICES)
    response = call.connection.getresponse()
    call.connection.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        response.read()
    server.stop()


def test_half_of_a_watch_breaks_off_in_a_line(server: FakeApiServer, call: Any) -> None:
    server.faults.add(status="half", method="WATCH")
    assert call("GET", SLICES).status == 200
    call.send("GET", f"{SLICES}?watch=1")
    response = call.connection.getresponse()
    with pytest.raises(http.client.IncompleteRead) as caught:
        response.read()
    assert caught.value.partial == b'{"type":"ADDED","obj'


def test_garbage_is_a_page_for_people(server: FakeApiServer, call: Call) -> None:
    server.faults.add(status="garbage")
    reply = call("GET", SLICES)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html")
    assert reply.body.startswith("<html>")


def test_hang_stays_silent_until_the_client_goes(server: FakeApiServer, call: Any) -> None:
    server.faults.add(status="hang", count=1)
    call.connection.timeout = 0.2
    with pytest.raises(TimeoutError):
        call("GET", SLICES)
    call.close()
    assert call("GET", SLICES).status == 200


def test_stop_does_not_wait_for_a_hanging_request(server: FakeApiServer, call: Any) -> None:
    server.faults.add(status="hang")
    call.send("GET", SLICES)
    server.wait_for(lambda: len(server.requests) == 1)
    handlers = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
    server.stop()
    assert handlers
    assert not any(thread.is_alive() for thread in handlers)


@pytest.mark.parametrize("mood", ["drop", "half", 500])
def test_applied_spoils_only_the_answer(server: FakeApiServer, call: Call, mood: Any) -> None:
    server.faults.add(status=mood, method="POST", applied=True)
    body = {"metadata": {"name": "a"}, "spec": {}}
    claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
    if mood == 500:
        assert call("POST", claims, body).status == 500
    else:
        with pytest.raises(http.client.HTTPException):
            call("POST", claims, body)
    assert [item["metadata"]["name"] for item in server.objects("ResourceClaim")] == ["a"]


def test_not_applied_by_default(server: FakeApiServer, call: Call) -> None:
    server.faults.add(status=500, method="POST")
    call("POST", "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims", {"metadata": {"name": "a"}})
    assert server.objects("ResourceClaim") == ()


def test_an_applied_watch_is_taken_down_again(server: FakeApiServer, call: Any) -> None:
    server.faults.add(status="drop", method="WATCH", applied=True)
    with pytest.raises(http.client.RemoteDisconnected):
        call("GET", f"{SLICES}?watch=1")
    assert server.watches == 0
