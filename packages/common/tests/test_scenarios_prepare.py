"""Scenarios 16 to 40: NodePrepareResources as a kubelet sends it, with the texts that it shows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dra_common.errors import Unreachable
from dra_common.model import Phase, PreparedDevice
from dra_common.testing.bench import NODE, config
from dra_common.testing.cdi import resolve
from dra_common.testing.knobs import DRIVER, Gate
from dra_common.testing.kubelet import KubeletCallError, Pod, PodFailed
from scenario_world import World, world

SHARES = ("11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000")


@pytest.fixture
def node(short_tmp: Path) -> Iterator[World]:
    with world(short_tmp) as found:
        yield found


@pytest.mark.scenario(16, 41)
def test_from_a_claim_to_what_a_container_gets_and_back(node: World) -> None:
    ref = node.claim("one", "a", config=[config(5)])
    assert node.prepare(ref) == (PreparedDevice(("r",), NODE, "a", ("example.com/knob=uid-one-a",)),)
    edits = resolve(["example.com/knob=uid-one-a"], [node.bench.root / "cdi"])
    assert edits.env == {"KNOB": "5"}
    assert node.unprepare(ref) == ""
    assert (node.levels("a"), node.bench.leftovers()) == ("1", [])


@pytest.mark.scenario(17)
def test_the_kubelet_asks_again_and_nothing_happens_twice(node: World) -> None:
    ref = node.claim("one", "a", config=[config(5)])
    first = node.prepare(ref)
    before = node.bench.leftovers()
    node.pods.restart()
    node.kubelet.wait_registered(DRIVER, timeout=60)
    assert [node.prepare(ref) for _ in range(3)] == [first] * 3
    assert node.bench.driver.applied == ["a"]
    assert node.bench.leftovers() == before


@pytest.mark.scenario(18)
@pytest.mark.parametrize("lost_in", ["one life", "a restart", "a reboot"])
def test_the_same_answer_is_given_again_and_lost_files_are_made_again(node: World, lost_in: str) -> None:
    ref = node.claim("one", "a", config=[config(5)])
    first = node.prepare(ref)
    if lost_in == "a reboot":
        node.bench.reboot()
        assert node.levels("a") == "1"
    else:
        (node.bench.root / "cdi/example.com-knob_uid-one.json").unlink()
    if lost_in != "one life":
        node.restart_driver()
    assert node.prepare(ref) == first
    assert resolve(first[0].cdi_ids, [node.bench.root / "cdi"]).env == {"KNOB": "5"}
    assert node.levels("a") == "5"


@pytest.mark.scenario(19)
def test_a_pod_that_came_while_the_kubelet_was_down_is_prepared_after_its_start(node: World) -> None:
    node.kubelet.stop()
    node.claim("one", "a", pods=["pod-1"])
    with pytest.raises(PodFailed, match=f"^DRA driver {DRIVER} is not registered$"):
        node.started("pod-1", "one")
    assert node.bench.leftovers() == []
    node.kubelet.start()
    node.kubelet.wait_registered(DRIVER, timeout=60)
    node.started("pod-1", "one")
    assert node.pods.devices("pod-1", "one") == ["example.com/knob=uid-one-a"]


@pytest.mark.scenario(20)
def test_a_prepare_that_outlasts_the_deadline_is_finished_by_the_retry(
    short_tmp: Path, impatient: float
) -> None:
    with world(short_tmp, call_timeout=impatient) as node:
        node.bench.driver.gate = gate = Gate()
        ref = node.claim("one", "a", config=[config(5)])
        error = node.refusal(ref)
        assert error == f"claim {ref}: not finished in time; it goes on, and the kubelet asks again"
        gate.open()
        while (answer := node.kubelet.prepare([ref])[ref.uid]).error:
            assert "not finished in time" in answer.error, (
                "the first call holds the claim's lock until it ends"
            )
        assert [device.device for device in answer.devices] == ["a"]
        assert node.bench.driver.applied == ["a"]
        assert node.unprepare(ref) == ""
        assert (node.levels("a"), node.bench.leftovers()) == ("1", [])


@pytest.mark.scenario(21)
def test_a_prepare_that_fails_says_device_and_cure_and_succeeds_when_the_cause_is_gone(node: World) -> None:
    ref = node.claim("one", "a", "b", config=[config(5)])
    node.bench.driver.broken = {"apply:b"}
    assert node.refusal(ref) == "device b: apply: the knob is stuck (oil it)"
    assert (node.levels("ab"), node.bench.leftovers()) == ("1 1", [])
    node.bench.driver.broken = set()
    assert [device.device for device in node.prepare(ref)] == ["a", "b"]


@pytest.mark.scenario(22)
def test_a_kubelet_that_restarts_during_a_prepare_waits_its_turn_and_gets_the_same(node: World) -> None:
    node.bench.driver.gate = gate = Gate()
    ref = node.claim("one", "a", config=[config(5)])
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(node.kubelet.prepare, [ref])
        assert gate.entered.acquire(timeout=60)
        node.kubelet.restart()
        with pytest.raises(KubeletCallError):
            first.result()
        node.kubelet.wait_registered(DRIVER, timeout=60)
        second = pool.submit(node.prepare, ref)
        gate.open()
        (device,) = second.result()
    assert device.device == "a"
    assert node.bench.driver.applied == ["a"]
    assert node.prepare(ref) == (device,)


@pytest.mark.scenario(23)
def test_without_an_api_server_a_new_claim_fails_and_nothing_changes(node: World) -> None:
    known, fresh = node.claim("known", "a"), node.claim("fresh", "b", config=[config(5)])
    answer = node.prepare(known)
    before = node.bench.leftovers()
    node.bench.claims.down = Unreachable("the API server is away", cure="bring it back")
    assert node.refusal(fresh) == "the API server is away (bring it back)"
    assert node.bench.leftovers() == before
    assert node.levels("b") == "1"
    assert node.prepare(known) == answer
    node.bench.claims.down = None
    assert node.prepare(fresh)


@pytest.mark.scenario(24, 25, 26)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "claim default/one not found"),
        (
            {"metadata": {"uid": "uid-two"}},
            (
                "claim default/one (uid uid-one): it was replaced, the API server now has UID uid-two"
                " (delete the pod; a new one gets the new claim)"
            ),
        ),
        (
            {"status": {"reservedFor": []}},
            (
                "claim default/one (uid uid-one): it is not allocated"
                " (the scheduler allocates it when its pod is placed; it is tried again)"
            ),
        ),
    ],
    ids=["gone", "replaced", "not allocated"],
)
def test_a_claim_that_is_not_the_allocated_one(node: World, change: dict[str, Any] | None, says: str) -> None:
    ref = node.claim("one", "a")
    if change is None:
        node.bench.claims.objects.clear()
    else:
        node.stored(ref).update(change)
    assert node.refusal(ref) == says
    assert node.bench.leftovers() == []


@pytest.mark.scenario(27)
def test_of_several_drivers_only_our_results_are_prepared(node: World) -> None:
    foreign = {"driver": "other.example.com", "pool": "elsewhere", "device": "x", "request": "net"}
    both, theirs = node.claim("both", foreign, "a"), node.claim("theirs", foreign)
    assert [device.device for device in node.prepare(both)] == ["a"]
    assert node.prepare(theirs) == ()
    assert node.bench.holds.holders() == {("a", None): "uid-both"}
    assert node.kubelet.unprepare([both, theirs]) == {both.uid: "", theirs.uid: ""}
    assert node.bench.leftovers() == []


@pytest.mark.scenario(28, 30)
@pytest.mark.parametrize(
    ("result", "says"),
    [
        (
            {"device": "zz"},
            "claim default/bad (uid uid-bad): device zz is not on this node",
        ),
        (
            {"device": "a", "pool": "node-2"},
            (
                "claim default/bad (uid uid-bad): device a is in pool node-2, this node has pool node-1 only"
                " (check that --node-name is the node's name, then re-create the claim)"
            ),
        ),
    ],
    ids=["device", "pool"],
)
def test_of_two_claims_in_one_call_the_bad_one_fails_alone(
    node: World, result: dict[str, str], says: str
) -> None:
    good, bad = node.claim("good", "b"), node.claim("bad", "c", result)
    answers = node.kubelet.prepare([bad, good])
    assert answers[bad.uid].error.startswith(says)
    assert [device.device for device in answers[good.uid].devices] == ["b"]
    assert not [name for name in node.bench.leftovers() if "bad" in name]


@pytest.mark.scenario(29)
def test_a_device_in_use_is_refused_with_the_holders_name_but_for_administrators_and_shares(
    node: World,
) -> None:
    holder = node.claim("holder", "a", config=[config(3)])
    answer = node.prepare(holder)
    thief = node.claim("thief", "a", config=[config(7)])
    assert node.refusal(thief) == (
        "claim default/thief (uid uid-thief): device a is held by claim default/holder (uid uid-holder)"
        " (unprepare that claim first: delete its pods, or `claims` on this node)"
    )
    assert node.levels("a") == "3"
    assert node.prepare(node.claim("admin", {"device": "a", "adminAccess": True}))
    for number, share in enumerate(SHARES):
        assert node.prepare(node.claim(f"share-{number}", {"device": "b", "shareID": share}))
    assert node.prepare(holder) == answer


@pytest.mark.scenario(31)
def test_opaque_configuration_from_class_and_claim(node: World) -> None:
    foreign = {"source": "FromClaim", "opaque": {"driver": "other.example.com", "parameters": {"kind": "?"}}}
    entries = [
        config(2, source="FromClass", unsafe=True),
        foreign,
        config(6),
        config(8, requests=["main/y"]),
        config(9, requests=["stranger"]),
    ]
    x, y = ({"device": name, "request": f"main/{sub}"} for name, sub in (("a", "x"), ("b", "y")))
    assert len(node.prepare(node.claim("one", x, y, "c", config=entries))) == 3
    assert node.levels("abc") == "6 8 6"
    assert len(node.prepare(node.claim("two", "d"))) == 1
    assert node.levels("d") == "1", "no configuration: the default leaves it alone"


@pytest.mark.scenario(31)
@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (config(1, speed=3), "KnobConfig field speed: unknown field"),
        (config(1, unsafe=True), "KnobConfig field unsafe may be set in the DeviceClass only"),
        (
            {**config(1), "opaque": {"driver": DRIVER, "parameters": {"kind": "Other", "apiVersion": "v9"}}},
            "unknown opaque kind 'Other'",
        ),
    ],
)
def test_configuration_that_is_not_understood_fails_the_claim(
    node: World, entry: dict[str, Any], says: str
) -> None:
    error = node.refusal(node.claim("one", "a", config=[entry]))
    assert says in error
    assert "claim default/one" in error
    assert node.bench.leftovers() == []


@pytest.mark.defect(16)
@pytest.mark.scenario(32, 35)
def test_containers_get_the_devices_of_their_requests(node: World) -> None:
    devices = [
        {"device": "a", "request": "main/large"},
        {"device": "b", "request": "spare"},
        {"device": "c", "request": "spare"},
    ]
    node.claim("one", *devices, pods=["pod-1"])
    node.started("pod-1", "one")
    ids = {name: f"example.com/knob=uid-one-{name}" for name in "abc"}
    assert node.pods.devices("pod-1", "one") == [ids["a"], ids["b"], ids["c"]]
    assert node.pods.devices("pod-1", "one", "main") == [ids["a"]]
    assert node.pods.devices("pod-1", "one", "spare") == [ids["b"], ids["c"]]
    assert node.pods.devices("pod-1", "one", "other") == []


@pytest.mark.scenario(35)
def test_one_device_with_two_share_ids_is_answered_twice(node: World) -> None:
    answer = node.prepare(node.claim("one", *({"device": "a", "shareID": share} for share in SHARES)))
    assert [(device.device, device.share_id) for device in answer] == [("a", share) for share in SHARES]
    assert len({device.cdi_ids for device in answer}) == 2


@pytest.mark.scenario(33)
def test_a_claim_that_no_container_uses_is_prepared_with_its_pod(node: World) -> None:
    used, unused = node.claim("used", "a", pods=["pod-1"]), node.claim("unused", "b", pods=["pod-1"])
    node.started("pod-1", "used", "unused")
    assert set(node.bench.records.uids()) == {used.uid, unused.uid}
    node.pods.stop("pod-1")
    assert node.bench.leftovers() == []


@pytest.mark.scenario(34)
def test_a_claim_of_several_pods_is_prepared_once_and_unprepared_after_the_last(node: World) -> None:
    ref = node.claim("shared", "a", pods=["pod-1", "pod-2"], config=[config(5)])
    for pod in ("pod-1", "pod-2"):
        node.started(pod, "shared")
    assert node.bench.claims.reads == 1
    assert node.pods.devices("pod-1", "shared") == node.pods.devices("pod-2", "shared") != []
    node.pods.stop("pod-1")
    assert node.bench.records.uids() == (ref.uid,)
    assert node.levels("a") == "5"
    node.pods.stop("pod-2")
    assert (node.levels("a"), node.bench.leftovers()) == ("1", [])


@pytest.mark.scenario(37)
def test_a_monitor_on_every_device_disturbs_no_user(node: World) -> None:
    everything = [{"device": name, "adminAccess": True} for name in "abcd"]
    node.claim("monitor", *everything, pods=["monitor"], config=[config(9)])
    node.claim("user", "a", pods=["user"], config=[config(5)])
    node.started("monitor", "monitor")
    node.started("user", "user")
    assert node.levels("abcd") == "5 1 1 1"
    node.pods.stop("monitor")
    assert node.levels("abcd") == "5 1 1 1"
    assert node.pods.devices("user", "user") == ["example.com/knob=uid-user-a"]
    node.pods.stop("user")
    assert (node.levels("abcd"), node.bench.leftovers()) == ("1 1 1 1", [])


@pytest.mark.scenario(38)
def test_a_new_claim_of_the_same_name_waits_for_the_old_one_and_is_another_claim(node: World) -> None:
    old = node.claim("same", "a", pods=["pod-1"], uid="uid-old")
    node.started("pod-1", "same")
    new = node.claim("same", "b", pods=["pod-2"], uid="uid-new")
    says = f"^old ResourceClaim with same name same and different UID {old.uid} still exists"
    with pytest.raises(PodFailed, match=says):
        node.started("pod-2", "same")
    # Even a kubelet that lost its memory cannot mix them up: state goes by UID.
    assert [device.device for device in node.prepare(new)] == ["b"]
    assert node.bench.holds.holders() == {("a", None): old.uid, ("b", None): new.uid}
    assert node.unprepare(new) == ""
    node.pods.stop("pod-1")
    assert node.bench.leftovers() == []
    node.started("pod-2", "same")
    assert node.pods.devices("pod-2", "same") == ["example.com/knob=uid-new-b"]


@pytest.mark.scenario(39)
def test_a_claim_made_for_an_extended_resource_is_prepared_like_any_other(node: World) -> None:
    devices = [{"device": name, "request": f"container-0-request-{n}"} for n, name in enumerate("ab")]
    ref = node.claim("pod-1-extended-resources-x7k2p", *devices, pods=["pod-1"])
    annotations = {"resource.kubernetes.io/extended-resource-claim": "true"}
    node.stored(ref)["metadata"]["annotations"] = annotations
    node.started("pod-1", ref.name)
    ids = [f"example.com/knob={ref.uid}-{name}" for name in "ab"]
    assert node.pods.devices("pod-1", ref.name) == ids
    assert node.pods.devices("pod-1", ref.name, "container-0-request-1") == ids[1:]
    node.pods.stop("pod-1")
    assert node.bench.leftovers() == []


@pytest.mark.scenario(40)
def test_whom_a_claim_is_reserved_for_is_none_of_the_drivers_business(node: World) -> None:
    group = {"apiGroup": "scheduling.k8s.io", "resource": "podgroups", "name": "ring", "uid": "group-1"}
    for reserved in ([group], []):
        ref = node.claim("one", "a")
        node.stored(ref)["status"]["reservedFor"] = reserved
        assert [device.device for device in node.prepare(ref)] == ["a"]
        assert node.unprepare(ref) == ""


@pytest.mark.scenario(36)
def test_every_claim_of_a_mixed_call_has_exactly_one_entry(node: World) -> None:
    """The fake kubelet refuses an answer that skips a claim or invents one, as the real one does."""
    good = node.claim("good", "a")
    node.prepare(good)
    refs = [
        good,
        node.claim("new", "b"),
        node.claim("held", "a"),
        node.claim("unknown", "zz"),
        node.claim("none", {"driver": "other.example.com", "device": "x"}),
    ]
    answers = node.kubelet.prepare([*refs, refs[1]])
    assert [ref.name for ref in refs if answers[ref.uid].error] == ["held", "unknown"]
    assert node.kubelet.unprepare(refs) == {ref.uid: "" for ref in refs}
    assert node.bench.leftovers() == []


@pytest.mark.scenario(21, 30)
def test_a_pod_starts_only_with_all_of_its_claims_and_is_tried_again(node: World) -> None:
    for name, device in (("one", "a"), ("two", "b")):
        node.claim(name, device, pods=["pod-1"], config=[config(5)])
    node.bench.driver.broken = {"apply:b"}
    pod = Pod("pod-1", "pod-1", ("one", "two"))
    says = (
        r"^NodePrepareResources failed for ResourceClaim two: device b: apply: the knob is stuck \(oil it\)$"
    )
    with pytest.raises(PodFailed, match=says):
        node.pods.start(pod)
    node.bench.driver.broken = set()
    node.pods.start(pod)
    found = [node.bench.records.load(uid) for uid in ("uid-one", "uid-two")]
    assert [record.phase for record in found if record] == [Phase.PREPARED] * 2
    assert node.bench.driver.applied == ["a", "b"]
