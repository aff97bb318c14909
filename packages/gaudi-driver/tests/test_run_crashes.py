"""The real driver is killed, restarted, updated, and finds another boot: what runs can be started again by its ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Literal

import pytest
from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.instance import Instance
from dra_common.testing.killer import Killer
from dra_common.testing.mortal import Orders
from dra_common.testing.node import SimulatedNode
from driver_nodes import (
    assert_no_surprise,
    container,
    contents,
    control,
    host_paths,
    names,
    put_status,
    reboot,
    record_of,
    refusal,
)
from gaudi_nodes import NAME, NODE, allocated, machine_only, program, running, spec
from storm import EXPECTED, check_storm

A, B, C = (f"0000-{bus}-00-0-0x1020" for bus in ("43", "44", "1a"))
A_BDF = "0000:43:00.0"
OLD, NEW = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "12")


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with running("gaudi2-hls") as node:
        yield node


def two_requests(node: SimulatedNode, name: str) -> ClaimRef:
    """A claim that needs every kind of id: of devices, of two requests, of all, and of the whole."""
    ref = node.create_claim(name, spec())
    pairs = (("train", C), ("look", B), ("train", A))
    results = [
        {"request": request, "driver": NAME, "pool": NODE, "device": device} for request, device in pairs
    ]
    put_status(node, ref, {"allocation": {"devices": {"results": results}}})
    return ref


def seen(node: SimulatedNode, answer: Sequence[PreparedDevice]) -> Mapping[str, tuple[object, ...]]:
    """What each container of the claim would be started with now: nodes, variables, hooks."""
    found = {request: container(node, answer, request) for request in ("train", "look", "")}
    return {
        request: (host_paths(edits.device_nodes), edits.env, len(edits.hooks))
        for request, edits in found.items()
    }


# --------------------------------------------------------------------------- at any moment


@pytest.mark.scenario(51)
def test_kills_in_a_storm_of_calls_give_no_device_twice_and_leave_nothing() -> None:
    with running("gaudi3") as node:
        check_storm(program, node)
        assert_no_surprise(node, EXPECTED)


@pytest.fixture
def killer() -> Iterator[Killer]:
    with machine_only("gaudi2-hls") as node:
        killer = Killer(node)
        killer.start()
        node.wait_published()
        yield killer


@pytest.mark.defect(12)
@pytest.mark.scenario(51)
@pytest.mark.parametrize("call", ["prepare", "unprepare"])
@pytest.mark.parametrize(("kind", "step"), [("kill-before", 1), ("kill-after", 4)])
def test_killed_at_any_change_of_a_call_the_next_one_makes_it_whole(
    killer: Killer, kind: Literal["kill-before", "kill-after"], step: int, call: str
) -> None:
    """Killed after a change is nearly killed before the next, of which not all are taken."""
    node = killer.node
    bystander, ref = allocated(node, "bystander", names(node)[-1]), two_requests(node, "train")
    running = node.prepare(bystander)
    kept, files = node.resolve(running), contents(node)
    whole = seen(node, node.prepare(ref))
    act = node.prepare if call == "prepare" else node.unprepare
    for at in count(1, step):
        (node.unprepare if call == "prepare" else node.prepare)(ref)
        if not killer.dies(Orders(kind, at), act, ref):
            break
        killer.start()
        assert node.prepare(bystander) == running
        assert node.resolve(running) == kept
        act(ref)
        if call == "prepare":
            assert seen(node, node.prepare(ref)) == whole
            assert "held by claim" in refusal(node, allocated(node, f"thief-{at}", A))
        else:
            assert contents(node) == files
    killer.order(Orders())
    assert at > 10, "so many changes there are"
    for each in (ref, bystander):
        node.unprepare(each)
    assert node.leftovers() == []


# --------------------------------------------------------------------------- what runs goes on


@pytest.mark.defect(3, 4)
@pytest.mark.scenario(18, 51)
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_every_id_of_a_running_claim_resolves_after_a_restart_and_means_the_same(
    node: SimulatedNode, end: str
) -> None:
    ref = two_requests(node, "train")
    answer = node.prepare(ref)
    before, files, slices = seen(node, answer), contents(node), node.slices()
    if end == "kill":
        node.kill_driver()
    else:
        node.stop_driver()
    # A container that is started again while there is no driver.
    assert seen(node, answer) == before
    node.start_driver()
    assert (contents(node), seen(node, answer)) == (files, before)
    assert node.prepare(ref) == answer
    assert "held by claim" in refusal(node, allocated(node, "thief", B))
    assert node.slices() == slices
    node.unprepare(ref)
    assert node.leftovers() == []


@pytest.mark.defect(4)
@pytest.mark.scenario(54)
def test_an_update_keeps_every_id_of_running_claims() -> None:
    with machine_only("gaudi2-hls") as node, Instance(node, OLD) as old:
        node.wait_published()
        ref = two_requests(node, "train")
        answer = node.prepare(ref)
        before = seen(node, answer)
        with Instance(node, NEW) as new:
            assert (seen(node, answer), new.prepare(ref)) == (before, answer)
            assert old.stop() == 0
            assert (seen(node, answer), node.prepare(ref)) == (before, answer)
            new.unprepare(ref)
            assert node.leftovers() == []


@pytest.mark.defect(4)
def test_ids_whose_files_were_lost_are_back_after_a_start(node: SimulatedNode) -> None:
    ref = two_requests(node, "train")
    answer = node.prepare(ref)
    before = seen(node, answer)
    node.kill_driver()
    for path in (*node.cdi.iterdir(), *(node.state / "dra-device-metadata" / ref.uid).iterdir()):
        path.unlink()
    node.start_driver()
    assert seen(node, answer) == before
    node.unprepare(ref)


@pytest.mark.defect(4, 12)
@pytest.mark.scenario(18)
def test_after_a_reboot_the_same_ids_mean_the_nodes_of_that_boot(node: SimulatedNode) -> None:
    ref = two_requests(node, "train")
    answer = node.prepare(ref)
    before = record_of(node, ref)
    node.kill_driver()
    reboot(node)
    node.start_driver()
    assert node.prepare(ref) == answer
    assert record_of(node, ref)["boot_id"] != before["boot_id"]
    edits = container(node, answer)
    # Probed in another order, they have other numbers; places on the board stay.
    found = {device["name"]: device["hardware"] for device in program.devices(node)}
    numbers = [found[name]["index"] for name in (C, B, A)]
    assert numbers != [2, 1, 0]
    assert edits.env["HABANA_VISIBLE_DEVICES"] == ",".join(map(str, numbers))
    assert edits.env["HABANA_VISIBLE_MODULES"] == "3,1,0"
    assert all(Path(path).exists() for path in host_paths(edits.device_nodes))
    node.unprepare(ref)
    assert node.leftovers() == []


@pytest.mark.defect(12)
@pytest.mark.scenario(52)
def test_a_corrupt_record_is_set_aside_and_told_and_the_claim_can_be_cleaned_up(node: SimulatedNode) -> None:
    ref = two_requests(node, "corrupt")
    node.prepare(ref)
    node.kill_driver()
    (record,) = (node.state / "claims").glob("*.json")
    record.write_bytes(record.read_bytes()[:100])
    node.start_driver()
    assert "set aside" in node.log.read_text()
    assert ref.uid in node.log.read_text()
    # Its devices stay held: nobody knows what the claim's containers are doing.
    for device in (A, B, C):
        assert "held by claim" in refusal(node, allocated(node, f"thief-{device}", device))
    node.unprepare(ref)
    assert node.leftovers() == []


@pytest.mark.scenario(44, 49)
def test_a_claim_whose_gaudi_is_gone_is_unprepared_after_a_kill_without_the_api_server(
    node: SimulatedNode,
) -> None:
    ref = two_requests(node, "orphaned")
    node.prepare(ref)
    node.kill_driver()
    control(node, "unplug", bdf=A_BDF)
    node.delete_claim(ref)
    node.api.pause()
    try:
        node.start_driver()
        node.unprepare(ref)
        assert node.leftovers() == []
    finally:
        node.api.resume()
