"""Recovery: a process that died anywhere, started again on what it left."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dra_common.errors import DeviceHeld, HostError
from dra_common.lifecycle import Lifecycle, State
from dra_common.model import ClaimRef, ContainerEdits, Phase
from dra_common.recovery import failed_devices
from dra_common.testing.bench import Bench, config, soon


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


class Killed(BaseException):
    """Not an Exception: nothing in the product may catch it, as nothing catches SIGKILL."""


class Mortal:
    """Passes every call on, and dies before or after the call number ``at``; counts all calls."""

    def __init__(self, target: Any, life: Life) -> None:
        self._target = target
        self._life = life

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._target, name)
        return self._wrap(attribute) if callable(attribute) and name in self._life.counted else attribute

    def _wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*arguments: Any, **named: Any) -> Any:
            self._life.count += 1
            here = self._life.count == self._life.at
            if here and self._life.before:
                raise Killed
            result = call(*arguments, **named)
            if here:
                raise Killed
            return result

        return mortal


class Life:
    """Every call that changes something on the node, counted over records, holds, CDI files and hardware."""

    counted = frozenset(
        {
            "save",
            "delete",
            "set_aside",
            "forget_set_aside",
            "take",
            "release",
            "release_all",
            "write",
            "apply",
            "revert",
        }
    )

    def __init__(self, at: int = 0, *, before: bool = True) -> None:
        self.at, self.before, self.count = at, before, 0

    def attach(self, bench: Bench) -> None:
        state = State(*(Mortal(part, self) for part in (bench.records, bench.holds, bench.specs)))
        driver = Mortal(bench.driver, self)
        lifecycle = Lifecycle(driver, bench.host, state, bench.bell, f"boot-{bench.boot}")
        bench.state, bench.lifecycle = state, lifecycle
        bench.engine = type(bench.engine)(driver, lifecycle, bench.claims, bench.locks, "node-1")


def die(bench: Bench, at: int, *, before: bool, scenario: Callable[[], object]) -> bool:
    """Run ``scenario`` until its operation number ``at``; False if it has no so many operations."""
    Life(at, before=before).attach(bench)
    try:
        scenario()
    except Killed:
        return True
    return False


def operations(tmp_path: Path, prepare: Callable[[Bench], Callable[[], object]]) -> int:
    bench = Bench(tmp_path / "count")
    scenario = prepare(bench)
    life = Life()
    life.attach(bench)
    scenario()
    return life.count


def check_whole_life(bench: Bench, ref: ClaimRef) -> None:
    """After recovery the claim can be prepared with its own devices, and unprepared with nothing left."""
    answer = bench.engine.prepare(ref, soon())
    assert [device.cdi_ids for device in answer] == [(f"example.com/knob={ref.uid}-{name}",) for name in "ab"]
    assert not bench.specs.unresolved(ref.uid, [name for device in answer for name in device.cdi_ids])
    assert (bench.level("a"), bench.level("b")) == (5, 5)
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []
    assert (bench.level("a"), bench.level("b")) == (1, 1)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_at_every_operation_of_prepare(tmp_path: Path, *, before: bool) -> None:
    """51: recovery leaves nothing of a preparation that never finished."""

    def arrange(bench: Bench) -> Callable[[], object]:
        ref = bench.claim("one", "a", "b", config=[config(5)])
        return lambda: bench.engine.prepare(ref, soon())

    count = operations(tmp_path, arrange)
    assert count >= 6
    for at in range(1, count + 1):
        bench = Bench(tmp_path / f"at-{at}")
        assert die(bench, at, before=before, scenario=arrange(bench))
        bench.start()
        recovered = bench.recover()
        finished = (at, before) == (count, False)
        assert bool(recovered.kept) == finished, f"operation {at}"
        if not finished:
            assert bench.leftovers() == [], f"operation {at}"
            assert (bench.level("a"), bench.level("b")) == (1, 1)
        check_whole_life(bench, ClaimRef("default", "one", "uid-one"))


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_at_every_operation_of_unprepare(tmp_path: Path, *, before: bool) -> None:
    """51: recovery finishes what was begun; the kubelet's next unprepare succeeds either way."""

    def arrange(bench: Bench) -> Callable[[], object]:
        ref = bench.claim("one", "a", "b", config=[config(5)])
        bench.engine.prepare(ref, soon())
        return lambda: bench.engine.unprepare(ref, soon())

    for at in range(1, operations(tmp_path, arrange) + 1):
        bench = Bench(tmp_path / f"at-{at}")
        assert die(bench, at, before=before, scenario=arrange(bench))
        bench.start()
        bench.recover()
        bench.engine.unprepare(ClaimRef("default", "one", "uid-one"), soon())
        assert bench.leftovers() == [], f"operation {at}"
        assert (bench.level("a"), bench.level("b")) == (1, 1)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_at_every_operation_of_recovery(tmp_path: Path, *, before: bool) -> None:
    """A crash while recovering from a crash."""

    def arrange(bench: Bench) -> Callable[[], object]:
        ref = bench.claim("one", "a", "b", config=[config(5)])
        assert die(bench, 5, before=True, scenario=lambda: bench.engine.prepare(ref, soon()))
        bench.start()
        return bench.recover

    for at in range(1, operations(tmp_path, arrange) + 1):
        bench = Bench(tmp_path / f"at-{at}")
        assert die(bench, at, before=before, scenario=arrange(bench))
        bench.start()
        bench.recover()
        assert bench.leftovers() == [], f"operation {at}"
        check_whole_life(bench, ClaimRef("default", "one", "uid-one"))


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_at_every_operation_of_prepare_after_a_reboot(tmp_path: Path, *, before: bool) -> None:
    def arrange(bench: Bench) -> Callable[[], object]:
        ref = bench.claim("one", "a", "b", config=[config(5)])
        bench.engine.prepare(ref, soon())
        bench.reboot()
        return lambda: bench.engine.prepare(ref, soon())

    for at in range(1, operations(tmp_path, arrange) + 1):
        bench = Bench(tmp_path / f"at-{at}")
        assert die(bench, at, before=before, scenario=arrange(bench))
        bench.start()
        bench.recover()
        check_whole_life(bench, ClaimRef("default", "one", "uid-one"))


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


def test_orphans_of_unknown_claims_are_removed(bench: Bench) -> None:
    bench.specs.write("uid-x", {"knob": {"uid-x-a": ContainerEdits(env=("KNOB=1",))}})
    bench.holds.take("a", None, "uid-y")
    (bench.root / "state/claims/uid-z.lock").write_text("")
    (bench.root / "state/claims/uid-w.json.tmp").write_text("{")
    assert sorted(bench.recover().orphans) == ["uid-w", "uid-x", "uid-y", "uid-z"]
    assert bench.leftovers() == []


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
    ref = bench.claim("one", "a", config=[config(5)])
    assert die(bench, 4, before=True, scenario=lambda: bench.engine.prepare(ref, soon()))
    bench.start()
    with bench.locks.claim("uid-one", soon()):
        recovered = bench.recover()
    assert (recovered.undone, recovered.failed) == ([], [])
    assert bench.recover().undone == ["uid-one"]


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
        assert die(bench, 5, before=True, scenario=lambda ref=ref: bench.engine.prepare(ref, soon()))  # type: ignore[misc]
        bench.start()
    bench.driver.broken = {"revert:a"}
    recovered = bench.recover()
    assert (recovered.failed, recovered.undone) == (["uid-a"], ["uid-b"])
    assert list(failed_devices(bench.state)) == ["a"]
    bench.driver.broken = set()
    assert bench.recover().undone == ["uid-a"]
    assert failed_devices(bench.state) == {}
    assert bench.leftovers() == []


def test_failed_devices_survive_a_restart_and_name_the_reason(bench: Bench) -> None:
    ref = bench.claim("one", "a", config=[config(5)])
    bench.driver.broken = {"apply:a", "revert:a"}
    with pytest.raises(HostError):
        bench.engine.prepare(ref, soon())
    bench.start()
    assert "the knob is stuck" in failed_devices(bench.state)["a"]


def test_a_newer_record_is_reported_and_kept(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.engine.prepare(bench.claim("one", "a"), soon())
    path = bench.root / "state/claims/uid-one.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 7}))
    with caplog.at_level(logging.ERROR):
        assert bench.recover().failed == ["uid-one"]
    assert "schema 7" in caplog.text
    assert bench.holds.holders() == {("a", None): "uid-one"}


def test_phases_on_disk_are_the_documented_words(bench: Bench) -> None:
    """Later releases read them."""
    bench.engine.prepare(bench.claim("one", "a"), soon())
    stored = json.loads((bench.root / "state/claims/uid-one.json").read_text())
    assert stored["record"]["phase"] == "prepared"
    assert {phase.value for phase in Phase} == {"preparing", "prepared", "unpreparing", "failed"}
