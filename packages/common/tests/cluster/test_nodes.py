from __future__ import annotations

import pytest
from dra_common.cluster import ClusterClient, node_uid
from dra_common.errors import ClusterError, Forbidden, NotFound
from dra_common.testing.apiserver import FakeApiServer


def test_the_uid_of_a_node(server: FakeApiServer, client: ClusterClient) -> None:
    node = server.create("Node", {"metadata": {"name": "n1"}})
    assert node_uid(client, "n1") == node["metadata"]["uid"]


def test_a_node_that_the_server_does_not_know(client: ClusterClient) -> None:
    with pytest.raises(NotFound) as caught:
        node_uid(client, "n1")
    assert caught.value.message.startswith("node n1 is not known to the API server: ")
    assert "--node-name" in caught.value.cure


def test_other_errors_name_the_node(server: FakeApiServer, client: ClusterClient) -> None:
    server.faults.add(status=403)
    with pytest.raises(Forbidden, match="node n1: GET /api/v1/nodes/n1") as caught:
        node_uid(client, "n1")
    assert 'resources ["nodes"]' in caught.value.cure


def test_a_node_without_uid(server: FakeApiServer, client: ClusterClient) -> None:
    metadata = server.create("Node", {"metadata": {"name": "n1"}})["metadata"]
    nodes = server._resource("Node")
    server._store.put(nodes, ("", "n1"), {"metadata": {**metadata, "uid": ""}})
    with pytest.raises(ClusterError, match=r"node n1: .* no metadata\.uid"):
        node_uid(client, "n1")
