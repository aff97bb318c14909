"""Every way from one state to another: so many that only the simulated kernel is asked for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from dra_common import effects
from dra_common.effects import Step, Target
from dra_common.errors import HardwareNotReady
from dra_common.pci import Setting
from dra_common.simulate import Function, Machine
from dra_common.testing.nic import PF
from dra_common.testing.nic.simulation import Igb
from pci.world import FOUND, IGB, NATIVE, STATES, VFIO, World


def test_fewer_vfs_than_asked_for_are_told(nic: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel accepts a number that its driver does not reach (``drivers/pci/iov.c``), and only warns."""

    def one(_: Igb, machine: Machine, pf: Function, count: int) -> int:
        machine.enable_vfs(pf, 1)
        return 1

    monkeypatch.setattr(Igb, "sriov_configure", one)
    with (
        nic.bus(seconds=0, patience=8) as bus,
        pytest.raises(HardwareNotReady, match=f"{PF}: 2 VFs: not so"),
    ):
        bus._set_numvfs(PF, 2)


def test_every_state_is_reached_from_every_other(nic: World) -> None:
    with nic.bus(seconds=100) as bus:
        for before in STATES:
            for target in STATES:
                bus.bring(PF, before)
                assert bus.setting(PF) == before
                bus.bring(PF, target)
                assert bus.setting(PF) == target


class Stop(BaseException):
    """What a crash is to the code that it hits."""


@contextmanager
def stopping(at: int, *, after: bool) -> Iterator[list[str]]:
    """Let everything end at the ``at``th write."""
    seen: list[str] = []

    @contextmanager
    def observer(step: Step, target: Target) -> Iterator[None]:
        if step != "hardware":
            yield
            return
        seen.append(str(target))
        if len(seen) == at and not after:
            raise Stop
        yield
        if len(seen) == at:
            raise Stop

    effects.observe(observer)
    try:
        yield seen
    finally:
        effects.observe(None)


CRASHES = [
    (FOUND, Setting(IGB, autoprobe=True, vfs=(VFIO, NATIVE))),
    (Setting(IGB, autoprobe=True, vfs=(NATIVE,)), Setting(VFIO, autoprobe=True)),
    (Setting(IGB, autoprobe=False, vfs=(VFIO,)), Setting(IGB, autoprobe=True, vfs=(NATIVE, VFIO))),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("found", "wanted"), CRASHES)
def test_from_a_crash_at_every_write_both_ways_lead_on(
    nic: World, found: Setting, wanted: Setting, *, after: bool
) -> None:
    with nic.bus() as bus, stopping(0, after=False):
        bus.bring(PF, found)
    with nic.bus() as bus, stopping(0, after=False) as writes:
        bus.bring(PF, wanted)
    assert writes
    for at in range(1, len(writes) + 1):
        for target in (found, wanted):
            with nic.bus() as bus:
                bus.bring(PF, found)
            with pytest.raises(Stop), nic.bus() as bus, stopping(at, after=after):
                bus.bring(PF, wanted)
            with nic.bus() as bus:
                bus.bring(PF, target)
                assert bus.setting(PF) == target
