"""Scenarios 41 to 52: NodeUnprepareResources as a kubelet sends it, and what survives crashes and damage."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from dra_common.errors import Unreachable
from dra_common.model import Phase
from dra_common.testing.bench import config, soon
from dra_common.testing.knobs import DRIVER
from dra_common.testing.kubelet import PodFailed
from mortal import Life
from scenario_world import World, world


@pytest.fixture
def node(short_tmp: Path) -> Iterator[World]:
    with world(short_tmp) as found:
        yield found


@pytest.mark.scenario(41)
def test_the_last_unprepare_leaves_only_what_others_have(node: World) -> None:
    one, two = node.claim("one", "a", config=[config(5)]), node.claim("two", "b", config=[config(6)])
    for ref in (one, two):
        node.prepare(ref)
    assert node.unprepare(one) == ""
    assert node.levels("ab") == "1 6"
    assert node.bench.records.uids() == (two.uid,)
    assert not [name for name in node.bench.leftovers() if "one" in name]
    assert node.unprepare(two) == ""
    assert (node.levels("ab"), node.bench.leftovers()) == ("1 1", [])


@pytest.mark.scenario(42)
def test_what_was_never_prepared_or_is_unprepared_already_is_a_success(node: World) -> None:
    never, twice = node.claim("never", "a"), node.claim("twice", "b")
    node.prepare(twice)
    for _ in range(2):
        assert node.kubelet.unprepare([never, twice]) == {never.uid: "", twice.uid: ""}
    assert node.bench.leftovers() == []


@pytest.mark.scenario(43, 44)
def test_unprepare_asks_nobody_for_the_claim(node: World) -> None:
    ref = node.claim("one", "a", config=[config(5)])
    node.prepare(ref)
    node.bench.claims.objects.clear()
    node.bench.claims.down = Unreachable("the API server is away")
    before = node.bench.claims.reads
    assert node.unprepare(ref) == ""
    assert node.bench.claims.reads == before
    assert (node.levels("a"), node.bench.leftovers()) == ("1", [])


@pytest.mark.scenario(45)
def test_an_unprepare_that_fails_says_why_keeps_the_device_and_succeeds_later(node: World) -> None:
    ref = node.claim("one", "a", pods=["pod-1"], config=[config(5)])
    node.started("pod-1", "one")
    node.bench.driver.broken = {"revert:a"}
    says = r"^NodeUnprepareResources failed for ResourceClaim one: device a: revert: the knob is stuck \(oil it\)$"
    with pytest.raises(PodFailed, match=says):
        node.pods.stop("pod-1")
    record = node.bench.records.load(ref.uid)
    assert record is not None
    assert (record.phase, record.error) == (Phase.FAILED, "device a: revert: the knob is stuck (oil it)")
    assert "is held by claim default/one" in node.refusal(node.claim("two", "a"))
    node.claim("one", "a", pods=["pod-2"], uid=ref.uid)
    with pytest.raises(PodFailed, match=r"^ResourceClaim one is being unprepared$"):
        node.started("pod-2", "one")
    node.bench.driver.broken = set()
    node.pods.stop("pod-1")
    assert (node.levels("a"), node.bench.leftovers()) == ("1", [])


@pytest.mark.scenario(46)
def test_an_unprepare_is_tried_again_after_the_kubelets_restart(node: World) -> None:
    node.claim("one", "a", pods=["pod-1"], config=[config(5)])
    node.started("pod-1", "one")
    node.plugin.stop(grace=10)
    node.kubelet.wait_deregistered(DRIVER)
    with pytest.raises(PodFailed, match=r"^DRA driver knob\.example\.com is not registered$"):
        node.pods.stop("pod-1")
    node.pods.restart()
    node.plugin = node.node.start_plugin()
    node.kubelet.wait_registered(DRIVER, timeout=60)
    node.pods.stop("pod-1")
    assert (node.levels("a"), node.bench.leftovers()) == ("1", [])


@pytest.mark.scenario(47)
def test_the_claim_of_a_pod_that_is_gone_by_force_is_unprepared(node: World) -> None:
    ref = node.claim("one", "a", pods=["pod-1"], config=[config(5)])
    node.started("pod-1", "one")
    node.pods.restart()
    node.kubelet.wait_registered(DRIVER, timeout=60)
    del node.bench.claims.objects["default", "one"]
    node.pods.reconcile(active=["pod-1"])
    assert node.bench.records.uids() == (ref.uid,)
    node.pods.reconcile(active=[])
    assert (node.levels("a"), node.bench.leftovers()) == ("1", [])


@pytest.mark.scenario(48)
def test_another_instance_unprepares_what_the_first_prepared(node: World) -> None:
    ref = node.claim("one", "a", config=[config(5)])
    node.prepare(ref)
    node.restart_driver()
    assert node.unprepare(ref) == ""
    assert (node.levels("a"), node.bench.leftovers()) == ("1", [])


@pytest.mark.scenario(49)
def test_a_device_that_was_pulled_out_keeps_nothing_of_its_claim(node: World) -> None:
    ref = node.claim("one", "a", "b", config=[config(5)])
    node.prepare(ref)
    node.bench.knob("a").unlink()
    assert node.unprepare(ref) == ""
    assert (node.levels("b"), node.bench.leftovers()) == ("1", [])


@pytest.mark.scenario(50)
def test_a_call_without_claims_has_an_empty_answer(node: World) -> None:
    assert node.kubelet.prepare([]) == {}
    assert node.kubelet.unprepare([]) == {}


@pytest.mark.scenario(51)
@pytest.mark.parametrize("then", ["prepare", "unprepare"])
def test_killed_before_any_step_of_prepare_the_kubelets_next_call_recovers(
    short_tmp: Path, then: str
) -> None:
    with world(short_tmp) as node:
        ref = node.claim("one", "a", config=[config(5)])
        for at in itertools.count(1):
            if not Life(at).dies(node.bench.engine.prepare, ref, soon()):
                break
            node.bench.start()
            if then == "prepare":
                assert [device.cdi_ids for device in node.prepare(ref)] == [("example.com/knob=uid-one-a",)]
                assert node.levels("a") == "5"
            assert node.unprepare(ref) == ""
            assert (at, node.levels("a"), node.bench.leftovers()) == (at, "1", [])
        assert at > 8, "record, hold, hardware and CDI file take more steps than that"


@pytest.mark.scenario(52)
@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_a_damaged_record_is_set_aside_and_the_claim_served(node: World, damage: str) -> None:
    ref = node.claim("one", "a", config=[config(5)])
    first = node.prepare(ref)
    path = node.bench.root / f"state/claims/{ref.uid}.json"
    text = path.read_text()
    path.write_text(
        {"truncated": text[:-9], "changed": text.replace("default", "defualt"), "empty": ""}[damage]
    )
    damaged = path.read_bytes()
    assert node.prepare(ref) == first
    (aside,) = path.parent.glob("*.corrupt-*")
    assert aside.read_bytes() == damaged
    assert node.unprepare(ref) == ""
    assert node.bench.leftovers() == []


@pytest.mark.scenario(52)
def test_a_record_of_a_newer_release_is_refused_and_nothing_of_it_is_lost(node: World) -> None:
    ref = node.claim("one", "a", config=[config(5)])
    node.prepare(ref)
    path = node.bench.root / f"state/claims/{ref.uid}.json"
    newer = json.dumps({**json.loads(path.read_text()), "schema": 99})
    path.write_text(newer)
    before = node.bench.leftovers()
    for error in (node.refusal(ref), node.unprepare(ref)):
        assert "schema 99" in error
        assert error.endswith(")"), "with a cure"
    assert path.read_text() == newer
    assert node.bench.leftovers() == before
    assert node.levels("a") == "5"
