"""The API server refuses, is silent, or is away: the real driver says so, changes nothing, stays up, and recovers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import dropwhile

import pytest
from dra_common.model import ClaimRef
from dra_common.testing.kubelet import FakeKubelet
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import is_alive, json_lines, lines, names, refusal
from gpu_nodes import NAME, NODE, allocated, machine_only, running

CLAIM_GETS = "/resourceclaims/"
SLICES = "/resourceslices"


@pytest.fixture(scope="module")
def shared() -> Iterator[SimulatedNode]:
    with running("two-gpus", "--logging-format=json") as node:
        yield node


@pytest.fixture
def node(shared: SimulatedNode) -> Iterator[SimulatedNode]:
    """The shared node; each test leaves it well, published and without claims."""
    yield shared
    shared.api.faults.clear()
    shared.api.resume()
    shared.wait_published()
    assert is_alive(shared)
    assert shared.leftovers() == []
    for claim in shared.api.objects("ResourceClaim"):
        shared.api.delete("ResourceClaim", claim["metadata"]["name"], claim["metadata"]["namespace"])


# --------------------------------------------------------------------------- while a claim is prepared


@pytest.mark.scenario(23)
@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (401, "ServiceAccount token"),
        (403, "get"),
        (404, "this API group version is not served"),
        (409, "read the object again"),
        (422, "Kubernetes 1.34 or newer"),
        (429, "overloaded"),
        (500, "API server's log"),
    ],
)
def test_a_refused_get_fails_the_claim_changes_nothing_and_passes(
    node: SimulatedNode, status: int, cure: str
) -> None:
    ref = allocated(node, f"during-{status}", names(node)[0])
    fault = node.api.faults.add(status=status, method="GET", path=CLAIM_GETS, retry_after=1)
    error = refusal(node, ref)
    assert fault.hits
    for part in (f"claim {ref}", str(status), cure):
        assert part in error
    assert "\n" not in error
    assert node.leftovers() == []
    node.api.faults.clear()
    assert node.prepare(ref)[0].device == names(node)[0]
    node.unprepare(ref)


def test_one_bad_answer_of_an_overloaded_server_does_not_fail_the_pod(node: SimulatedNode) -> None:
    for status in (429, 500, 503):
        ref = allocated(node, f"once-{status}", names(node)[0])
        fault = node.api.faults.add(status=status, method="GET", path=CLAIM_GETS, count=1, retry_after=1)
        assert node.prepare(ref)
        assert fault.hits == 1
        node.unprepare(ref)


def test_garbage_instead_of_a_claim_is_told_apart_from_a_bug(node: SimulatedNode) -> None:
    ref = allocated(node, "garbage", names(node)[0])
    for mood in ("garbage", "half", "drop"):
        node.api.faults.add(status=mood, method="GET", path=CLAIM_GETS)
        error = refusal(node, ref)
        assert f"claim {ref}" in error
        assert "internal error" not in error
        assert node.leftovers() == []
        node.api.faults.clear()
    assert node.prepare(ref)
    node.unprepare(ref)


def test_a_silent_server_is_given_up_before_the_kubelet_does(node: SimulatedNode) -> None:
    ref, prepared = (
        allocated(node, name, device) for name, device in zip(("new", "old"), names(node), strict=True)
    )
    answer = node.prepare(prepared)
    # A kubelet with less patience than the real one's 45 s.
    with FakeKubelet(node.registry, call_timeout=12.0) as impatient:
        impatient.wait_registered(NAME)
        node.api.pause()
        answers = impatient.prepare([ref, prepared], NAME)
        node.api.resume()
    assert f"claim {ref}" in answers[ref.uid].error
    assert "no answer" in answers[ref.uid].error
    # The other claim of the call needs no API server.
    assert answers[prepared.uid].devices == answer
    assert [name for name in node.leftovers() if ref.uid in name] == []
    assert node.prepare(ref)
    for each in (ref, prepared):
        node.unprepare(each)


@pytest.mark.scenario(23, 44)
def test_without_an_api_server_unprepare_works_and_prepare_says_why(node: SimulatedNode) -> None:
    ref, other = (
        allocated(node, name, device) for name, device in zip(("old", "new"), names(node), strict=True)
    )
    node.prepare(ref)
    address = node.api.url
    node.api.stop()
    try:
        error = refusal(node, other)
        node.unprepare(ref)
        assert node.leftovers() == []
    finally:
        node.api.start()
    assert f"claim {other}" in error
    assert address in error
    assert "refused" in error
    assert node.prepare(other)
    node.unprepare(other)


# --------------------------------------------------------------------------- while slices are published


def publishing_lines(node: SimulatedNode, since: int) -> list[tuple[str, str]]:
    """Level and text of what was said about publishing."""
    about = ("publish", "ResourceSlice")
    return [
        (line["level"], line["msg"])
        for line in json_lines(node, since)
        if any(word in line["msg"] for word in about)
    ]


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (401, "ServiceAccount"),
        (403, "RBAC"),
        (404, ""),
        (409, ""),
        (429, "overloaded"),
        (500, "API server's log"),
    ],
)
def test_trouble_while_publishing_is_said_once_and_passes(
    node: SimulatedNode, status: int, cure: str
) -> None:
    since = len(lines(node))
    fault = node.api.faults.add(status=status, method="POST", path=SLICES, retry_after=1)
    wipe(node)
    wait_until(lambda: fault.hits >= 3 and since_trouble(node, since), "three tries and the complaint")
    assert not node.slices()
    assert is_alive(node)
    node.api.faults.clear()
    node.wait_published()
    wait_until(lambda: since_trouble(node, since)[1:], "the good news")
    (level, error), *rest = since_trouble(node, since)
    assert level == "error"
    for part in (NODE, str(status), cure):
        assert part in error
    ((level, news),) = rest
    assert level == "info"
    assert news.startswith("published: 2 devices")


def since_trouble(node: SimulatedNode, since: int) -> list[tuple[str, str]]:
    """What was said about publishing from the first complaint on; news of the test before may come late."""
    return list(dropwhile(lambda line: line[0] == "info", publishing_lines(node, since)))


def wipe(node: SimulatedNode) -> None:
    """Delete the slices as a kubelet does when it starts, without one."""
    for item in node.slices():
        node.api.delete("ResourceSlice", item["metadata"]["name"])


def test_slices_that_the_server_refuses_are_named_and_claims_still_work(node: SimulatedNode) -> None:
    since = len(lines(node))
    device = names(node)[0]
    fault = node.api.faults.add(status=422, method="POST", path=SLICES, message="spec.devices[0]: too pretty")
    wipe(node)
    wait_until(lambda: any(level == "error" for level, _ in publishing_lines(node, since)), "the error")
    (error,) = [text for level, text in publishing_lines(node, since) if level == "error"]
    assert "too pretty" in error
    ref = allocated(node, "meanwhile", device)
    assert node.prepare(ref)
    node.unprepare(ref)
    assert fault.hits == 1
    # What the server refuses is not sent again for minutes; a new content is tried at once, see test_run_hotplug.
    node.api.faults.clear()
    assert node.stop_driver() == 0
    node.start_driver("--logging-format=json")
    node.wait_published()


def test_an_outage_is_survived_and_what_changed_meanwhile_is_put_right(node: SimulatedNode) -> None:
    before = names(node)
    since = len(lines(node))
    node.api.stop()
    wipe(node)  # in its store, past the closed port
    node.wait(lambda: any(level in {"error", "warning"} for level, _ in said(node, since)), "a line")
    node.api.start()
    node.wait_published()
    assert names(node) == before
    assert is_alive(node)
    loud = [text for level, text in said(node, since) if level in {"error", "warning"}]
    assert len(loud) == len(set(loud)), loud


def said(node: SimulatedNode, since: int) -> list[tuple[str, str]]:
    return [(line["level"], line["msg"]) for line in json_lines(node, since)]


def test_dropped_watches_and_expired_versions_are_no_trouble(node: SimulatedNode) -> None:
    since = len(lines(node))
    for _ in range(3):
        wait_until(node.api.drop_watches, "a watch to cut")
        node.api.expire_history()
        asked = watches_asked(node)
        wait_until(lambda: watches_asked(node) > asked, "the next watch")  # noqa: B023
    wait_until(lambda: node.api.watches, "the watch")
    wipe(node)
    node.wait_published()
    loud = [text for level, text in said(node, since) if level in {"error", "warning"}]
    # One line for three losses, and none for the expiry.
    assert all("watch of ResourceSlices is lost" in text for text in loud)
    assert len(loud) <= 1, loud


def watches_asked(node: SimulatedNode) -> int:
    return sum(request.is_watch for request in node.api.requests)


def test_a_silent_server_delays_publishing_and_nothing_else(node: SimulatedNode) -> None:
    ref = allocated(node, "running", names(node)[0])
    answer = node.prepare(ref)
    node.api.pause()
    wipe(node)
    assert node.prepare(ref) == answer
    node.unprepare(ref)
    assert not node.slices()
    node.api.resume()
    assert len(node.wait_published()) == 2


def test_a_node_that_is_not_known_yet_is_waited_for() -> None:
    with machine_only("two-gpus") as node:
        node.api.delete("Node", NODE)
        node.start_driver()
        wait_until(lambda: "ERROR" in node.log.read_text(), "the complaint")
        (line,) = [line for line in lines(node) if " ERROR " in line]
        for part in (f"node {NODE} is not known to the API server", "--node-name", "NODE_NAME"):
            assert part in line
        # Registered and serving all the same.
        ref = allocated(node, "early", "0000-9a-00-0-0xe211")
        assert node.prepare(ref)
        node.unprepare(ref)
        assert not node.slices()
        node.api.create("Node", {"metadata": {"name": NODE}})
        node.wait_published()
        (owner,) = node.slices()[0]["metadata"]["ownerReferences"]
        stored = node.api.get("Node", NODE)
        assert stored is not None
        assert owner["uid"] == stored["metadata"]["uid"]
        assert len([line for line in lines(node) if " ERROR " in line]) == 1


def test_an_api_server_that_is_away_at_the_start_is_waited_for() -> None:
    with machine_only("two-gpus") as node:
        node.api.stop()
        node.start_driver()
        wait_until(lambda: "tells its version" in node.log.read_text(), "the complaint")
        node.unprepare(ClaimRef("default", "never", "0" * 36))
        assert is_alive(node)
        node.api.start()
        assert len(node.wait_published()) == 2
        (line,) = [line for line in lines(node) if " WARNING " in line or " ERROR " in line]
        assert node.api.url in line
