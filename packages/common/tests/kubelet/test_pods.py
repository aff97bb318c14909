"""What the fake kubelet's pods send, and what they refuse before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from dra_common.errors import ClaimError
from dra_common.model import ClaimRef
from dra_common.testing.kubelet import FakeKubelet, KubeletNode, MemoryClaims, Pod, PodFailed, Pods


class Stored:
    """Claims of the API server."""

    def __init__(self, driver: str) -> None:
        self._driver = driver
        self.claims: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, name: str, *pods: str, uid: str = "", drivers: Sequence[str] = ()) -> dict[str, Any]:
        results = [{"driver": driver, "device": "x"} for driver in (drivers or (self._driver,))]
        claim: dict[str, Any] = {
            "metadata": {"name": name, "uid": uid or f"uid-{name}"},
            "status": {
                "allocation": {"devices": {"results": results}},
                "reservedFor": [{"resource": "pods", "name": pod, "uid": pod} for pod in pods],
            },
        }
        self.claims["default", name] = claim
        return claim

    def read(self, namespace: str, name: str) -> dict[str, Any] | None:
        return self.claims.get((namespace, name))


@pytest.fixture
def stored(node: KubeletNode) -> Stored:
    return Stored(node.driver)


@pytest.fixture
def pods(node: KubeletNode, kubelet: FakeKubelet, stored: Stored) -> Pods:
    node.start_plugin()
    kubelet.wait_registered(node.driver, timeout=60)
    return Pods(kubelet, stored.read)


def test_a_pod_is_refused_before_anything_is_sent(pods: Pods, stored: Stored, claims: MemoryClaims) -> None:
    stored.add("fine", "pod")
    stored.add("others", "somebody")
    stored.add("pending", "pod")["status"].pop("allocation")
    stored.add("foreign", "pod", drivers=["other.example.com"])
    for name, why in {
        "missing": "failed to fetch ResourceClaim missing referenced by pod pod: not found",
        "others": r"pod pod \(pod\) is not allowed to use ResourceClaim others \(uid-others\)",
        "pending": "ResourceClaim pending is not allocated",
        "foreign": r"DRA driver other\.example\.com is not registered",
    }.items():
        with pytest.raises(PodFailed, match=f"^{why}$"):
            pods.start(Pod("pod", "pod", ("fine", name)))
    assert claims.calls == {}


def test_one_call_brings_all_claims_of_a_pod_but_those_prepared_before(
    pods: Pods, stored: Stored, claims: MemoryClaims
) -> None:
    for name in ("one", "two"):
        stored.add(name, "first", "second")
    pods.start(Pod("first", "first", ("one",)))
    pods.start(Pod("second", "second", ("one", "two")))
    assert claims.calls == {("prepare", "uid-one"): 1, ("prepare", "uid-two"): 1}
    assert pods.devices("second", "one") == pods.devices("first", "one") == ["intel.com/gpu=uid-one"]
    assert pods.devices("first", "two") == []
    pods.stop("second")
    assert claims.prepared == {"uid-one"}
    pods.stop("second")
    pods.stop("first")
    assert claims.prepared == frozenset()
    assert claims.calls["unprepare", "uid-one"] == claims.calls["unprepare", "uid-two"] == 1


def test_after_a_restart_what_was_prepared_is_asked_for_again(
    pods: Pods, node: KubeletNode, kubelet: FakeKubelet, stored: Stored, claims: MemoryClaims
) -> None:
    stored.add("one", "pod")
    pod = Pod("pod", "pod", ("one",))
    pods.start(pod)
    pods.start(pod)
    assert claims.calls == {("prepare", "uid-one"): 1}
    pods.restart()
    kubelet.wait_registered(node.driver, timeout=60)
    pods.start(pod)
    assert claims.calls == {("prepare", "uid-one"): 2}


def test_what_failed_is_tried_again_until_it_succeeds(
    pods: Pods, stored: Stored, claims: MemoryClaims
) -> None:
    broken = [True]

    def fail(ref: ClaimRef, _deadline: object) -> None:
        if broken:
            raise ClaimError("not now")

    claims.before = fail
    stored.add("one", "pod")
    start, stop = partial(pods.start, Pod("pod", "pod", ("one",))), partial(pods.stop, "pod")
    for action, step in ((start, "Prepare"), (stop, "Unprepare")):
        broken[:] = [True]
        with pytest.raises(PodFailed, match=f"^Node{step}Resources failed for ResourceClaim one: not now$"):
            action()
        broken.clear()
        action()
    assert claims.prepared == frozenset()
    assert pods.devices("pod", "one") == []


def test_a_new_claim_waits_until_the_old_one_of_its_name_is_gone(pods: Pods, stored: Stored) -> None:
    stored.add("same", "old-pod", uid="uid-old")
    pods.start(Pod("old", "old-pod", ("same",)))
    stored.add("same", "new-pod", uid="uid-new")
    new = Pod("new", "new-pod", ("same",))
    why = "old ResourceClaim with same name same and different UID uid-old still exists (new claim has UID uid-new)"
    with pytest.raises(PodFailed) as refused:
        pods.start(new)
    assert str(refused.value) == why
    pods.reconcile(active=["new-pod"])
    pods.start(new)
    assert pods.devices("new-pod", "same") == ["intel.com/gpu=uid-new"]
