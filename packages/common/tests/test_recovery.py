"""Recovery: a process that died anywhere, started again on what it left."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from dra_common.codec import decode, encode
from dra_common.deadline import Deadline
from dra_common.errors import DeviceHeld, HostError, NewerRecord, StateError
from dra_common.model import (
    Allocated,
    ClaimRecord,
    ClaimRef,
    ContainerEdits,
    Phase,
    Plan,
    PlannedDevice,
)
from dra_common.telemetry import Reason
from dra_common.testing.bench import NODE, Bench, config, soon
from mortal import Life, calls, lives
from pydantic import JsonValue


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def operations(
    tmp_path: Path, arrange: Callable[[Bench], Callable[[], object]]
) -> Iterator[tuple[int, Bench]]:
    """Benches on which what ``arrange`` returns was killed before each of its system calls, and after the last."""
    count = calls(arrange(Bench(tmp_path / "count")))
    assert count > 2
    for at in range(1, count + 2):
        bench = Bench(tmp_path / f"at-{at}")
        scenario = arrange(bench)
        assert Life(at).dies(scenario) == (at <= count)
        bench.start()
        yield at, bench


def check_whole_life(bench: Bench, ref: ClaimRef) -> None:
    """After recovery the claim can be prepared with its own devices, and unprepared with nothing left."""
    answer = bench.engine.prepare(ref, soon())
    assert [device.cdi_ids for device in answer] == [(f"example.com/knob={ref.uid}-{name}",) for name in "ab"]
    assert not bench.specs.unresolved(ref.uid, [name for device in answer for name in device.cdi_ids])
    assert (bench.level("a"), bench.level("b")) == (5, 5)
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []
    assert (bench.level("a"), bench.level("b")) == (1, 1)


ONE = ClaimRef("default", "one", "uid-one")


def wanted(bench: Bench) -> ClaimRef:
    return bench.claim("one", "a", "b", config=[config(5)])


def half_prepared(bench: Bench) -> ClaimRef:
    """Killed between the first device's hardware and the second's."""
    ref = wanted(bench)
    # The record is written, then the first device, then the second.
    life = Life(3, when=lambda call: call.startswith("write"))
    assert life.dies(bench.engine.prepare, ref, soon())
    assert (bench.level("a"), bench.level("b")) == (5, 1)
    bench.start()
    return ref


@pytest.mark.defect(12)
@pytest.mark.scenario(51)
def test_killed_anywhere_in_prepare(tmp_path: Path) -> None:
    """51: recovery leaves nothing of a preparation that never finished."""

    def arrange(bench: Bench) -> Callable[[], object]:
        return partial(bench.engine.prepare, wanted(bench), soon(3600))

    for at, bench in operations(tmp_path, arrange):
        recovered = bench.recover()
        if not recovered.kept:
            assert bench.leftovers() == [], f"call {at}"
            assert (bench.level("a"), bench.level("b")) == (1, 1)
        check_whole_life(bench, ONE)


@pytest.mark.scenario(51)
def test_killed_anywhere_in_unprepare(tmp_path: Path) -> None:
    """51: recovery finishes what was begun; the kubelet's next unprepare succeeds either way."""

    def arrange(bench: Bench) -> Callable[[], object]:
        ref = wanted(bench)
        bench.engine.prepare(ref, soon())
        return partial(bench.engine.unprepare, ref, soon(3600))

    for at, bench in operations(tmp_path, arrange):
        bench.recover()
        bench.engine.unprepare(ONE, soon())
        assert bench.leftovers() == [], f"call {at}"
        assert (bench.level("a"), bench.level("b")) == (1, 1)


@pytest.mark.scenario(51)
def test_killed_anywhere_in_recovery(tmp_path: Path) -> None:
    """A crash while recovering from a crash."""

    def arrange(bench: Bench) -> Callable[[], object]:
        half_prepared(bench)
        return bench.recover

    for at, bench in operations(tmp_path, arrange):
        bench.recover()
        assert bench.leftovers() == [], f"call {at}"
        check_whole_life(bench, ONE)


@pytest.mark.scenario(51)
def test_killed_anywhere_in_prepare_after_a_reboot(tmp_path: Path) -> None:
    def arrange(bench: Bench) -> Callable[[], object]:
        ref = wanted(bench)
        bench.engine.prepare(ref, soon())
        bench.reboot()
        return partial(bench.engine.prepare, ref, soon(3600))

    for _, bench in operations(tmp_path, arrange):
        bench.recover()
        check_whole_life(bench, ONE)


@pytest.mark.scenario(51)
def test_killed_anywhere_needs_no_recovery_before_the_next_call(tmp_path: Path) -> None:
    """Another instance may get the kubelet's next call before anybody recovers."""

    def arrange(bench: Bench) -> Callable[[], object]:
        return partial(bench.engine.prepare, wanted(bench), soon(3600))

    for _, bench in operations(tmp_path, arrange):
        check_whole_life(bench, ONE)


def test_prepared_claims_are_kept_and_their_cdi_files_restored(bench: Bench) -> None:
    """18: before the kubelet asks, since it starts containers from ids it remembers."""
    ref = bench.claim("one", "a", config=[config(5)])
    answer = bench.engine.prepare(ref, soon())
    (bench.root / "cdi/example.com-knob_uid-one.json").unlink()
    bench.start()
    recovered = bench.recover()
    assert recovered.kept == ["uid-one"]
    assert not bench.specs.unresolved("uid-one", answer[0].cdi_ids)
    assert bench.level("a") == 5


def test_a_lost_hold_of_a_prepared_claim_is_taken_again(bench: Bench) -> None:
    """A power cut may lose a link that was not yet on disk; the record speaks for it."""
    bench.engine.prepare(bench.claim("one", "a"), soon())
    (bench.root / "state/held/a").unlink()
    bench.start()
    bench.recover()
    with pytest.raises(DeviceHeld):
        bench.engine.prepare(bench.claim("two", "a"), soon())


def test_a_lost_hold_is_taken_again_by_a_claim_that_was_being_prepared_anew(tmp_path: Path) -> None:
    """Prepared in one boot, killed while it was prepared in the next, and a power cut before the third."""
    for life in lives():
        bench = Bench(tmp_path / str(life.at))
        ref = bench.claim("one", "a", config=[config(4)])
        answer = bench.engine.prepare(ref, soon())
        bench.reboot()
        life.dies(bench.engine.prepare, ref, soon())
        (bench.root / "state/held/a").unlink(missing_ok=True)
        bench.reboot()
        bench.recover()
        with pytest.raises(DeviceHeld, match="default/one"):
            bench.engine.prepare(bench.claim("thief", "a"), soon())
        assert bench.engine.prepare(ref, soon()) == answer, f"call {life.at}"


def test_orphans_of_unknown_claims_are_removed(bench: Bench) -> None:
    bench.specs.write("uid-x", {"knob": {"uid-x-a": ContainerEdits(env=("KNOB=1",))}})
    bench.holds.take("a", None, "uid-y")
    (bench.root / "state/claims/uid-z.lock").write_text("")
    (bench.root / "state/claims/uid-w.json.tmp").write_text("{")
    (bench.root / "state/held/b").mkdir()
    bench.holds.take("c", "0a", "uid-y")
    assert sorted(bench.recover().orphans) == ["uid-w", "uid-x", "uid-y", "uid-z"]
    assert bench.leftovers() == []


def test_what_an_interrupted_save_left_beside_a_good_record_is_removed(bench: Bench) -> None:
    """Killed while unprepare wrote its first record: the claim is prepared still."""
    ref = bench.claim("one", "a")
    answer = bench.engine.prepare(ref, soon())
    left = bench.root / "state/claims/uid-one.json.tmp"
    left.write_text("{")
    bench.start()
    assert bench.recover().kept == ["uid-one"]
    assert not left.exists()
    assert bench.engine.prepare(ref, soon()) == answer


def test_an_old_unfinished_cdi_file_is_removed(bench: Bench) -> None:
    bench.specs.write("uid-x", {"knob": {"uid-x-a": ContainerEdits(env=("KNOB=1",))}})
    bench.specs.delete("uid-x")
    left = bench.root / "cdi/example.com-knob_uid-x.json.tmp"
    left.write_text("{")
    os.utime(left, (0, 0))
    bench.recover()
    assert bench.leftovers() == []


def test_foreign_cdi_files_are_not_ours_to_remove(bench: Bench) -> None:
    names = (
        "example.com-knob.json",
        "other.com-knob_uid-x.json",
        "example.com-knob.yaml",
        "example.com-knobs_u.json",
    )
    folder = bench.root / "cdi"
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("{}")
    bench.recover()
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_claim_that_another_instance_works_on_is_left_to_it(bench: Bench) -> None:
    half_prepared(bench)
    with bench.locks.claim("uid-one", soon()):
        recovered = bench.recover()
    assert (recovered.undone, recovered.failed) == ([], [])
    assert bench.recover().undone == ["uid-one"]


@pytest.mark.scenario(52)
def test_a_corrupt_record_is_set_aside_and_its_device_stays_held(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Its container may still run: nobody else gets the device before the kubelet unprepares the claim."""
    ref = bench.claim("one", "a")
    bench.engine.prepare(ref, soon())
    other = bench.claim("two", "b")
    bench.engine.prepare(other, soon())
    (bench.root / "state/claims/uid-one.json").write_bytes(b"\x00\xff")
    bench.start()
    with caplog.at_level(logging.ERROR):
        recovered = bench.recover()
    assert "uid-one.json.corrupt-1" in caplog.text
    assert bench.told.counts == {
        "intel_dra_claim_records_set_aside_total": 1,
        "intel_dra_recovery_actions_total{kept}": 1,
    }
    ((reason, note),) = bench.told.events
    assert reason is Reason.RECORD_SET_ASIDE
    assert "uid-one.json is not JSON" in note
    assert recovered.kept == ["uid-two"]
    assert (bench.root / "cdi/example.com-knob_uid-one.json").exists()
    with pytest.raises(DeviceHeld, match="with uid uid-one"):
        bench.engine.prepare(bench.claim("three", "a"), soon())
    bench.start()
    bench.recover()
    assert bench.holds.holders()["a", None] == "uid-one", "a second start remembers too"
    for one in (ref, other):
        bench.engine.unprepare(one, soon())
    assert bench.leftovers() == []


def test_a_revert_that_fails_again_is_left_for_later_and_the_others_go_on(bench: Bench) -> None:
    first, second = (bench.claim(name, name, config=[config(5)]) for name in "ab")
    for ref in (first, second):
        life = Life(1, when=lambda call: call.startswith("rename") and "cdi" in call)
        assert life.dies(bench.engine.prepare, ref, soon())
        bench.start()
    bench.driver.broken = {"revert:a"}
    recovered = bench.recover()
    assert (recovered.failed, recovered.undone) == (["uid-a"], ["uid-b"])
    assert bench.tainted() == {"a": ["revert-failed"]}
    bench.driver.broken = set()
    assert bench.recover().undone == ["uid-a"]
    assert bench.tainted() == {}
    assert bench.leftovers() == []


def test_what_failed_after_a_reboot_stays_promised(bench: Bench) -> None:
    """The kubelet has the answer of the boot before, and gets no other; nobody else gets the device."""
    ref = bench.claim("one", "a", config=[config(5)])
    answer = bench.engine.prepare(ref, soon())
    bench.reboot()
    bench.driver.broken = {"apply:a", "revert:a"}
    with pytest.raises(HostError):
        bench.engine.prepare(ref, soon())
    bench.driver.broken = set()
    bench.start()
    bench.recover()
    assert bench.tainted() == {}
    with pytest.raises(DeviceHeld):
        bench.engine.prepare(bench.claim("two", "a"), soon())
    assert bench.engine.prepare(ref, soon()) == answer
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []
    assert bench.level("a") == 1


@pytest.mark.parametrize("failed_before", [False, True])
def test_nothing_is_promised_of_what_was_to_be_unprepared(bench: Bench, failed_before: bool) -> None:  # noqa: FBT001
    ref = bench.claim("one", "a", config=[config(5)])
    bench.engine.prepare(ref, soon())
    bench.driver.broken = {"apply:a", "revert:a"}
    if failed_before:
        bench.reboot()
        with pytest.raises(HostError):
            bench.engine.prepare(ref, soon())
    with pytest.raises(HostError):
        bench.engine.unprepare(ref, soon())
    bench.driver.broken = set()
    bench.start()
    assert bench.recover().undone == ["uid-one"]
    assert bench.leftovers() == []
    assert bench.level("a") == 1


def test_failed_devices_survive_a_restart_and_name_the_reason(bench: Bench) -> None:
    ref = bench.claim("one", "a", config=[config(5)])
    bench.driver.broken = {"apply:a", "revert:a"}
    with pytest.raises(HostError):
        bench.engine.prepare(ref, soon())
    bench.start()
    assert bench.tainted() == {"a": ["revert-failed"]}
    ((reason, note),) = bench.told.events
    assert reason is Reason.REVERT_FAILED
    assert "claim default/one (uid uid-one): not given back: device a: revert: the knob is stuck" in note


@pytest.mark.scenario(52)
def test_a_newer_record_is_told_once_and_nothing_of_its_claim_is_touched(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """52: it belongs to a release that knows what it means; the other claims are served."""
    ref, other = bench.claim("one", "a", config=[config(5)]), bench.claim("two", "b")
    bench.engine.prepare(ref, soon())
    path = bench.root / "state/claims/uid-one.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 7}))
    before = {name: (bench.root / name).read_bytes() for name in bench.leftovers() if "held" not in name}
    bench.start()
    with caplog.at_level(logging.ERROR):
        assert bench.recover().failed == ["uid-one"]
    (line,) = (each for each in caplog.messages if "schema 7" in each)
    assert "install the release that wrote it" in line
    assert [reason for reason, _ in bench.told.events] == [Reason.RECORD_TOO_NEW]
    for call in (bench.engine.prepare, bench.engine.unprepare):
        with pytest.raises(NewerRecord, match="schema 7"):
            call(ref, soon())
    with pytest.raises(DeviceHeld, match="with uid uid-one"):
        bench.engine.prepare(bench.claim("thief", "a"), soon())
    bench.engine.prepare(other, soon())
    bench.engine.unprepare(other, soon())
    assert {name: (bench.root / name).read_bytes() for name in before} == before
    assert bench.holds.holders() == {("a", None): "uid-one"}
    assert bench.level("a") == 5
    assert len(bench.told.events) == 1


def test_what_a_later_release_noted_survives_everything_this_one_does(bench: Bench) -> None:
    """A step back to this release, a reboot and a new preparation, and forward again: nothing is lost."""
    ref = bench.claim("one", "a", config=[config(5)])
    answer = bench.engine.prepare(ref, soon())
    path = bench.root / "state/claims/uid-one.json"
    record = decode(path.read_bytes(), name="record")
    noted: dict[str, JsonValue] = {
        "tenant": "t",
        "record": {"added": 1, "answer": {"0": {"health": "ok"}}, "plan": {"cost": 2}},
    }
    path.write_bytes(encode(replace(record, unknown=noted)))
    bench.reboot()
    bench.recover()
    assert bench.engine.prepare(ref, soon()) == answer
    written = json.loads(path.read_bytes())
    assert written["tenant"] == "t"
    assert (written["record"]["added"], written["record"]["answer"][0]["health"]) == (1, "ok")
    # That was said about a plan that is no more.
    assert "cost" not in written["record"]["plan"]
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []


def test_phases_on_disk_are_the_documented_words(bench: Bench) -> None:
    """Later releases read them."""
    bench.engine.prepare(bench.claim("one", "a"), soon())
    stored = json.loads((bench.root / "state/claims/uid-one.json").read_text())
    assert stored["record"]["phase"] == "prepared"
    assert {phase.value for phase in Phase} == {"preparing", "prepared", "unpreparing", "failed"}


# ---------------------------------------------------------------- one bad thing never stops the others


def test_a_bug_of_a_driver_stops_neither_recovery_nor_the_start(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    half_prepared(bench)
    kept = bench.claim("kept", "c")
    bench.engine.prepare(kept, soon())
    bench.driver.broken = {"bug:revert:a"}
    with caplog.at_level(logging.ERROR):
        recovered = bench.recover()
    assert (recovered.failed, recovered.kept) == (["uid-one"], ["uid-kept"])
    assert "Traceback" in caplog.text
    assert bench.tainted() == {"a": ["revert-failed"], "b": ["revert-failed"]}
    bench.driver.broken = {"bug:discover:c"}
    assert bench.recover().failed == ["uid-kept"]
    bench.driver.broken = set()
    assert bench.recover().failed == []


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("keep")


def _huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


def _precious(path: Path) -> None:
    root = next(parent for parent in path.parents if (parent / "state").is_dir())
    (root / "precious").write_text("keep")
    path.symlink_to(root / "precious")


HOSTILE = [
    _folder,
    os.mkfifo,
    _huge,
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.symlink_to(path.name),
    _precious,
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", HOSTILE)
@pytest.mark.parametrize(
    "name",
    [
        "state/claims/uid-x.json",
        "state/claims/uid-x.json.tmp",
        "state/claims/uid-x.lock",
        "state/claims/.json",
        "state/claims/a b\n.json",
        "state/held/d",
        "state/held/x\ny",
        "cdi/example.com-knob_uid-x.json",
        "cdi/example.com-knob_uid-x.json.tmp",
    ],
)
def test_whatever_stands_in_the_folders_the_other_claims_are_served(
    bench: Bench, name: str, make: Callable[[Path], None]
) -> None:
    half_prepared(bench)
    kept = bench.claim("kept", "c")
    answer = bench.engine.prepare(kept, soon())
    make(bench.root / name)
    bench.start()
    recovered = bench.recover()
    assert (recovered.undone, recovered.kept) == (["uid-one"], ["uid-kept"])
    bench.tainted()
    assert bench.engine.prepare(kept, soon()) == answer
    bench.engine.prepare(wanted(bench), soon())
    for ref in (ONE, kept):
        bench.engine.unprepare(ref, soon())
    assert not [left for left in bench.leftovers() if "one" in left or "kept" in left]
    if make is _precious:
        assert (bench.root / "precious").read_text() == "keep"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", HOSTILE)
@pytest.mark.parametrize(
    "name", ["claims/uid-one.json", "claims/uid-one.json.tmp", "claims/uid-one.lock", "held/a"]
)
def test_whatever_stands_in_its_place_a_claim_is_served_or_refused_with_the_path(
    bench: Bench, name: str, make: Callable[[Path], None]
) -> None:
    make(bench.root / "state" / name)
    error = refusal(bench.engine.prepare, wanted(bench), soon())
    if error is None:
        assert (bench.level("a"), bench.level("b")) == (5, 5)
        return
    assert isinstance(error, DeviceHeld) or name in str(error)
    assert error.cure
    assert (bench.level("a"), bench.level("b")) == (1, 1)
    assert ("b", None) not in bench.holds.holders()


def refusal(call: Callable[..., object], *arguments: object) -> StateError | DeviceHeld | None:
    try:
        call(*arguments)
    except (StateError, DeviceHeld) as error:
        return error
    return None


def test_a_hold_that_names_no_uid_never_becomes_a_path(bench: Bench) -> None:
    (bench.root / "state/held/a").symlink_to("../../../outside")
    assert bench.recover().failed == ["../../../outside"]
    with pytest.raises(DeviceHeld, match="outside"):
        bench.engine.prepare(bench.claim("two", "a"), soon())
    assert not list(bench.root.parent.glob("outside*"))


def test_a_hold_that_came_back_with_a_power_cut_does_not_stand_in_the_way(bench: Bench) -> None:
    """Links are not synced: after a power cut the old one may be back and the new one missing."""
    ref = bench.claim("new", "a")
    answer = bench.engine.prepare(ref, soon())
    (bench.root / "state/held/a").unlink()
    bench.holds.take("a", None, "uid-gone")
    bench.reboot()
    recovered = bench.recover()
    assert (recovered.orphans, recovered.kept) == (["uid-gone"], ["uid-new"])
    assert bench.holds.holders() == {("a", None): "uid-new"}
    assert bench.engine.prepare(ref, soon()) == answer


def test_all_claims_together_wait_for_busy_hardware_only_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start must not take five seconds more with each claim that another instance is in the way of."""
    busy = Plan((PlannedDevice(Allocated("r", NODE, "a"), ("busy",)),))
    for number in range(20):
        bench.records.save(ClaimRecord(bench.claim(f"c{number}", "a"), Phase.UNPREPARING, "boot-1", busy))
    given, parents = list[Deadline](), bench.locks.parents

    def impatient(names: Iterable[str], deadline: Deadline) -> AbstractContextManager[None]:
        given.append(deadline)
        deadline.end()
        return parents(names, deadline)

    monkeypatch.setattr(bench.locks, "parents", impatient)
    with parents(["busy"], soon()):
        assert len(bench.recover().failed) == 20
    assert len({id(deadline) for deadline in given}) == 1
    assert len(bench.recover().undone) == 20
