"""Hardware that several claims use in one of several exclusive ways: who may, which part, and who gives it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dra_common.audit import Audit, Kind
from dra_common.errors import DeviceHeld, DeviceRefused, HostError, NewerRecord
from dra_common.model import ClaimRef, ModeUse
from dra_common.telemetry import Reason
from dra_common.testing.bench import Bench, config, soon
from mortal import lives

SHARES = (
    "11111111-aaaa-4bbb-8ccc-000000000000",
    "22222222-aaaa-4bbb-8ccc-000000000000",
    "33333333-aaaa-4bbb",
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return split_bench(tmp_path)


def split_bench(root: Path) -> Bench:
    made = Bench(root)
    made.make_splittable("a", "b")
    return made


def share(bench: Bench, name: str, device: str = "a-x2", *, level: int = 0) -> ClaimRef:
    """A claim with one share of a device that is a mode."""
    result = {"device": device, "shareID": SHARES[["one", "two", "three"].index(name)]}
    return bench.claim(name, result, config=[config(level)])


def whole(bench: Bench, name: str = "all", device: str = "a", **more: Any) -> ClaimRef:
    return bench.claim(name, {"device": device, **more})


def prepare(bench: Bench, ref: ClaimRef) -> tuple[str, ...]:
    return tuple(name for device in bench.engine.prepare(ref, soon()) for name in device.cdi_ids)


def environment(bench: Bench, ref: ClaimRef) -> list[str]:
    """What the claim's containers have in their environment."""
    (path,) = (bench.root / "cdi").glob(f"*_{ref.uid}.json")
    devices = json.loads(path.read_text())["devices"]
    return [line for device in devices for line in device["containerEdits"]["env"]]


def file(bench: Bench, parent: str = "parent-a") -> Path:
    return bench.root / f"state/hardware/{parent}.json"


def finish(bench: Bench, *refs: ClaimRef) -> None:
    """Unprepare, and see that nothing is left."""
    for ref in refs:
        bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []
    assert (bench.split("a"), bench.split("b")) == (0, 0)


# ---------------------------------------------------------------- joining and leaving


@pytest.mark.parametrize("first_to_go", [0, 1])
def test_the_first_claim_sets_the_mode_and_the_last_one_gives_it_back(bench: Bench, first_to_go: int) -> None:
    refs = [share(bench, "one"), share(bench, "two")]
    prepare(bench, refs[0])
    assert bench.split("a") == 2
    prepare(bench, refs[1])
    assert [environment(bench, ref)[1] for ref in refs] == ["PART=0", "PART=1"]
    bench.engine.unprepare(refs[first_to_go], soon())
    assert bench.split("a") == 2
    finish(bench, refs[1 - first_to_go])


def test_a_part_that_was_given_back_is_the_next_ones(bench: Bench) -> None:
    one, two, three = (share(bench, name) for name in ("one", "two", "three"))
    prepare(bench, one)
    prepare(bench, two)
    with pytest.raises(DeviceRefused, match="all parts are in use"):
        prepare(bench, three)
    bench.engine.unprepare(one, soon())
    prepare(bench, three)
    assert environment(bench, three)[1] == "PART=0"
    finish(bench, two, three)


def test_a_claim_may_have_several_parts(bench: Bench) -> None:
    shares = [{"device": "a-x4", "shareID": each} for each in SHARES[:2]]
    both = bench.claim("both", *shares)
    prepare(bench, both)
    assert [line for line in environment(bench, both) if "PART" in line] == ["PART=0", "PART=1"]
    finish(bench, both)


@pytest.mark.parametrize(
    ("holder", "other", "wanted", "found"),
    [
        (share, whole, "whole", "x2"),
        (whole, lambda bench: share(bench, "two"), "x2", "whole"),
        (share, lambda bench: share(bench, "two", "a-x4"), "x4", "x2"),
    ],
)
def test_one_mode_excludes_the_others(
    bench: Bench, holder: Callable[..., ClaimRef], other: Callable[[Bench], ClaimRef], wanted: str, found: str
) -> None:
    first = holder(bench, "one")
    prepare(bench, first)
    second = other(bench)
    before = bench.split("a")
    with pytest.raises(DeviceHeld) as caught:
        prepare(bench, second)
    assert f"cannot be in mode {wanted}: it is in mode {found} for claim default/one" in str(caught.value)
    assert bench.split("a") == before
    assert bench.records.load(second.uid) is None
    bench.engine.unprepare(first, soon())
    prepare(bench, second)
    finish(bench, second)


def test_who_only_looks_is_in_nobodys_way(bench: Bench) -> None:
    spy = whole(bench, "spy", adminAccess=True)
    one = share(bench, "one")
    prepare(bench, spy)
    prepare(bench, one)
    assert json.loads(file(bench).read_text())["record"]["holders"] == {one.uid: [0]}
    assert {name: mode.mode for name, mode in bench.lifecycle.modes.seen().items()} == {"parent-a": "x2"}
    bench.engine.unprepare(spy, soon())
    assert bench.split("a") == 2
    finish(bench, one)


def test_what_is_the_claims_alone_goes_back_with_the_claim(bench: Bench) -> None:
    """A level is set besides, on the device of this claim only."""
    one, two = share(bench, "one"), bench.claim("two", "c", config=[config(5)])
    prepare(bench, one)
    prepare(bench, two)
    bench.engine.unprepare(two, soon())
    assert (bench.level("c"), bench.split("a")) == (1, 2)
    finish(bench, one)


def test_a_part_is_the_claims_from_joining_to_leaving_and_its_alone(bench: Bench) -> None:
    """Else it would be given back once more under the next claim."""
    one, two = share(bench, "one"), share(bench, "two")
    modes = bench.lifecycle.modes
    first, second = ModeUse("parent-a", "x2", 0), ModeUse("parent-a", "x2", 1)
    assert (modes.has(one.uid, first), modes.among({"parent-a", "parent-b"})) == (False, frozenset())
    prepare(bench, one)
    prepare(bench, two)
    assert modes.among({"parent-a", "parent-b"}) == {"parent-a"}
    assert [modes.has(one.uid, use) for use in (first, second)] == [True, False]
    # As it is made from records of which one is of a claim that never joined.
    stored = json.loads(file(bench).read_text())["record"]["holders"]
    assert stored == {one.uid: [0], two.uid: [1]}
    mode = modes.seen()["parent-a"]
    bench.lifecycle.modes.parents.save(mode.joined(two.uid, 0))
    assert not modes.has(one.uid, first)
    bench.lifecycle.modes.parents.save(mode)
    bench.engine.unprepare(one, soon())
    assert not modes.has(one.uid, first)
    finish(bench, two)


# ---------------------------------------------------------------- what goes wrong


def test_somebody_elses_change_is_never_joined(bench: Bench) -> None:
    bench.split("b", 3)
    with pytest.raises(DeviceRefused, match="somebody split it into 3"):
        prepare(bench, share(bench, "one", "b-x2"))
    assert bench.split("b") == 3
    bench.split("b", 0)
    one = share(bench, "one")
    prepare(bench, one)
    bench.split("a", 4)
    with pytest.raises(DeviceRefused, match="somebody split it into 4"):
        prepare(bench, share(bench, "two"))
    finish(bench, one)


def test_a_mode_that_cannot_be_set_leaves_nothing(bench: Bench) -> None:
    one = share(bench, "one")
    bench.driver.broken = {"apply:a-x2"}
    with pytest.raises(HostError):
        prepare(bench, one)
    assert bench.leftovers() == []


def test_a_mode_that_cannot_be_given_back_is_kept_until_it_can(bench: Bench) -> None:
    one = share(bench, "one")
    prepare(bench, one)
    bench.driver.broken = {"revert:a-x2"}
    with pytest.raises(HostError):
        bench.engine.unprepare(one, soon())
    bench.start()
    bench.driver.broken = {"revert:a-x2"}
    assert bench.recover().failed == [one.uid]
    with pytest.raises(DeviceHeld):
        prepare(bench, whole(bench))
    bench.driver.broken = set()
    finish(bench, one)


def ready(root: Path) -> tuple[Bench, ClaimRef, ClaimRef]:
    bench = split_bench(root)
    return bench, share(bench, "one"), share(bench, "two")


@pytest.mark.parametrize("start", [Bench.start, Bench.recover])
def test_killed_while_the_first_claim_sets_the_mode(tmp_path: Path, start: Callable[[Bench], object]) -> None:
    for life in lives():
        bench, one, two = ready(tmp_path / str(life.at))
        life.dies(prepare, bench, one)
        start(bench)
        prepare(bench, one)
        prepare(bench, two)
        assert [environment(bench, ref)[1] for ref in (one, two)] == ["PART=0", "PART=1"], f"call {life.at}"
        finish(bench, one, two)
    assert life.at - 1 > 15


def test_killed_while_another_claim_joins_and_the_first_goes(tmp_path: Path) -> None:
    for life in lives():
        bench, one, two = ready(tmp_path / str(life.at))
        prepare(bench, one)
        life.dies(prepare, bench, two)
        bench.start()
        bench.recover()
        assert bench.split("a") == 2
        bench.engine.unprepare(one, soon())
        finish(bench, two)
    assert life.at - 1 > 15


def test_killed_while_the_last_claim_gives_it_back(tmp_path: Path) -> None:
    for life in lives():
        bench, one, two = ready(tmp_path / str(life.at))
        prepare(bench, one)
        prepare(bench, two)
        bench.engine.unprepare(one, soon())
        life.dies(bench.engine.unprepare, two, soon())
        bench.start()
        bench.recover()
        bench.engine.unprepare(two, soon())
        prepare(bench, whole(bench))
        finish(bench, whole(bench))
    assert life.at - 1 > 10


def test_a_reboot_makes_it_whole_and_the_claims_take_it_again(bench: Bench) -> None:
    one, two = share(bench, "one"), share(bench, "two")
    ids = prepare(bench, one), prepare(bench, two)
    bench.reboot()
    bench.recover()
    assert not file(bench).exists()
    assert (prepare(bench, two), prepare(bench, one)) == ids[::-1]
    assert bench.split("a") == 2
    assert sorted(environment(bench, ref)[1] for ref in (one, two)) == ["PART=0", "PART=1"]
    finish(bench, one, two)


def test_a_claim_of_an_earlier_boot_leaves_what_others_use_now_alone(bench: Bench) -> None:
    one, two = share(bench, "one"), share(bench, "two")
    prepare(bench, one)
    bench.reboot()
    prepare(bench, two)
    bench.engine.unprepare(one, soon())
    assert bench.split("a") == 2
    finish(bench, two)


@pytest.mark.parametrize(
    "data", [b"", b"\0\xff", b'{"schema": 1', b'{"schema": 1, "sha256": "", "record": {}}']
)
def test_a_damaged_file_is_made_again_from_the_claims(bench: Bench, data: bytes) -> None:
    one, two = share(bench, "one"), share(bench, "two")
    prepare(bench, one)
    file(bench).write_bytes(data)
    prepare(bench, two)
    assert environment(bench, two)[1] == "PART=1"
    assert [reason for reason, _ in bench.told.events] == [Reason.RECORD_SET_ASIDE]
    assert file(bench).with_name("parent-a.json.corrupt-1").read_bytes() == data
    finish(bench, one, two)


def test_killed_while_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    for life in lives():
        bench, one, two = ready(tmp_path / str(life.at))
        prepare(bench, one)
        file(bench).write_bytes(b"{")
        life.dies(bench.recover)
        bench.start()
        prepare(bench, two)
        assert environment(bench, two)[1] == "PART=1", f"call {life.at}"
        finish(bench, one, two)
    assert life.at - 1 > 3


def test_a_damaged_file_that_no_claim_needs_is_set_aside_at_start(bench: Bench) -> None:
    file(bench).write_bytes(b"{")
    bench.recover()
    assert bench.leftovers() == ["state/hardware/parent-a.json.corrupt-1"]
    one = share(bench, "one")
    prepare(bench, one)
    finish(bench, one)


def test_a_file_of_other_hardware_is_damaged(bench: Bench) -> None:
    one = share(bench, "one")
    prepare(bench, one)
    file(bench, "parent-b").write_bytes(file(bench).read_bytes())
    prepare(bench, whole(bench, device="b"))
    assert bench.split("b") == 0


def test_a_file_of_a_newer_release_is_left_alone(bench: Bench) -> None:
    newer = b'{"schema": 2, "sha256": "", "record": {}}'
    file(bench).write_bytes(newer)
    bench.recover()
    with pytest.raises(NewerRecord, match="schema 2"):
        prepare(bench, share(bench, "one"))
    assert file(bench).read_bytes() == newer


def test_what_a_later_release_added_is_kept(bench: Bench) -> None:
    one, two = share(bench, "one"), share(bench, "two")
    prepare(bench, one)
    mode = bench.parents.load("parent-a")
    assert mode is not None
    bench.parents.save(replace(mode, unknown={"record": {"added": 1}}))
    prepare(bench, two)
    assert json.loads(file(bench).read_text())["record"]["added"] == 1
    finish(bench, one, two)


# ---------------------------------------------------------------- a record that is lost


def lose_record(bench: Bench, ref: ClaimRef) -> None:
    (bench.root / f"state/claims/{ref.uid}.json").unlink()


def test_hardware_of_a_claim_without_a_record_is_given_back_at_start(bench: Bench) -> None:
    one = share(bench, "one")
    prepare(bench, one)
    lose_record(bench, one)
    assert bench.recover().orphans == [one.uid]
    finish(bench)


def test_hardware_of_a_claim_without_a_record_is_given_back_by_unprepare(bench: Bench) -> None:
    one, two = share(bench, "one"), share(bench, "two")
    prepare(bench, one)
    prepare(bench, two)
    lose_record(bench, one)
    bench.engine.unprepare(one, soon())
    assert bench.split("a") == 2
    lose_record(bench, two)
    finish(bench, two)


def test_verify_names_it_and_leaves_it_to_the_driver(bench: Bench) -> None:
    one = share(bench, "one")
    prepare(bench, one)
    lose_record(bench, one)
    (finding,) = Audit(bench.lifecycle, bench.state, bench.locks).run().findings
    assert (finding.kind, finding.uid, finding.mend) == (Kind.ORPHAN, one.uid, None)
    assert "parent-a" in finding.text
