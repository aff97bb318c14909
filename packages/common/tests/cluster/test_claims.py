from __future__ import annotations

import pytest
from dra_common.cluster import ClusterClaims, ClusterClient
from dra_common.deadline import Deadline
from dra_common.errors import ClusterError, Forbidden, NotFound, ServerError, Throttled, Unreachable
from dra_common.model import ClaimRef
from dra_common.testing.apiserver import FakeApiServer

REF = ClaimRef("default", "c", "u-1")
PATH = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/c"
PLENTY = 30.0


@pytest.fixture
def claims(server: FakeApiServer, client: ClusterClient) -> ClusterClaims:
    metadata = {"name": "c", "namespace": "default", "uid": "u-1"}
    server.create("ResourceClaim", {"metadata": metadata, "status": {"allocation": {}}})
    server.forget_requests()
    return ClusterClaims(client)


def test_reads_the_claim_with_its_status(server: FakeApiServer, claims: ClusterClaims) -> None:
    claim = claims.read(REF, Deadline.after(PLENTY))
    assert (claim["metadata"]["uid"], claim["status"]) == ("u-1", {"allocation": {}})
    assert [(request.method, request.path) for request in server.requests] == [("GET", PATH)]


def test_reads_whatever_uid_is_there(claims: ClusterClaims) -> None:
    assert claims.read(ClaimRef("default", "c", "other"), Deadline.after(PLENTY))["metadata"]["uid"] == "u-1"


def test_a_claim_that_is_gone(claims: ClusterClaims) -> None:
    with pytest.raises(NotFound) as caught:
        claims.read(ClaimRef("default", "d", "u-2"), Deadline.after(PLENTY))
    assert caught.value.message.startswith("claim default/d (uid u-2): GET ")
    assert caught.value.cure == "the claim was deleted; delete the pod that refers to it"


def test_an_api_that_is_not_served(server: FakeApiServer, claims: ClusterClaims) -> None:
    server.faults.add(status=404)
    with pytest.raises(NotFound) as caught:
        claims.read(REF, Deadline.after(PLENTY))
    assert "Kubernetes 1.34" in caught.value.cure


@pytest.mark.parametrize("mood", [500, 503, 429, "half", "garbage"])
def test_asks_once_more_when_that_may_help(server: FakeApiServer, claims: ClusterClaims, mood: int) -> None:
    fault = server.faults.add(status=mood, count=1)
    assert claims.read(REF, Deadline.after(PLENTY))["metadata"]["name"] == "c"
    assert (fault.hits, len(server.requests)) == (1, 2)


@pytest.mark.parametrize(("mood", "kind"), [(500, ServerError), ("half", Unreachable), (429, Throttled)])
def test_gives_up_after_the_second(
    server: FakeApiServer, claims: ClusterClaims, mood: int, kind: type[ClusterError]
) -> None:
    server.faults.add(status=mood)
    with pytest.raises(kind, match=r"claim default/c \(uid u-1\): GET "):
        claims.read(REF, Deadline.after(PLENTY))
    assert len(server.requests) == 2


def test_does_not_ask_again_what_will_not_change(server: FakeApiServer, claims: ClusterClaims) -> None:
    server.faults.add(status=403)
    with pytest.raises(Forbidden, match=r'claim default/c .*resources \["resourceclaims"\], verbs \["get"\]'):
        claims.read(REF, Deadline.after(PLENTY))
    assert len(server.requests) == 1


def test_does_not_wait_longer_than_the_deadline_allows(server: FakeApiServer, claims: ClusterClaims) -> None:
    server.faults.add(status=429, retry_after=20)
    with pytest.raises(Throttled) as caught:
        claims.read(REF, Deadline.after(PLENTY))
    assert caught.value.retry_after == 20
    assert len(server.requests) == 1


def test_silence_ends_with_the_deadline(server: FakeApiServer, claims: ClusterClaims) -> None:
    server.pause()
    with pytest.raises(Unreachable, match=r"claim default/c .*no answer within"):
        claims.read(REF, Deadline.after(0.3))
    assert len(server.requests) == 1


def test_names_cannot_leave_the_path(server: FakeApiServer, claims: ClusterClaims) -> None:
    with pytest.raises(NotFound):
        claims.read(ClaimRef("default", "../../../../../../version?x=#", "u"), Deadline.after(PLENTY))
    assert server.requests[0].path.endswith("/..%2F..%2F..%2F..%2F..%2F..%2Fversion%3Fx%3D%23")
