"""What a claim may do to devices that are not (any more) its own, and what remains of it when a step fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from dra_common.errors import DeviceHeld, DraError, HostError, StateError
from dra_common.model import ClaimRecord, ClaimRef, Phase
from dra_common.testing.bench import Bench, config, soon
from mortal import Life, calls, lives


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def record(bench: Bench, name: str) -> ClaimRecord:
    found = bench.records.load(f"uid-{name}")
    assert found is not None
    return found


def failed(bench: Bench, name: str, *devices: str) -> ClaimRef:
    """A claim whose preparation failed and could not be undone."""
    ref = bench.claim(name, *devices, config=[config(5)])
    bench.driver.broken = {f"apply:{devices[-1]}", f"revert:{devices[-1]}"}
    with pytest.raises(HostError):
        bench.engine.prepare(ref, soon())
    bench.driver.broken = set()
    return ref


def refused(bench: Bench, ref: ClaimRef) -> None:
    with pytest.raises(DeviceHeld):
        bench.engine.prepare(ref, soon())


# ---------------------------------------------------------------- other claims' devices


def test_a_claim_that_was_refused_leaves_the_holders_hardware_alone(tmp_path: Path) -> None:
    """Killed at any moment, and undone when the device has long been somebody else's."""
    for life in lives():
        bench = Bench(tmp_path / str(life.at))
        first = bench.claim("one", "a", config=[config(3)])
        second = bench.claim("two", "b", "a", config=[config(7)])
        third = bench.claim("three", "a", config=[config(9)])
        bench.engine.prepare(first, soon())
        life.dies(refused, bench, second)
        bench.engine.unprepare(first, soon())
        bench.engine.prepare(third, soon())
        bench.start()
        bench.recover()
        assert bench.level("a") == 9, f"call {life.at}"
        bench.engine.unprepare(second, soon())
        assert bench.level("a") == 9, f"call {life.at}"
        bench.engine.unprepare(third, soon())
        assert bench.leftovers() == []
        assert (bench.level("a"), bench.level("b")) == (1, 1)


def test_a_killed_unprepare_is_finished_without_touching_the_next_holder(tmp_path: Path) -> None:
    """Two instances during an upgrade: one dies, the other has given the device away before it recovers the first."""
    for life in lives():
        bench = Bench(tmp_path / str(life.at))
        first = bench.claim("one", "a", config=[config(3)])
        second = bench.claim("two", "a", config=[config(7)])
        bench.engine.prepare(first, soon())
        life.dies(bench.engine.unprepare, first, soon())
        bench.start()
        try:
            bench.engine.prepare(second, soon())
            level = 7
        except DeviceHeld:
            level = 1
        bench.recover()
        bench.engine.unprepare(first, soon())
        assert bench.level("a") == level, f"call {life.at}"
        bench.engine.unprepare(second, soon())
        assert bench.leftovers() == []
        assert bench.level("a") == 1


def test_a_hold_removed_by_hand_does_not_give_the_hardware_back_under_the_next_holder(bench: Bench) -> None:
    """Operators do remove files to "unstick" a claim."""
    first, second = (
        bench.claim(name, "a", config=[config(level)]) for name, level in (("one", 3), ("two", 7))
    )
    bench.engine.prepare(first, soon())
    (bench.root / "state/held/a").unlink()
    bench.engine.prepare(second, soon())
    with pytest.raises(DeviceHeld, match="default/two"):
        bench.engine.prepare(first, soon())
    bench.engine.unprepare(first, soon())
    assert bench.level("a") == 7
    assert bench.holds.holders() == {("a", None): "uid-two"}


def test_a_hold_removed_by_hand_is_taken_again_when_the_claim_is_asked_for(bench: Bench) -> None:
    ref = bench.claim("one", "a")
    answer = bench.engine.prepare(ref, soon())
    (bench.root / "state/held/a").unlink()
    assert bench.engine.prepare(ref, soon()) == answer
    with pytest.raises(DeviceHeld):
        bench.engine.prepare(bench.claim("two", "a"), soon())


# ---------------------------------------------------------------- an earlier boot


@pytest.mark.parametrize("state", ["prepared", "failed"])
def test_what_an_earlier_boot_did_is_not_reverted(bench: Bench, state: str) -> None:
    """The reboot undid it, and by now the name may be another card's."""
    if state == "failed":
        ref = failed(bench, "one", "a")
    else:
        ref = bench.claim("one", "a", config=[config(5)])
        bench.engine.prepare(ref, soon())
    bench.reboot()
    bench.knob("a").write_text("4\n")
    bench.driver.broken = {"revert:a"}
    bench.engine.unprepare(ref, soon())
    assert bench.level("a") == 4
    assert bench.leftovers() == []


def test_a_failed_claim_of_an_earlier_boot_no_longer_taints_its_device(bench: Bench) -> None:
    failed(bench, "one", "a")
    assert bench.tainted() == {"a": ["revert-failed"]}
    bench.reboot()
    bench.bell.reasons.clear()
    bench.recover()
    assert bench.tainted() == {}
    assert bench.bell.reasons, "the reconciler must hear of it, to lift the taint"


def test_a_preparation_killed_after_a_reboot_leaves_the_claim_its_devices_and_its_answer(
    tmp_path: Path,
) -> None:
    """The claim is still allocated and its pod will ask again: only this boot's work is undone."""
    for life in lives():
        bench = Bench(tmp_path / str(life.at))
        ref = bench.claim("one", "a", "b", config=[config(5)])
        answer = bench.engine.prepare(ref, soon())
        bench.reboot()
        bench.recover()
        life.dies(bench.engine.prepare, ref, soon())
        bench.start()
        bench.recover()
        with pytest.raises(DeviceHeld, match="default/one"):
            bench.engine.prepare(bench.claim("two", "b"), soon())
        assert bench.engine.prepare(ref, soon()) == answer
        bench.engine.unprepare(ref, soon())
        assert bench.leftovers() == []
        assert (bench.level("a"), bench.level("b")) == (1, 1)


def test_a_preparation_that_fails_after_a_reboot_and_cannot_be_undone_keeps_the_answer(bench: Bench) -> None:
    ref = bench.claim("one", "a", config=[config(5)])
    answer = bench.engine.prepare(ref, soon())
    bench.reboot()
    bench.driver.broken = {"apply:a", "revert:a"}
    with pytest.raises(HostError, match="apply"):
        bench.engine.prepare(ref, soon())
    assert (record(bench, "one").phase, record(bench, "one").answer) == (Phase.FAILED, answer)
    bench.driver.broken = set()
    assert bench.engine.prepare(ref, soon()) == answer
    assert bench.level("a") == 5


# ---------------------------------------------------------------- failures


def test_every_system_call_of_prepare_may_fail_and_the_next_call_heals(tmp_path: Path) -> None:
    """The error is an explained one, and no restart is needed."""
    ref = ClaimRef("default", "one", "uid-one")
    counted = Bench(tmp_path / "count")
    counted.claim("one", "a", "b", config=[config(5)])
    for at in range(1, calls(counted.engine.prepare, ref, soon()) + 1):
        bench = Bench(tmp_path / str(at))
        bench.claim("one", "a", "b", config=[config(5)])
        with Life(at, no_space).lived() as life:
            try:
                bench.engine.prepare(ref, soon())
            except DraError as error:
                assert "No space left" in str(error), life.log[-1]  # noqa: PT017
        assert bench.engine.prepare(ref, soon())
        assert (bench.level("a"), bench.level("b")) == (5, 5)
        bench.engine.unprepare(ref, soon())
        assert bench.leftovers() == [], f"call {at}"
        assert (bench.level("a"), bench.level("b")) == (1, 1)


def test_every_system_call_of_unprepare_may_fail_and_the_next_call_heals(tmp_path: Path) -> None:
    ref = ClaimRef("default", "one", "uid-one")

    def prepared(name: str) -> Bench:
        bench = Bench(tmp_path / name)
        bench.engine.prepare(bench.claim("one", "a", "b", config=[config(5)]), soon())
        return bench

    counted = prepared("count")
    for at in range(1, calls(counted.engine.unprepare, ref, soon()) + 1):
        bench = prepared(str(at))
        with Life(at, no_space).lived() as life:
            try:
                bench.engine.unprepare(ref, soon())
            except DraError as error:
                assert "No space left" in str(error), life.log[-1]  # noqa: PT017
        bench.engine.unprepare(ref, soon())
        assert bench.leftovers() == [], f"call {at}"
        assert (bench.level("a"), bench.level("b")) == (1, 1)


def test_a_full_disk_stops_prepare_but_not_unprepare(bench: Bench) -> None:
    """A kubelet evicts pods to free space: to clean up must not need any."""
    ref = bench.claim("one", "a", config=[config(5)])
    bench.engine.prepare(ref, soon())
    full = Life(1, no_space, lasting=True, when=lambda call: call.startswith("open") and ".tmp" in call)
    with full.lived():
        with pytest.raises(StateError, match=r"No space left.*free space"):
            bench.engine.prepare(bench.claim("two", "b", config=[config(5)]), soon())
        bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []
    assert (bench.level("a"), bench.level("b")) == (1, 1)


@pytest.mark.parametrize("fault", ["revert:a", "bug:revert:a"])
def test_the_first_error_is_told_when_undoing_fails_too(bench: Bench, fault: str) -> None:
    ref = bench.claim("one", "a", config=[config(5)])
    bench.driver.broken = {"apply:a", fault}
    with pytest.raises(HostError, match="apply: the knob is stuck"):
        bench.engine.prepare(ref, soon())
    assert record(bench, "one").phase is Phase.FAILED
    assert record(bench, "one").error
    assert bench.tainted() == {"a": ["revert-failed"]}
    bench.driver.broken = set()
    bench.engine.prepare(ref, soon())
    assert bench.level("a") == 5
    assert bench.tainted() == {}


def test_the_first_error_is_told_when_the_failure_cannot_even_be_recorded(bench: Bench) -> None:
    ref = bench.claim("one", "a", config=[config(5)])
    bench.driver.broken = {"apply:a", "revert:a"}
    full = Life(2, no_space, lasting=True, when=lambda call: call.startswith("open") and ".tmp" in call)
    with full.lived(), pytest.raises(HostError, match="apply: the knob is stuck"):
        bench.engine.prepare(ref, soon())
    bench.driver.broken = set()
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []


def test_only_devices_whose_hardware_was_to_be_changed_are_tainted(bench: Bench) -> None:
    """A monitor with adminAccess changes nothing, and taints nobody's device."""
    ref = bench.claim("one", {"device": "b", "adminAccess": True}, "a", config=[config(5)])
    bench.driver.broken = {"apply:a", "revert:a"}
    with pytest.raises(HostError):
        bench.engine.prepare(ref, soon())
    assert bench.tainted() == {"a": ["revert-failed"]}


def test_a_claim_that_stays_failed_stays_tainted_while_it_is_tried_again(bench: Bench) -> None:
    """Each try must not lift the taint and set it again: that would be two slices a minute."""
    ref = failed(bench, "one", "a")
    bench.driver.broken = {"revert:a"}
    with Life().lived() as life, pytest.raises(HostError, match="revert"):
        bench.engine.unprepare(ref, soon())
    assert sum("rename" in call for call in life.log) <= 1
    assert bench.tainted() == {"a": ["revert-failed"]}


@pytest.mark.parametrize("step", ["discover", "locks", "plan", "apply", "edits"])
def test_a_bug_of_a_driver_in_any_step_leaves_nothing_and_is_over_when_it_is_over(
    bench: Bench, step: str
) -> None:
    ref = bench.claim("one", "a", "b", config=[config(5)])
    bench.driver.broken = {f"bug:{step}:b"}
    with pytest.raises(RuntimeError, match=f"a bug in {step}"):
        bench.engine.prepare(ref, soon())
    assert bench.leftovers() == []
    assert (bench.level("a"), bench.level("b")) == (1, 1)
    bench.driver.broken = set()
    bench.engine.prepare(ref, soon())
    bench.driver.broken = {"bug:revert:b"}
    with pytest.raises(RuntimeError, match="a bug in revert"):
        bench.engine.unprepare(ref, soon())
    assert record(bench, "one").phase is Phase.FAILED
    bench.driver.broken = set()
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []
    assert (bench.level("a"), bench.level("b")) == (1, 1)
