"""Events as the fake API server checks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dra_common.cluster import ClusterClient
from dra_common.errors import Invalid
from dra_common.testing.apiserver import FakeApiServer
from kubernetes.client import Configuration

PATH = "/apis/events.k8s.io/v1/namespaces/{}/events"


@pytest.fixture
def client() -> Iterator[ClusterClient]:
    with FakeApiServer() as api:
        configuration = Configuration()
        configuration.host = api.url
        client = ClusterClient(configuration)
        yield client
        client.close()


def event(**changes: Any) -> dict[str, Any]:
    good = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "node-1.1"},
        "eventTime": "2026-01-02T03:04:05.000006Z",
        "type": "Warning",
        "reason": "Broken",
        "action": "Report",
        "note": "it broke",
        "regarding": {"apiVersion": "v1", "kind": "Node", "name": "node-1"},
        "reportingController": "x.example.com",
        "reportingInstance": "node-1",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def test_a_good_event_is_stored(client: ClusterClient) -> None:
    for namespace in ("default", "kube-system"):
        stored = client.create(PATH.format(namespace), event(strange="field"))
        assert stored["note"] == "it broke"
        assert "strange" not in stored


@pytest.mark.parametrize(
    ("changes", "namespace", "complaint"),
    [
        ({"eventTime": None}, "default", "eventTime: Required"),
        ({"reason": None}, "default", "reason: Required"),
        ({"action": ""}, "default", "action: Required"),
        ({"reportingController": None}, "default", "reportingController: Required"),
        ({"reportingController": "a b"}, "default", "reportingController: Invalid"),
        ({"reportingInstance": "x" * 129}, "default", "reportingInstance: Invalid"),
        ({"type": "Bad"}, "default", "type: Invalid"),
        ({"note": "x" * 1025}, "default", "note: Invalid"),
        ({"eventTime": "2026-01-02T03:04:05Z"}, "default", "parsing time"),
        (
            {"series": {"count": 1, "lastObservedTime": "2026-01-02T03:04:05.000006Z"}},
            "default",
            "at least 2",
        ),
        ({"series": {"count": 2}}, "default", "series.lastObservedTime: Required"),
        ({}, "elsewhere", "does not match event.namespace"),
    ],
)
def test_bad_events_are_refused(
    client: ClusterClient, changes: dict[str, Any], namespace: str, complaint: str
) -> None:
    with pytest.raises(Invalid, match=complaint):
        client.create(PATH.format(namespace), event(**changes))


def test_only_the_series_may_change(client: ClusterClient) -> None:
    path = PATH.format("default")
    stored = client.create(path, event())
    series = {"count": 2, "lastObservedTime": "2026-01-02T03:05:05.000006Z"}
    stored = client.replace(f"{path}/node-1.1", {**stored, "series": series})
    assert stored["series"]["count"] == 2
    with pytest.raises(Invalid, match=r"note: Invalid value: .*field is immutable"):
        client.replace(f"{path}/node-1.1", {**stored, "note": "another"})
