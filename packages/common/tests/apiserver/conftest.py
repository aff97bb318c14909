"""A fake API server, and plain HTTP to talk to it: what it says is judged on the wire."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from dra_common.testing.apiserver import FakeApiServer

SLICES = "/apis/resource.k8s.io/v1/resourceslices"


class Reply(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


class Http:
    """One keep-alive connection."""

    def __init__(self, server: FakeApiServer, timeout: float = 60.0) -> None:
        host, _, port = server.url.removeprefix("http://").partition(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=timeout)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        self.send(method, path, body, **headers)
        response = self.connection.getresponse()
        text = response.read().decode()
        is_json = response.headers["Content-Type"] == "application/json"
        return Reply(response.status, json.loads(text) if is_json else text, dict(response.headers))

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        payload = json.dumps(body) if body is not None else None
        self.connection.request(method, path, payload, {"Content-Type": "application/json", **headers})

    def lines(self, path: str) -> Iterator[dict[str, Any]]:
        """Open a watch now; its lines come as they are asked for."""
        self.send("GET", path)
        response = self.connection.getresponse()
        assert response.status == 200, response.read()
        return (json.loads(line) for line in iter(response.readline, b""))

    def close(self) -> None:
        self.connection.close()


def spec(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "driver": "gpu.intel.com",
        "nodeName": "n1",
        "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 1},
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer() as running:
        yield running


@pytest.fixture
def dial() -> Iterator[Callable[[FakeApiServer], Http]]:
    """Open connections that are closed after the test."""
    opened: list[Http] = []

    def connect(server: FakeApiServer) -> Http:
        opened.append(Http(server))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def call(server: FakeApiServer, dial: Callable[[FakeApiServer], Http]) -> Http:
    return dial(server)


@pytest.fixture
def slice_spec() -> Callable[..., dict[str, Any]]:
    """Build a valid spec with changes; None leaves a field out."""
    return spec


@pytest.fixture
def post_slice(call: Http) -> Callable[..., Reply]:
    """POST a slice of this spec."""

    def post(name: str = "s1", **changes: Any) -> Reply:
        return call("POST", SLICES, {"metadata": {"name": name}, "spec": spec(**changes)})

    return post
