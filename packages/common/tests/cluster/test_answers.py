from __future__ import annotations

import json
import sys

import pytest
from dra_common.cluster.answers import Call, from_status, refused, reworded
from dra_common.errors import Gone, NotFound, ServerError, Throttled

CALL = Call("GET", "/api/v1/nodes/n1", "https://10.0.0.1:443")


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "5"}, b"", 5.0),
        ({"Retry-After": "0"}, b"", 0.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"", 1.0),
        ({}, json.dumps({"details": {"retryAfterSeconds": 4}}).encode(), 4.0),
        ({}, b"{}", 1.0),
        ({}, b"slow down", 1.0),
        ({}, b"[" * 100_000, 1.0),
        ({"Retry-After": "86400"}, b"", 60.0),
        ({"Retry-After": "9" * 400}, b"", 60.0),
        ({"Retry-After": "\u00b2"}, b"", 1.0),
        ({}, json.dumps({"details": {"retryAfterSeconds": 10**400}}).encode(), 1.0),
        ({}, json.dumps({"details": {"retryAfterSeconds": -5}}).encode(), 1.0),
        ({}, b'{"details": {"retryAfterSeconds": NaN}}', 1.0),
        ({}, b'{"details": {"retryAfterSeconds": Infinity}}', 60.0),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], body: bytes, seconds: float) -> None:
    error = refused(CALL, 429, headers, body)
    assert isinstance(error, Throttled)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("method", "path", "query", "verb"),
    [
        ("GET", "/api/v1/nodes/n1", {}, "get"),
        ("GET", "/api/v1/nodes", {}, "list"),
        ("GET", "/apis/resource.k8s.io/v1/namespaces/ns/resourceclaims", {}, "list"),
        ("GET", "/apis/resource.k8s.io/v1/namespaces/ns/resourceclaims/c", {}, "get"),
        ("GET", "/api/v1/nodes", {"watch": "1"}, "watch"),
        ("GET", "/version", {}, "get"),
        ("POST", "/api/v1/nodes", {}, "create"),
        ("PUT", "/api/v1/nodes/n1", {}, "update"),
        ("PATCH", "/api/v1/nodes/n1", {}, "patch"),
        ("DELETE", "/api/v1/nodes/n1", {}, "delete"),
    ],
)
def test_verbs_of_rbac(method: str, path: str, query: dict[str, str], verb: str) -> None:
    assert Call(method, path, "", query).verb == verb


def test_a_long_text_is_cut() -> None:
    assert len(refused(CALL, 500, {}, b"x" * 10_000).message) < 500


def test_a_message_is_one_line_however_many_causes_it_lists() -> None:
    status = {
        "message": "invalid:\n" + "\n".join(f"spec.devices[{index}].name: bad" for index in range(1000))
    }
    message = refused(CALL, 422, {}, json.dumps(status).encode()).message
    assert "spec.devices[0].name: bad spec.devices[1].name" in message
    assert "\n" not in message
    assert len(message) < 2200


def test_json_without_end_is_text_like_any_other() -> None:
    """Python's parser gives up on it with an error of its own, which would end a thread."""
    error = refused(CALL, 503, {}, b'{"message":' * 100_000)
    assert type(error) is ServerError
    assert '{"message":{"message":' in error.message


def test_a_deep_status_in_a_watch_says_what_it_says() -> None:
    deep: object = None
    for _ in range(sys.getrecursionlimit() * 2):
        deep = [deep]
    assert type(from_status(CALL, {"code": 410, "message": "too old", "details": deep})) is Gone


def test_a_status_without_a_code_is_a_server_error() -> None:
    assert type(from_status(CALL, {"message": "?"})) is ServerError
    assert type(from_status(CALL, {"code": 410})) is Gone


def test_rewording_keeps_class_status_and_numbers() -> None:
    error = Throttled("GET /x: busy", cure="wait", retry_after=9)
    named = reworded(error, "claim a/b")
    assert (type(named), named.retry_after, named.status) == (Throttled, 9, 429)
    assert str(named) == "claim a/b: GET /x: busy (wait)"
    assert str(reworded(NotFound("gone", cure="old"), "node n", "new")) == "node n: gone (new)"
    assert str(error) == "GET /x: busy (wait)"


GET_CLAIM = Call("GET", "/apis/resource.k8s.io/v1/namespaces/ns/resourceclaims/c", "https://10.0.0.1:443")
GONE = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "message": 'resourceclaims.resource.k8s.io "c" not found',
    "reason": "NotFound",
    "details": {"name": "c", "group": "resource.k8s.io", "kind": "resourceclaims"},
    "code": 404,
}


@pytest.mark.parametrize(
    ("body", "definite"),
    [
        (json.dumps(GONE), True),
        (json.dumps({**GONE, "details": {"name": "other", "kind": "resourceclaims"}}), False),
        (json.dumps({**GONE, "details": {"name": "c", "kind": "pods"}}), False),
        (json.dumps({**GONE, "details": {}}), False),
        (json.dumps({**GONE, "details": {"name": 7, "kind": "resourceclaims"}}), False),
        (json.dumps({**GONE, "reason": "Unknown"}), False),
        (json.dumps({"message": "the server could not find the requested resource"}), False),
        ("404 page not found", False),
        ("<html>not found</html>", False),
        ("null", False),
        ("[" * 100_000, False),
        ("", False),
    ],
)
def test_only_the_servers_own_word_on_the_object_is_definite(body: str, definite: bool) -> None:  # noqa: FBT001
    error = refused(GET_CLAIM, 404, {}, body.encode())
    assert isinstance(error, NotFound)
    assert error.definite is definite
    assert reworded(error, "claim").definite is definite
