"""A second driver on the node, of our making too: it fails, it waits, it answers wrongly, it has a long name."""

from collections.abc import Iterator

import pytest
from harness.driver import Driver, exactly, template
from harness.gpu_pods import allocated, claim_of, nodes_of, seen
from harness.namespace import Namespace, pod_manifest
from harness.visitor import Visitor, turned
from harness.waiting import wait_for

BOTH = {"both": {"resourceClaimTemplateName": "both"}}
FAILED_PREPARE = "FailedPrepareDynamicResources"
STUCK = "the knob is stuck"
# The longest that the API server takes: no path of a socket with it would fit into a socket's address.
LONG = "k" * 63
OLD, NEW = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "12")
# The kubelet's pause before it tries a pod again grows.
TRIED_AGAIN = 150


@pytest.fixture
def visitor(gpus: Driver) -> Iterator[Visitor]:
    """Give the second driver, running, and without a claim."""
    with Visitor(gpus.cluster) as made:
        made.start()
        yield made


def of_both(visitor: Visitor) -> dict[str, object]:
    """Describe claims that have a GPU and a knob that is turned."""
    knob = exactly(name="knob", device_class=visitor.name)
    return template("both", exactly(), knob, config=[turned(visitor.name, 5)])


def has_both(gpus: Driver, namespace: Namespace, pod: str) -> str:
    """A pod has a GPU and a knob of its claim, and may open them; the claim's UID."""
    claim = claim_of(namespace, pod, "both")
    assert seen(namespace, pod) == nodes_of(gpus, *allocated(claim))
    assert namespace.execute(pod, "sh", "-c", "echo $KNOB; : < /dev/a || : < /dev/b") == "5\n"
    return str(claim["metadata"]["uid"])


def wait_kubelet_says(namespace: Namespace, what: str) -> None:
    """Wait until the kubelet's log has this of an unprepare for this namespace: there is no event of it."""
    log = namespace.cluster.control.log("kubelet")

    def said() -> bool:
        return any(
            what in line and namespace.name in line and "unprepare" in line
            for line in log.read_text().splitlines()
        )

    wait_for(said, f"the kubelet to say {what!r}", 60)


@pytest.mark.scenario(21, 53)
def test_of_two_drivers_one_fails_and_then_succeeds(
    gpus: Driver, visitor: Visitor, namespace: Namespace
) -> None:
    namespace.apply(of_both(visitor))
    with visitor.failing("apply:a", "apply:b"):
        namespace.create_pod(pod_manifest("pod", claims=BOTH))
        assert STUCK in namespace.wait_event("pod", FAILED_PREPARE)
        assert visitor.claims() == set()
    namespace.wait_ready("pod", TRIED_AGAIN)
    uid = has_both(gpus, namespace, "pod")
    assert visitor.claims() == set(gpus.records()) == {uid}
    with visitor.failing("revert:a", "revert:b"):
        namespace.cluster.api.delete(namespace.path("pods", "pod"))
        wait_kubelet_says(namespace, STUCK)
        assert "deletionTimestamp" in namespace.pod("pod")["metadata"]
        assert visitor.claims() == {uid}
    namespace.wait_gone("pod", TRIED_AGAIN)
    gpus.wait_idle()
    assert (visitor.claims(), visitor.specs()) == (set(), [])
    assert (visitor.level("a"), visitor.level("b")) == (1, 1)


@pytest.mark.scenario(53)
def test_the_kubelet_restarts_while_one_of_two_drivers_is_in_a_call(
    gpus: Driver, visitor: Visitor, namespace: Namespace
) -> None:
    namespace.apply(of_both(visitor))
    with visitor.holding():
        namespace.create_pod(pod_manifest("pod", claims=BOTH))
        visitor.wait_entered()
        gpus.cluster.control.kill("kubelet")
        gpus.cluster.control.start("kubelet")
    namespace.wait_ready("pod", TRIED_AGAIN)
    uid = has_both(gpus, namespace, "pod")
    assert visitor.claims() == set(gpus.records()) == {uid}
    namespace.delete_pod("pod")
    gpus.wait_idle()
    assert (visitor.claims(), visitor.specs()) == (set(), [])


@pytest.mark.scenario(36)
def test_the_kubelet_minds_an_answer_that_skips_claims(
    gpus: Driver, visitor: Visitor, namespace: Namespace
) -> None:
    other = template("knob", exactly(device_class=visitor.name), config=[turned(visitor.name, 5)])
    namespace.apply(of_both(visitor), other)
    two = BOTH | {"other": {"resourceClaimTemplateName": "knob"}}
    with visitor.skipping():
        namespace.create_pod(pod_manifest("pod", claims=two))
        assert "NodePrepareResources skipped 2 ResourceClaims" in namespace.wait_event("pod", FAILED_PREPARE)
    namespace.wait_ready("pod", TRIED_AGAIN)
    has_both(gpus, namespace, "pod")
    with visitor.skipping():
        namespace.cluster.api.delete(namespace.path("pods", "pod"))
        wait_kubelet_says(namespace, "NodeUnprepareResources skipped 2 ResourceClaims")
    namespace.wait_gone("pod", TRIED_AGAIN)
    gpus.wait_idle()
    assert (visitor.claims(), visitor.specs()) == (set(), [])


@pytest.mark.scenario(55)
def test_an_update_of_a_driver_with_the_longest_name(gpus: Driver, namespace: Namespace) -> None:
    with Visitor(gpus.cluster, LONG) as visitor:
        namespace.apply(template("both", exactly(device_class=LONG)))
        visitor.start(OLD)
        assert LONG not in "".join(visitor.sockets())
        namespace.run_pod(pod_manifest("steady", claims=BOTH))
        slices = visitor.slices()
        visitor.start(NEW)
        namespace.run_pod(pod_manifest("meanwhile", claims=BOTH))
        visitor.stop(OLD)
        for name in ("steady", "meanwhile"):
            assert namespace.execute(name, "sh", "-c", "echo $KNOB") == "1\n"
            namespace.delete_pod(name)
        namespace.run_pod(pod_manifest("later", claims=BOTH))
        assert len(visitor.claims()) == 1
        namespace.delete_pod("later")
        assert (visitor.claims(), visitor.specs()) == (set(), [])
        assert visitor.slices() == slices
    assert visitor.slices() == []
