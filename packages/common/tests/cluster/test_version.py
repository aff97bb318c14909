from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from dra_common.cluster import ClusterClient, server_version
from dra_common.errors import ClusterError, Unreachable
from dra_common.testing.apiserver import FakeApiServer


@pytest.mark.parametrize("version", ["1.34", "1.37"])
def test_major_and_minor(dial: Callable[..., ClusterClient], version: str) -> None:
    with FakeApiServer(version=version) as server:
        found = server_version(dial(server))
    assert str(found) == version
    assert found == (1, int(version[2:]))
    assert found >= (1, 34)


@pytest.mark.parametrize(
    ("said", "expected"), [({"major": "1", "minor": "34+"}, (1, 34)), ({"major": 1, "minor": 35}, (1, 35))]
)
def test_vendors_add_a_plus(
    at: Callable[..., ClusterClient], playback: Any, said: dict[str, Any], expected: tuple[int, int]
) -> None:
    body = json.dumps(said).encode()
    address = playback([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)])
    assert server_version(at(address)) == expected


def test_what_is_no_version(at: Callable[..., ClusterClient], playback: Any) -> None:
    address = playback([b'HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{"major":"1","minor":1e'])
    with pytest.raises(Unreachable, match="is not what an API server"):
        server_version(at(address))
    address = playback([b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"major":"1"}'])
    with pytest.raises(ClusterError, match="the API server's minor version is None"):
        server_version(at(address))
