"""The real driver is killed, restarted, and finds another boot: no device is given twice and nothing is left over."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.node import PrepareFailed, SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import assert_no_surprise, names, reboot, refusal
from gpu_nodes import NAME, allocated, running

T = TypeVar("T")

CALLERS, ROUNDS, KILLS = 16, 6, 4


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with running("two-gpus") as node:
        yield node


# --------------------------------------------------------------------------- a storm


class Storm:
    """Callers that behave as kubelets: each keeps asking until it is answered. Two want the same device at any time.

    ``owners`` is the ledger: a device is entered when its claim's answer arrives and taken out before the claim's
    unprepare is asked for, so whoever finds somebody else in it was given a device twice.
    """

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.devices = names(node)[: CALLERS // 2]
        self.owners: dict[str, str] = {}
        self.lock = threading.Lock()
        self.answered = 0
        self.refused = 0
        self.interrupted = 0

    def call(self, number: int) -> None:
        """One caller's life."""
        device = self.devices[number % len(self.devices)]
        ref = allocated(self.node, f"storm-{number}", device)
        for _ in range(ROUNDS):
            (answer,) = self._insist(lambda: self._prepare(ref, device))
            assert answer.device == device
            assert self.node.resolve([answer]).device_nodes
            with self.lock:
                assert self.owners.pop(device) == ref.uid
                self.answered += 1
            self._insist(lambda: self._unprepare(ref))

    def wait_for_answers(self, more: int) -> None:
        """Wait until so many more prepares were answered; there are enough of them left."""
        target = self.answered + more
        wait_until(lambda: self.answered >= target, "calls to be answered", seconds=60)

    def _prepare(self, ref: ClaimRef, device: str) -> tuple[PreparedDevice, ...]:
        try:
            answer = self.node.prepare(ref)
        except PrepareFailed as error:
            # The only refusal that is right: the other caller has it.
            assert f"device {device} is held by claim" in str(error), error  # noqa: PT017
            with self.lock:
                self.refused += 1
            return ()
        with self.lock:
            assert device not in self.owners, f"{device} was given to {ref.uid} and {self.owners[device]}"
            self.owners[device] = ref.uid
        return answer

    def _unprepare(self, ref: ClaimRef) -> bool:
        self.node.unprepare(ref)
        return True

    def _insist(self, call: Callable[[], T]) -> T:
        """Call until there is an answer, as a kubelet does when its driver dies."""

        def attempt() -> T | None:
            try:
                return call()
            except KubeletCallError:
                self.interrupted += 1
                return None

        answer = wait_until(attempt, "an answer", seconds=60)
        assert answer is not None
        return answer


@pytest.mark.scenario(51)
def test_kills_in_a_storm_of_calls_give_no_device_twice_and_leave_nothing() -> None:
    with running("large") as node:
        storm = Storm(node)
        with ThreadPoolExecutor(CALLERS) as pool:
            callers = [pool.submit(storm.call, number) for number in range(CALLERS)]
            for _ in range(KILLS):
                # Some calls after the last start, then at any moment within a few milliseconds of work.
                storm.wait_for_answers(random.randint(1, CALLERS))  # noqa: S311 - any moment will do
                node.kill_driver()
                node.start_driver()
            for caller in callers:
                caller.result()
        assert storm.answered == CALLERS * ROUNDS
        assert storm.refused
        assert storm.interrupted
        assert storm.owners == {}
        assert node.leftovers() == []
        # The machine is whole: everything can be had once more.
        refs = [allocated(node, f"after-{device}", device) for device in storm.devices]
        answers = node.kubelet.prepare(refs, NAME)
        assert [answers[ref.uid].devices[0].device for ref in refs] == storm.devices
        assert set(node.kubelet.unprepare(refs, NAME).values()) == {""}
        assert node.leftovers() == []
        assert_no_surprise(node, ("held by claim", "found preparing", "found unpreparing", "CDI files"))


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


def contents(node: SimulatedNode) -> dict[str, str]:
    return {name: (node.root / name).read_text() for name in node.leftovers() if name.endswith(".json")}


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


def record_of(node: SimulatedNode, ref: ClaimRef) -> dict[str, object]:
    record: dict[str, object] = json.loads((node.state / f"claims/{ref.uid}.json").read_text())["record"]
    return record


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
