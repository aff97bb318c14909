"""Processes that die while they change the cards; the cards are afterwards as they were found."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from dra_common.testing.mortal import Orders
from dra_common.testing.nic import PF
from nicmodes import FOUND, MODES
from nicrig import NicRig

OFTEN, SELDOM = 4, 10


@dataclass(frozen=True)
class Case:
    """Where a process is killed.

    Args:
        mode: of the claim.
        call: prepare or unprepare.
        every: of changes of files one in so many; of hardware each, before and after.
    """

    mode: str
    call: str
    every: int

    def points(self, changes: list[str]) -> list[Orders]:
        found = []
        for number, line in enumerate(changes, 1):
            hardware = " hardware " in line
            if hardware or number % self.every == 0:
                found.append(Orders("kill-before", number))
            # Nearly before the next one, but the kernel may still be at it.
            if hardware and self.every == OFTEN:
                found.append(Orders("kill-after", number))
        return found


CASES = [
    Case("whole-vfio", "prepare", OFTEN),
    Case("whole-vfio", "unprepare", OFTEN),
    Case("two-vfs-vfio", "prepare", SELDOM),
    Case("two-vfs-vfio", "unprepare", SELDOM),
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.mode}-{case.call}")
def test_killed_at_any_change_the_pf_is_afterwards_as_found(
    rig: NicRig, case: Case, record_property: Callable[[str, object], None]
) -> None:
    config, wanted = MODES[case.mode]
    ref = rig.nic_claim("one", PF, **config)
    log = rig.root / "changes"

    def call(process: NicRig) -> None:
        getattr(process, case.call)(ref)

    def before() -> None:
        if case.call == "unprepare":
            rig.prepare(ref)

    # The first of all makes folders, which then are there.
    for _ in ("first", "second"):
        before()
        log.unlink(missing_ok=True)
        assert rig.in_a_process(call, log=log) == 0
        rig.unprepare(ref)
    changes = log.read_text().splitlines()
    assert not [line for line in changes if line.startswith("beside")]
    points = case.points(changes)
    for number, orders in enumerate(points):
        before()
        assert rig.in_a_process(call, orders) == -signal.SIGKILL
        rig.begin()
        # The next life of the driver begins with recovery; then the kubelet tries again.
        rig.recover()
        if case.call == "prepare" and number % 2:
            rig.prepare(ref)
            assert rig.setting(PF) == wanted
        rig.unprepare(ref)
        assert rig.setting(PF) == FOUND
        assert rig.leftovers() == []
    assert points
    record_property("kills", [f"{case.mode} {case.call}", "SIGKILL", len(changes), len(points)])
