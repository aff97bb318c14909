from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from dra_common.cluster import ClusterClient
from dra_common.errors import (
    ClusterError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerError,
    Throttled,
    Unauthorized,
    Unreachable,
)
from dra_common.ports import ApiServer
from dra_common.telemetry import API_REQUESTS, API_SECONDS
from dra_common.testing.apiserver import FakeApiServer
from dra_common.testing.ledger import Ledger
from dra_common.testing.waiting import wait_until

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
SPEC = {"driver": "gpu.intel.com", "nodeName": "n1", "pool": {"name": "n1", "resourceSliceCount": 1}}
At = Callable[..., ClusterClient]
Playback = Callable[[Sequence[bytes | float]], str]


def create(client: ApiServer, name: str = "s1") -> dict[str, Any]:
    return client.create(SLICES, {"metadata": {"name": name}, "spec": SPEC})


def test_writes_and_reads_raw_objects(server: FakeApiServer, client: ClusterClient) -> None:
    stored = create(client)
    assert stored["metadata"]["generation"] == 1
    assert client.get(f"{SLICES}/s1") == stored
    stored["spec"]["pool"]["generation"] = 5
    replaced = client.replace(f"{SLICES}/s1", stored)
    assert (replaced["metadata"]["generation"], replaced["spec"]["pool"]["generation"]) == (2, 5)
    client.delete(f"{SLICES}/s1")
    assert server.objects("ResourceSlice") == ()


def test_a_dry_run_is_answered_and_not_kept(server: FakeApiServer, client: ClusterClient) -> None:
    stored = client.create(SLICES, {"metadata": {"name": "s1"}, "spec": SPEC}, dry_run=True)
    assert stored["metadata"]["uid"]
    assert server.objects("ResourceSlice") == ()


def test_a_field_that_no_model_knows_survives(server: FakeApiServer, client: ClusterClient) -> None:
    server.create("Node", {"metadata": {"name": "n1"}, "spec": {"fieldOfTheFuture": {"a": [1]}}})
    node = client.get("/api/v1/nodes/n1")
    node["metadata"]["labels"] = {"a": "b"}
    assert client.replace("/api/v1/nodes/n1", node)["spec"] == {"fieldOfTheFuture": {"a": [1]}}


def test_delete_sends_preconditions(server: FakeApiServer, client: ClusterClient) -> None:
    stored = create(client)["metadata"]
    with pytest.raises(Conflict, match="UID in precondition: other"):
        client.delete(f"{SLICES}/s1", uid="other")
    with pytest.raises(Conflict, match="ResourceVersion in precondition: 1"):
        client.delete(f"{SLICES}/s1", uid=stored["uid"], resource_version="1")
    client.delete(f"{SLICES}/s1", uid=stored["uid"], resource_version=stored["resourceVersion"])
    with pytest.raises(NotFound):
        client.delete(f"{SLICES}/s1")
    assert server.requests[-1].body == {"kind": "DeleteOptions", "apiVersion": "v1"}


def test_list_selects_and_has_a_version_to_watch_from(server: FakeApiServer, client: ClusterClient) -> None:
    create(client, "a")
    create(client, "b")
    whole = client.list(SLICES, query={"fieldSelector": "metadata.name=b"})
    assert [item["metadata"]["name"] for item in whole["items"]] == ["b"]
    assert whole["metadata"] == {"resourceVersion": "3"}
    assert server.requests[-1].query == {"fieldSelector": "metadata.name=b", "limit": "500"}


def test_list_reads_every_page(server: FakeApiServer, client: ClusterClient) -> None:
    for number in range(1201):
        server.create("Node", {"metadata": {"name": f"n{number:04}"}})
    server.forget_requests()
    whole = client.list("/api/v1/nodes")
    assert [item["metadata"]["name"] for item in whole["items"]] == [
        f"n{number:04}" for number in range(1201)
    ]
    assert whole["metadata"] == {"resourceVersion": "1202"}
    assert [bool(request.query.get("continue")) for request in server.requests] == [False, True, True]


def test_a_list_that_expires_between_pages_starts_over_once(
    server: FakeApiServer, client: ClusterClient
) -> None:
    for number in range(501):
        server.create("Node", {"metadata": {"name": f"n{number}"}})
    fault = server.faults.add(status=410, path="continue=", count=1)
    assert len(client.list("/api/v1/nodes")["items"]) == 501
    assert fault.hits == 1
    fault = server.faults.add(status=410, path="continue=")
    with pytest.raises(Gone, match="GET /api/v1/nodes"):
        client.list("/api/v1/nodes")
    assert fault.hits == 2


def test_an_empty_list_may_be_null(at: At, playback: Playback) -> None:
    body = b'{"kind":"NodeList","metadata":{"resourceVersion":"9"},"items":null}'
    address = playback([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)])
    assert at(address).list("/api/v1/nodes")["items"] == []


def test_the_client_says_who_it_is(server: FakeApiServer, client: ClusterClient) -> None:
    assert client.address == server.url
    assert isinstance(client.get("/version"), dict)


def test_a_token_is_sent(dial: Callable[..., ClusterClient]) -> None:
    with FakeApiServer(token="secret") as server:
        client = dial(server)
        assert client.list(SLICES)["items"] == []
        server.token = "rotated"
        with pytest.raises(Unauthorized) as caught:
            client.list(SLICES)
    assert "secret" not in str(caught.value)


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("status", "kind", "cure"),
    [
        (400, Invalid, "1.34 or newer"),
        (401, Unauthorized, "ServiceAccount token or the user of the kubeconfig"),
        (403, Forbidden, 'apiGroups ["resource.k8s.io"], resources ["resourceslices"], verbs ["get"]'),
        (404, NotFound, "does not exist"),
        (405, Invalid, "does not accept this"),
        (409, Conflict, "read the object again"),
        (410, Gone, "list again"),
        (422, Invalid, "does not accept this"),
        (429, Throttled, "try again in 1 s"),
        (500, ServerError, "API server's log"),
        (503, ServerError, "API server's log"),
        (302, Unreachable, "is the API server"),
    ],
)
def test_every_refusal_has_a_class_a_place_the_servers_words_and_a_cure(
    server: FakeApiServer, client: ClusterClient, status: int, kind: type[ClusterError], cure: str
) -> None:
    server.faults.add(status=status, message="the server's own words")
    with pytest.raises(kind) as caught:
        client.get(f"{SLICES}/s1")
    error = caught.value
    assert type(error) is kind
    assert error.status == status
    assert error.message == f"GET {SLICES}/s1: the API server answered {status}: the server's own words"
    assert cure in error.cure
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("ask", "verb"),
    [
        (lambda client: client.list(SLICES), "list"),
        (lambda client: client.watch(SLICES, resource_version="1").__enter__(), "watch"),
        (lambda client: client.create(SLICES, {}), "create"),
        (lambda client: client.replace(f"{SLICES}/a", {}), "update"),
        (lambda client: client.delete(f"{SLICES}/a"), "delete"),
    ],
)
def test_forbidden_names_the_rule_that_is_missing(
    server: FakeApiServer, client: ClusterClient, ask: Callable[[ClusterClient], object], verb: str
) -> None:
    server.faults.add(status=403)
    with pytest.raises(Forbidden) as caught:
        ask(client)
    rule = f'apiGroups ["resource.k8s.io"], resources ["resourceslices"], verbs ["{verb}"]'
    assert rule in str(caught.value)


def test_forbidden_in_the_core_group_and_outside_resources(
    server: FakeApiServer, client: ClusterClient
) -> None:
    server.faults.add(status=403)
    with pytest.raises(Forbidden) as caught:
        client.get("/api/v1/nodes/n1")
    assert 'apiGroups [""], resources ["nodes"], verbs ["get"]' in caught.value.cure
    with pytest.raises(Forbidden) as caught:
        client.get("/version")
    assert 'nonResourceURLs rule: verb "get" on "/version"' in caught.value.cure


def test_forbidden_by_an_admission_policy_is_no_matter_of_rbac(
    server: FakeApiServer, client: ClusterClient
) -> None:
    server.faults.add(status=403, message="ValidatingAdmissionPolicy 'slices' denied request: other node")
    with pytest.raises(Forbidden) as caught:
        create(client)
    assert "ValidatingAdmissionPolicy 'slices' denied request: other node" in caught.value.message
    assert "see the policy" in caught.value.cure


def test_a_missing_object_is_not_a_missing_api(client: ClusterClient) -> None:
    with pytest.raises(NotFound) as caught:
        client.get(f"{SLICES}/s1")
    assert 'resourceslices.resource.k8s.io "s1" not found' in caught.value.message
    assert caught.value.cure == "it does not exist (any more)"
    with pytest.raises(NotFound) as caught:
        client.list("/apis/resource.k8s.io/v1beta1/resourceslices")
    assert "404 page not found" in caught.value.message
    assert "is not served" in caught.value.cure


def test_invalid_repeats_the_causes(client: ClusterClient) -> None:
    with pytest.raises(Invalid) as caught:
        client.create(SLICES, {"metadata": {"name": "s1"}, "spec": {**SPEC, "devices": [{"name": "A"}]}})
    assert caught.value.status == 422
    assert "spec.devices[0].name: Invalid value" in caught.value.message


def test_conflict_when_it_exists_or_is_stale(client: ClusterClient) -> None:
    stored = create(client)
    with pytest.raises(Conflict, match="already exists"):
        create(client)
    changed = {**stored, "spec": {**SPEC, "pool": {**SPEC["pool"], "generation": 2}}}  # type: ignore[dict-item]
    client.replace(f"{SLICES}/s1", changed)
    with pytest.raises(Conflict, match="the object has been modified"):
        client.replace(f"{SLICES}/s1", changed)


def test_throttled_says_how_long_and_is_not_repeated_by_the_library(
    server: FakeApiServer, client: ClusterClient
) -> None:
    server.faults.add(status=429, retry_after=17)
    with pytest.raises(Throttled) as caught:
        client.get("/version")
    assert caught.value.retry_after == 17
    assert "try again in 17 s" in caught.value.cure
    assert len(server.requests) == 1


# ---------------------------------------------------------------------- silence and noise


def test_silence_is_unreachable_after_the_timeout(server: FakeApiServer, client: ClusterClient) -> None:
    server.pause()
    with pytest.raises(Unreachable, match=rf"GET {SLICES}/s1: no answer within 0\.3 s") as caught:
        client.get(f"{SLICES}/s1", timeout=0.3)
    assert f"check that {server.url} is the API server" in caught.value.cure
    assert caught.value.status == 0
    wait_until(lambda: len(server.requests) == 1, "the server to have read it")


def test_a_list_is_silent_as_a_whole(server: FakeApiServer, client: ClusterClient) -> None:
    server.faults.add(status="hang")
    with pytest.raises(Unreachable, match="no answer within"):
        client.list(SLICES, timeout=0.3)


def test_a_trickling_answer_ends_at_the_timeout(at: At, playback: Playback) -> None:
    pieces: list[bytes | float] = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"]
    for _ in range(30):
        pieces += [b" ", 0.1]
    with pytest.raises(Unreachable, match=r"GET /version: no answer within 0\.4 s"):
        at(playback(pieces)).get("/version", timeout=0.4)


def test_away_is_unreachable(server: FakeApiServer, client: ClusterClient) -> None:
    client.get("/version")
    server.stop()
    with pytest.raises(Unreachable, match="GET /version: no connection: Connection refused") as caught:
        client.get("/version")
    assert server.url in caught.value.cure
    with pytest.raises(Unreachable, match=f"POST {SLICES}: no connection"):
        create(client)


def test_a_name_that_does_not_resolve(at: At) -> None:
    with pytest.raises(Unreachable, match="the host name does not resolve") as caught:
        at("http://api.server.invalid:6443").get("/version")
    assert "api.server.invalid:6443" in caught.value.cure


def test_tls_to_a_server_that_speaks_none(server: FakeApiServer, at: At) -> None:
    with pytest.raises(Unreachable, match="GET /version: no TLS connection: SSLError") as caught:
        at(server.url.replace("http:", "https:")).get("/version")
    assert "check the CA certificate" in caught.value.cure


def test_half_an_answer(server: FakeApiServer, client: ClusterClient) -> None:
    server.faults.add(status="half")
    with pytest.raises(
        Unreachable, match=f"GET {SLICES}: the connection broke before the answer was complete"
    ):
        client.list(SLICES)


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"[1, 2]", b"", b"\xff\xfe{}", b'"text"'])
def test_an_answer_that_no_api_server_gives(at: At, playback: Playback, body: bytes) -> None:
    address = playback([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)])
    with pytest.raises(
        Unreachable, match=r"GET /version: the answer \(200\) is not what an API server"
    ) as caught:
        at(address).get("/version")
    assert f"check that {address} is a Kubernetes API server" in caught.value.cure


@pytest.mark.parametrize("body", [b"{}", b'{"metadata": {}, "items": {"a": 1}}', b'{"items": []}'])
def test_a_list_that_is_none(at: At, playback: Playback, body: bytes) -> None:
    address = playback([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)])
    with pytest.raises(Unreachable, match="is not what an API server"):
        at(address).list("/api/v1/nodes")


def test_noise_instead_of_http(at: At, playback: Playback) -> None:
    with pytest.raises(Unreachable, match="GET /version: the connection broke"):
        at(playback([b"SSH-2.0-OpenSSH_9.2\r\n"])).get("/version")


def test_a_refusal_in_plain_text_is_quoted(at: At, playback: Playback) -> None:
    address = playback([b"HTTP/1.1 503 Busy\r\nContent-Length: 15\r\n\r\nno  healthy\n\nup\n"])
    with pytest.raises(ServerError, match="answered 503: no healthy up"):
        at(address).get("/version")


# ---------------------------------------------------------------------- connections


def test_a_read_is_repeated_once_after_a_dropped_connection_a_write_is_not(
    server: FakeApiServer, client: ClusterClient
) -> None:
    server.faults.add(status="drop", count=1)
    assert client.get("/version")["major"] == "1"
    server.faults.add(status="drop", method="POST")
    with pytest.raises(Unreachable, match=f"POST {SLICES}: the connection broke"):
        create(client)
    assert [request.method for request in server.requests] == ["GET", "GET", "POST"]


def test_a_restarted_server_is_not_noticed(server: FakeApiServer, client: ClusterClient) -> None:
    client.get("/version")
    server.stop()
    server.start()
    assert create(client)["metadata"]["name"] == "s1"


def test_many_calls_at_once_share_one_pool(
    server: FakeApiServer, client: ClusterClient, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[str] = []
    for _ in range(2):
        server.forget_requests()
        server.pause()
        threads = [
            threading.Thread(target=lambda: answers.append(client.get("/version")["major"]))
            for _ in range(24)
        ]
        for thread in threads:
            thread.start()
        # All of them are on the wire before the first is answered: nothing on our side holds them back.
        server.wait_for(lambda: len(server.requests) == 24)
        server.resume()
        for thread in threads:
            thread.join()
    assert answers == ["1"] * 48
    with caplog.at_level(logging.WARNING):
        assert not [record for record in caplog.records if "pool is full" in record.message]


def test_close_ends_calls_in_flight_and_refuses_new_ones(
    server: FakeApiServer, client: ClusterClient
) -> None:
    errors: list[ClusterError] = []

    def ask() -> None:
        with pytest.raises(Unreachable) as caught:
            client.get("/version", timeout=60)
        errors.append(caught.value)

    server.pause()
    thread = threading.Thread(target=ask)
    thread.start()
    server.wait_for(lambda: server.requests)
    client.close()
    thread.join(timeout=60)
    assert not thread.is_alive()
    with pytest.raises(Unreachable) as caught:
        client.get("/version")
    assert {error.message for error in (*errors, caught.value)} == {"GET /version: this client was closed"}
    assert len(errors) == 1
    client.close()


def test_requests_are_counted_by_verb_and_code(server: FakeApiServer, at: At) -> None:
    ledger = Ledger()
    client = at(server.url, counts=ledger)
    create(client)
    client.get(f"{SLICES}/s1")
    with pytest.raises(NotFound):
        client.get(f"{SLICES}/s2")
    listed = client.list(SLICES)
    with client.watch(SLICES, resource_version=listed["metadata"]["resourceVersion"]):
        pass
    server.faults.add(status=503, method="DELETE")
    with pytest.raises(ServerError):
        client.delete(f"{SLICES}/s1")
    server.stop()
    with pytest.raises(Unreachable):
        client.list(SLICES)
    assert {key.removeprefix(API_REQUESTS.name): n for key, n in ledger.counts.items()} == {
        "{create,201}": 1,
        "{get,200}": 1,
        "{get,404}": 1,
        "{list,200}": 1,
        "{watch,200}": 1,
        "{delete,503}": 1,
        "{list,<error>}": 1,
    }
    assert len(ledger.values) == 7
    assert {key for key, _ in ledger.values} == {
        f"{API_SECONDS.name}{{{verb}}}" for verb in ("create", "get", "list", "watch", "delete")
    }


def test_a_status_that_http_does_not_know_makes_no_label_of_its_own(at: At, playback: Playback) -> None:
    ledger = Ledger()
    body = b"HTTP/1.1 799 What\r\nContent-Length: 0\r\n\r\n"
    client = at(playback([body]), counts=ledger)
    with pytest.raises(ClusterError):
        client.get(f"{SLICES}/s1")
    assert dict(ledger.counts) == {f"{API_REQUESTS.name}{{get,other}}": 1}
