"""Sixteen callers at once, and a driver that is killed meanwhile."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.node import PrepareFailed, SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import names
from driver_program import Program

T = TypeVar("T")

CALLERS, ROUNDS, KILLS = 16, 6, 4
EXPECTED = ("held by claim", "found preparing", "found unpreparing", "CDI files")
"""What the driver may warn of."""


class Storm:
    """Callers that behave as kubelets: each keeps asking until it is answered. Two want the same device at any time.

    ``owners`` is the ledger: a device is entered when its claim's answer arrives and taken out before the claim's
    unprepare is asked for, so whoever finds somebody else in it was given a device twice.
    """

    def __init__(self, program: Program, node: SimulatedNode) -> None:
        self.program, self.node = program, node
        self.devices = names(node)[: CALLERS // 2]
        self.owners: dict[str, str] = {}
        self.lock = threading.Lock()
        self.answered = 0
        self.refused = 0
        self.interrupted = 0

    def call(self, number: int) -> None:
        """One caller's life."""
        device = self.devices[number % len(self.devices)]
        ref = self.program.allocated(self.node, f"storm-{number}", device)
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


def check_storm(program: Program, node: SimulatedNode) -> None:
    """Whatever is killed when, no device is given twice, nothing is left, and the machine is whole afterwards."""
    storm = Storm(program, node)
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
    # Everything can be had once more.
    refs = [program.allocated(node, f"after-{device}", device) for device in storm.devices]
    answers = node.kubelet.prepare(refs, program.driver)
    assert [answers[ref.uid].devices[0].device for ref in refs] == storm.devices
    assert set(node.kubelet.unprepare(refs, program.driver).values()) == {""}
    assert node.leftovers() == []
