"""The real driver is killed, restarted, and finds another boot: no device is given twice and nothing is left over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from dra_common.model import ClaimRef
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import assert_no_surprise, contents, names, reboot, record_of, refusal
from gpu_nodes import NAME, allocated, program, running
from storm import EXPECTED, check_storm


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with running("two-gpus") as node:
        yield node


# --------------------------------------------------------------------------- a storm


@pytest.mark.scenario(51)
def test_kills_in_a_storm_of_calls_give_no_device_twice_and_leave_nothing() -> None:
    with running("large") as node:
        check_storm(program, node)
        assert_no_surprise(node, EXPECTED)


# --------------------------------------------------------------------------- one crash at a time


@pytest.mark.defect(3, 4)
@pytest.mark.scenario(18, 51)
def test_a_killed_driver_comes_back_to_what_it_prepared(node: SimulatedNode) -> None:
    first, second = names(node)
    ref = allocated(node, "kept", first)
    answer = node.prepare(ref)
    slices, files = node.slices(), contents(node)
    node.kill_driver()
    node.start_driver()
    assert contents(node) == files
    assert node.prepare(ref) == answer
    assert "held by claim" in refusal(node, allocated(node, "thief", first))
    other = allocated(node, "other", second)
    assert node.prepare(other)[0].device == second
    for each in (ref, other):
        node.unprepare(each)
    assert node.leftovers() == []
    # Nobody watching the slices noticed.
    assert node.slices() == slices


@pytest.mark.scenario(44, 51)
def test_unprepare_after_a_kill_needs_no_prepare_and_no_api_server(node: SimulatedNode) -> None:
    ref = allocated(node, "orphaned", names(node)[0])
    node.prepare(ref)
    node.kill_driver()
    node.delete_claim(ref)
    node.api.pause()
    try:
        node.start_driver()
        node.unprepare(ref)
        assert node.leftovers() == []
        # Again, and one that never was.
        node.unprepare(ref)
        node.unprepare(ClaimRef("default", "never", "0" * 36))
    finally:
        node.api.resume()
    assert node.leftovers() == []


@pytest.mark.scenario(51)
def test_what_a_kill_left_behind_of_unfinished_work_is_removed_at_the_next_start(node: SimulatedNode) -> None:
    kept = allocated(node, "kept", names(node)[0])
    answer = node.prepare(kept)
    node.kill_driver()
    # Each is what a kill between two steps of prepare or unprepare can leave.
    uid = "11111111-2222-3333-4444-555555555555"
    (record,) = (node.state / "claims").glob("*.json")
    half = record.with_name(f"{uid}.json.tmp")
    half.write_bytes(record.read_bytes()[:100])
    (node.state / "held" / names(node)[1]).symlink_to(uid)
    (file,) = node.cdi.iterdir()
    orphan = file.with_name(file.name.replace(kept.uid, uid))
    orphan.write_text(file.read_text())
    (node.state / "claims" / f"{uid}.lock").touch()
    node.start_driver()
    assert [name for name in node.leftovers() if uid in name] == []
    assert not (node.state / "held" / names(node)[1]).is_symlink()
    assert node.prepare(kept) == answer
    other = allocated(node, "other", names(node)[1])
    node.prepare(other)
    for ref in (kept, other):
        node.unprepare(ref)
    assert node.leftovers() == []


@pytest.mark.defect(12)
@pytest.mark.scenario(52)
def test_a_corrupt_record_is_set_aside_and_told_and_the_claim_can_be_cleaned_up(node: SimulatedNode) -> None:
    ref = allocated(node, "corrupt", names(node)[0])
    node.prepare(ref)
    node.kill_driver()
    (record,) = (node.state / "claims").glob("*.json")
    record.write_text(record.read_text().replace('"prepared"', '"prepare"'))
    node.start_driver()
    assert "set aside" in node.log.read_text()
    assert ref.uid in node.log.read_text()
    assert list((node.state / "claims").glob("*.corrupt-*"))
    # Its device stays held: nobody knows what the claim's containers are doing.
    assert "held by claim" in refusal(node, allocated(node, "thief", names(node)[0]))
    node.unprepare(ref)
    assert node.leftovers() == []


@pytest.mark.defect(12)
@pytest.mark.scenario(18)
def test_after_a_reboot_the_answer_is_the_same_and_the_cdi_files_are_back(node: SimulatedNode) -> None:
    device = names(node)[1]
    ref = allocated(node, "survivor", device)
    answer = node.prepare(ref)
    before = record_of(node, ref)
    node.kill_driver()
    reboot(node)
    node.start_driver()
    assert node.prepare(ref) == answer
    edits = node.resolve(answer)
    # Numbers of nodes may have changed, and what CDI says follows them.
    assert edits.device_nodes
    for each in edits.device_nodes.values():
        assert Path(str(each["hostPath"])).exists()
    after = record_of(node, ref)
    assert after["boot_id"] == (node.machine / "proc/sys/kernel/random/boot_id").read_text().strip()
    assert after["boot_id"] != before["boot_id"]
    assert after["answer"] == before["answer"]
    assert "held by claim" in refusal(node, allocated(node, "thief", device))
    node.unprepare(ref)
    assert node.leftovers() == []


# --------------------------------------------------------------------------- the kubelet restarts


def test_a_kubelet_restart_wipes_the_slices_and_they_come_back(node: SimulatedNode) -> None:
    ref = allocated(node, "running", names(node)[0])
    answer = node.prepare(ref)
    before = {item["metadata"]["uid"]: as_content(item) for item in node.slices()}
    node.kubelet.restart()
    node.wait(lambda: not before.keys() & {item["metadata"]["uid"] for item in node.slices()}, "the wipe")
    wait_until(lambda: len(node.slices()) == len(before), "the slices to be back")
    assert [as_content(item) for item in node.slices()] == list(before.values())
    node.kubelet.wait_registered(NAME)
    assert node.prepare(ref) == answer
    node.unprepare(ref)
    assert node.leftovers() == []
    assert_no_surprise(node)


def as_content(item: dict[str, object]) -> str:
    spec = item["spec"]
    assert isinstance(spec, dict)
    return json.dumps({**spec, "pool": ""}, sort_keys=True)


@pytest.mark.scenario(2)
def test_a_second_registration_is_answered_by_the_same_process(node: SimulatedNode) -> None:
    assert node.process is not None
    pid = node.process.pid
    for _ in range(3):
        node.kubelet.restart()
        node.kubelet.wait_registered(NAME)
    assert node.process.pid == pid
    assert node.kubelet.refusals == ()
