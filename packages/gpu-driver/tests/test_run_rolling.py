"""Rolling updates with real processes (scenarios 48 and 54 to 58): two of them serve one node, and either may die."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

import pytest
from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.instance import Instance
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.node import PrepareFailed, SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import names
from gpu_nodes import NAME, allocated, machine_only

T = TypeVar("T")

OLD, NEW, NEXT = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123")

CALLERS, ROUNDS = 8, 5


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with machine_only("two-gpus") as node:
        yield node


def assert_calm(*instances: Instance, expected: tuple[str, ...] = ()) -> None:
    """No instance logged an error that nobody foresaw, nor a warning that the test did not mean."""
    for instance in instances:
        loud = [line for line in instance.lines() if " WARNING " in line or " ERROR " in line]
        assert not [line for line in loud if not any(each in line for each in expected)], loud
        assert not instance.lines("Traceback")


def sockets(node: SimulatedNode) -> list[str]:
    found = [*node.state.glob("*.sock"), *node.registry.glob("*.sock")]
    return sorted(path.name for path in found)


def sockets_of(*pods: str) -> list[str]:
    return sorted([f"dra-{pod}.sock" for pod in pods] + [f"{NAME}-{pod}-reg.sock" for pod in pods])


def content(node: SimulatedNode) -> list[str]:
    """What the slices say, without who wrote it and when."""
    return [json.dumps({**item["spec"], "pool": ""}, sort_keys=True) for item in node.slices()]


# --------------------------------------------------------------------------- 54: an update


@pytest.mark.scenario(48, 54)
def test_an_update_changes_no_slice_and_keeps_every_claim(node: SimulatedNode) -> None:
    first, second = None, None
    with Instance(node, OLD) as old:
        node.wait_published()
        devices = names(node)
        before = allocated(node, "before", devices[0])
        first = node.prepare(before)
        slices, writes = node.slices(), len(slice_writes(node))
        with Instance(node, NEW) as new:
            # Both are registered and both answer, in the same words.
            assert sockets(node) == sockets_of(OLD, NEW)
            assert old.is_registered()
            assert old.prepare(before) == new.prepare(before) == first
            during = allocated(node, "during", devices[1])
            second = node.prepare(during)
            assert new.lines("already prepared")
            # The kubelet's choice is the new one; the device is held for the old one, too.
            with pytest.raises(PrepareFailed, match="is held by claim"):
                old.prepare(allocated(node, "thief", devices[1]))
            assert old.stop() == 0
            assert sockets(node) == sockets_of(NEW)
            wait_until(lambda: new.lines("the turn to publish is ours"), "the new one's turn", seconds=60)
            wait_until(lambda: node.api.watches, "its watch", seconds=60)
            wait_until(lambda: len(node.kubelet.registered) == 1, "the kubelet to notice", seconds=60)
            assert node.slices() == slices
            assert len(slice_writes(node)) == writes
            # 48: what one prepared another one unprepares.
            assert node.prepare(before) == first
            assert node.prepare(during) == second
            for ref in (before, during):
                node.unprepare(ref)
            assert node.leftovers() == []
            assert_calm(old, new, expected=("is held by claim",))


def slice_writes(node: SimulatedNode) -> list[str]:
    return [f"{each.method} {each.path}" for each in node.api.writes if "/resourceslices" in each.path]


@pytest.mark.scenario(54)
def test_sigterm_lets_go_of_the_turn_before_the_calls_in_flight_have_finished(node: SimulatedNode) -> None:
    with Instance(node, OLD) as old:
        node.wait_published()
        ref = allocated(node, "slow", names(node)[0])
        with Instance(node, NEW) as new, ThreadPoolExecutor(1) as pool:
            wait_until(lambda: new.lines("waits for its turn", f"pod {OLD}"), "the wait", seconds=60)
            node.api.pause()
            try:
                asked = len(claim_reads(node))
                call = pool.submit(old.prepare, ref)
                wait_until(lambda: len(claim_reads(node)) > asked, "the call to be in flight", seconds=60)
                old.running.send_signal(signal.SIGTERM)
                wait_until(lambda: new.lines("the turn to publish is ours"), "the turn", seconds=60)
                assert not call.done()
            finally:
                node.api.resume()
            assert call.result(60)[0].device == names(node)[0]
            assert old.running.wait(60) == 0
            assert new.prepare(ref) == call.result()
            new.unprepare(ref)
            assert node.leftovers() == []


def claim_reads(node: SimulatedNode) -> list[str]:
    return [each.path for each in node.api.requests if "/resourceclaims/" in each.path]


@pytest.mark.scenario(54)
def test_readiness_does_not_wait_for_the_turn(node: SimulatedNode) -> None:
    """A DaemonSet ends the old instance only when the new one is ready: neither may wait for the other."""
    with Instance(node, OLD), Instance(node, NEW) as new:
        assert new.lines("the kubelet registered")
        wait_until(lambda: new.lines("waits for its turn"), "the wait", seconds=60)
        assert not new.lines("the turn to publish is ours")


@pytest.mark.scenario(54)
def test_the_turn_is_taken_after_a_death(node: SimulatedNode) -> None:
    with Instance(node, OLD) as old:
        node.wait_published()
        with Instance(node, NEW) as new:
            wait_until(lambda: new.lines("waits for its turn"), "the wait", seconds=60)
            slices = node.slices()
            old.kill()
            wait_until(lambda: new.lines("the turn to publish is ours"), "the turn", seconds=60)
            wait_until(lambda: node.api.watches == 1, "the new one's watch alone", seconds=60)
            assert node.slices() == slices
            # It stands guard: a wipe is repaired.
            said = content(node)
            node.kubelet.restart()
            wait_until(lambda: content(node) == said and node.slices() != slices, "the repair", seconds=60)


@pytest.mark.scenario(54)
def test_a_frozen_instance_keeps_the_turn_and_its_claims_are_served_by_the_other(
    node: SimulatedNode,
) -> None:
    with Instance(node, OLD) as old:
        node.wait_published()
        ref = allocated(node, "claim", names(node)[0])
        answer = old.prepare(ref)
        with Instance(node, NEW) as new:
            old.freeze()
            # It held no lock of a claim: nobody waits for it.
            assert new.prepare(ref) == answer
            new.unprepare(ref)
            assert node.leftovers() == []
            # It cannot be had that somebody publishes beside it; that it is frozen is told: test_turn.py.
            assert not new.lines("the turn to publish is ours")
            old.thaw()
            wait_until(lambda: kubelet_calls(node, old, new), "the kubelet to have both", seconds=60)
            old.unprepare(ref)
            assert node.leftovers() == []
            assert_calm(old, new)


# --------------------------------------------------------------------------- 56 and 57: updates that fail


@pytest.mark.parametrize("how", ["at once", "soon", "later", "bad setting"])
@pytest.mark.scenario(56)
def test_the_new_one_dies_and_the_old_one_goes_on(node: SimulatedNode, how: str) -> None:
    with Instance(node, OLD) as old:
        node.wait_published()
        slices = node.slices()
        ref = allocated(node, "claim", names(node)[0])
        answer = node.prepare(ref)
        fail(Instance(node, NEW, *(["--rescan-seconds=0"] if how == "bad setting" else [])), how)
        wait_until(lambda: kubelet_calls(node, old), "the kubelet to call the old one", seconds=60)
        assert node.prepare(ref) == answer
        assert node.slices() == slices
        with Instance(node, NEXT):
            # What the dead one left is gone, what the living one has is there.
            assert sockets(node) == sockets_of(OLD, NEXT)
        wait_until(lambda: kubelet_calls(node, old), "the kubelet to call the old one", seconds=60)
        node.unprepare(ref)
        assert node.leftovers() == []
        assert_calm(old)


def fail(new: Instance, how: str) -> None:
    with ExitStack() as stack:
        stack.push(new.__exit__)
        new.start(wait=how == "later")
        if how == "bad setting":
            assert new.running.wait(60) == 2
            assert not new.sockets.dra.exists()
            return
        if how == "soon":
            wait_until(new.sockets.dra.exists, "its first socket", seconds=60)
        new.kill()


def kubelet_calls(node: SimulatedNode, *instances: Instance) -> bool:
    connected = [each.endpoint for each in node.kubelet.registered if each.connected]
    return sorted(connected) == sorted(str(instance.sockets.dra) for instance in instances)


@pytest.mark.scenario(57)
def test_one_after_the_other_soon_enough_and_too_late(node: SimulatedNode) -> None:
    node.kubelet._wiper._delay = 8.0
    with Instance(node, OLD) as old:
        node.wait_published()
        ref = allocated(node, "claim", names(node)[0])
        answer = node.prepare(ref)
        slices, said = node.slices(), content(node)
        assert old.stop() == 0
    began = time.monotonic()
    with Instance(node, NEW) as new:
        # A machine so busy that a start takes this long proves nothing about the short gap.
        soon = time.monotonic() - began < 6
        assert not soon or node.slices() == slices
        assert node.prepare(ref) == answer
        node.wait(lambda: node.api.watches, "its watch")
        assert new.stop() == 0
    wait_until(lambda: not node.slices(), "the wipe", seconds=60)
    with Instance(node, NEXT):
        node.wait_published()
        assert content(node) == said
        assert node.prepare(ref) == answer
        node.unprepare(ref)
        assert node.leftovers() == []


# --------------------------------------------------------------------------- 58: a storm


class Storm:
    """Callers that ask either instance at random, until one answers. Two want the same device at any time.

    ``owners`` is the ledger: a device is entered when its claim's answer arrives and taken out before the claim's
    unprepare is asked for, so whoever finds somebody else in it was given a device twice.
    """

    def __init__(self, node: SimulatedNode, instances: list[Instance]) -> None:
        self.node, self.instances = node, instances
        self.devices = names(node)[: CALLERS // 2]
        self.owners: dict[str, str] = {}
        self.lock = threading.Lock()
        self.answered = self.refused = self.interrupted = 0

    def call(self, number: int) -> None:
        """One caller's life: prepare at one, the same again at any, unprepare at any."""
        device = self.devices[number % len(self.devices)]
        ref = allocated(self.node, f"storm-{number}", device)
        for _ in range(ROUNDS):
            answer = self._insist(lambda at: self._prepare(at, ref, device))
            assert answer[0].device == device
            assert self._insist(lambda at: at.prepare(ref)) == answer
            assert self.node.resolve(answer).device_nodes
            with self.lock:
                assert self.owners.pop(device) == ref.uid
                self.answered += 1
            self._insist(lambda at: self._unprepare(at, ref))

    def wait_for_answers(self, more: int) -> None:
        target = min(self.answered + more, CALLERS * ROUNDS)
        wait_until(lambda: self.answered >= target, "calls to be answered", seconds=90)

    def _prepare(self, at: Instance, ref: ClaimRef, device: str) -> tuple[PreparedDevice, ...]:
        try:
            answer = at.prepare(ref)
        except PrepareFailed as error:
            if "held by claim" not in str(error):
                raise
            with self.lock:
                self.refused += 1
            return ()
        with self.lock:
            assert device not in self.owners, f"{device} was given to {ref.uid} and {self.owners[device]}"
            self.owners[device] = ref.uid
        return answer

    def _unprepare(self, at: Instance, ref: ClaimRef) -> bool:
        at.unprepare(ref)
        return True

    def _insist(self, call: Callable[[Instance], T]) -> T:
        """Ask one, else another, as a kubelet does when its driver dies."""

        def attempt() -> T | None:
            at = random.choice(self.instances)  # noqa: S311 - either will do
            try:
                return call(at)
            except KubeletCallError as error:
                assert error.code in {"UNAVAILABLE", "CANCELLED"}, error  # noqa: PT017
            except PrepareFailed as error:
                assert "the driver is stopping" in str(error), error  # noqa: PT017
            self.interrupted += 1
            return None

        answer = wait_until(attempt, "an answer", seconds=90)
        assert answer is not None
        return answer


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
@pytest.mark.scenario(58)
def test_a_storm_at_both_while_one_after_the_other_ends(how: str) -> None:
    with machine_only("large") as node, Instance(node, OLD) as old:
        node.wait_published()
        said = content(node)
        with Instance(node, NEW) as new:
            storm = Storm(node, [old, new])
            with ThreadPoolExecutor(CALLERS) as pool:
                callers = [pool.submit(storm.call, number) for number in range(CALLERS)]
                for instance in (old, new, old):
                    storm.wait_for_answers(random.randint(2, CALLERS))  # noqa: S311 - any moment will do
                    if how == "SIGKILL":
                        instance.kill()
                    else:
                        assert instance.stop() == 0
                    instance.start()
                for caller in callers:
                    caller.result()
            assert storm.answered == CALLERS * ROUNDS
            assert storm.refused
            assert storm.interrupted
            assert storm.owners == {}
            assert node.leftovers() == []
            assert sockets(node) == sockets_of(OLD, NEW)
            # The machine is whole, and so is what is said of it: everything can be had once more.
            refs = [allocated(node, f"after-{device}", device) for device in storm.devices]
            assert [new.prepare(ref)[0].device for ref in refs] == storm.devices
            for ref in refs:
                old.unprepare(ref)
            assert node.leftovers() == []
            assert content(node) == said
            assert_calm(
                old, new, expected=("held by claim", "found preparing", "found unpreparing", "stopping")
            )
