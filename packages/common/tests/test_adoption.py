"""Another driver's claims become ours: what the kubelet hears next, what containers get, what is left at the end."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dra_common.deadline import Deadline
from dra_common.errors import DeviceHeld, DeviceRefused, HostError, StateError
from dra_common.model import ClaimRef, Edits, Phase, PreparedDevice
from dra_common.telemetry import ADOPTED_CLAIMS, Reason
from dra_common.testing.bench import NODE, Bench, config, soon
from dra_common.testing.cdi import resolve
from dra_common.testing.knobs import Knob
from goclaims import (
    GOLDEN,
    GaudiLike,
    QatLike,
    adopt,
    adoption,
    entry,
    leave,
    static_spec,
    with_driver,
)
from mortal import Life, calls

ONE = ClaimRef("default", "one", "uid-one")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def nodes(bench: Bench, *ids: str) -> list[str]:
    """Device nodes that a runtime gives for these ids."""
    edits = resolve(ids, [bench.root / "etc/cdi", bench.root / "cdi"])
    return sorted(str(node.get("hostPath", path)) for path, node in edits.device_nodes.items())


def kept(bench: Bench) -> list[str]:
    return sorted(path.name for path in (bench.root / "state").glob("preparedClaims.json*"))


# --------------------------------------------------------------------------- a whole life


def test_the_kubelet_hears_what_it_heard_before_and_unprepare_leaves_nothing(bench: Bench) -> None:
    static_spec(bench, "example.com/knob", "a", "b")
    path = leave(bench, {ONE.uid: entry("a", "b")})
    before = path.read_bytes()
    done = adopt(bench)
    assert (done.adopted, done.refused) == ([ONE.uid], {})
    # The API server is not needed: the record answers.
    bench.claims.down = RuntimeError("nobody asks")
    answer = bench.engine.prepare(ONE, soon())
    assert answer == tuple(PreparedDevice(("r",), NODE, name, (f"example.com/knob={name}",)) for name in "ab")
    assert nodes(bench, "example.com/knob=a", "example.com/knob=b") == ["/dev/a", "/dev/b"]
    assert (bench.level("a"), bench.level("b")) == (1, 1)
    assert bench.driver.applied == []
    assert kept(bench) == ["preparedClaims.json.adopted-1"]
    old = Path(done.kept_as)
    assert (old.read_bytes(), stat.S_IMODE(old.stat().st_mode)) == (before, 0o600)
    bench.engine.unprepare(ONE, soon())
    assert bench.leftovers() == []
    assert list((bench.root / "etc/cdi").iterdir()) == []


def test_a_claim_is_named_as_soon_as_the_kubelet_does(bench: Bench) -> None:
    leave(bench, {ONE.uid: entry("a")})
    adopt(bench)
    record = bench.records.load(ONE.uid)
    assert record
    assert (record.adopted, record.phase, str(record.ref)) == (True, Phase.PREPARED, "? (uid uid-one)")
    bench.engine.prepare(ONE, soon())
    record = bench.records.load(ONE.uid)
    assert record
    assert record.ref == ONE


def test_nobody_else_gets_what_was_adopted(bench: Bench) -> None:
    leave(bench, {ONE.uid: entry("a")})
    adopt(bench)
    with pytest.raises(DeviceHeld, match="uid-one"):
        bench.engine.prepare(bench.claim("two", "a"), soon())


def test_a_file_without_claims_is_taken_over_too(bench: Bench) -> None:
    static = static_spec(bench, "example.com/knob", "a")
    leave(bench, {})
    done = adopt(bench)
    assert (done.adopted, kept(bench)) == ([], ["preparedClaims.json.adopted-1"])
    assert not static.exists()
    assert bench.leftovers() == []


def test_without_a_file_nothing_happens(bench: Bench) -> None:
    static = static_spec(bench, "example.com/knob", "a")
    done = adopt(bench)
    assert (done.adopted, done.kept_as, static.exists()) == ([], "", True)


def test_each_file_is_kept_under_its_own_name(bench: Bench) -> None:
    for number in (1, 2, 3):
        leave(bench, {f"uid-{number}": entry("abc"[number - 1])})
        assert adopt(bench).kept_as.endswith(f"adopted-{number}")
    assert len(bench.records.uids()) == 3


# --------------------------------------------------------------------------- CDI


def test_two_claims_with_one_id_do_not_make_it_unusable(bench: Bench) -> None:
    """Who only looks has the same id as who works: the id stays until both are gone."""
    spied = {"CDIDeviceIDs": ["example.com/knob=a", "example.com/spy=a"]}
    leave(bench, {"uid-work": entry("a"), "uid-look": entry("a", **spied)})
    assert adopt(bench).adopted == ["uid-work", "uid-look"]
    assert nodes(bench, "example.com/knob=a") == ["/dev/a"]
    bench.engine.unprepare(ClaimRef("default", "work", "uid-work"), soon())
    assert nodes(bench, "example.com/knob=a") == ["/dev/a"]
    bench.engine.prepare(bench.claim("next", "a"), soon())
    bench.engine.unprepare(ClaimRef("default", "look", "uid-look"), soon())
    assert not list((bench.root / "cdi").glob("*adopted*"))
    assert nodes(bench, "example.com/knob=uid-next-a") == ["/dev/a"]


def test_the_other_drivers_file_goes_with_the_last_claim_that_needs_it(bench: Bench) -> None:
    static = static_spec(bench, "example.com/knob", "a", "b")
    leave(bench, {"uid-1": entry("a"), "uid-2": entry("b")})
    adopt(bench)
    bench.engine.unprepare(ClaimRef("default", "x", "uid-1"), soon())
    assert static.exists()
    bench.engine.unprepare(ClaimRef("default", "y", "uid-2"), soon())
    assert not static.exists()


def test_a_file_that_others_may_read_is_not_the_drivers(bench: Bench) -> None:
    """The tool for rootless users writes the same file, with mode 0644."""
    static = static_spec(bench, "example.com/knob", "a", mode=0o644)
    leave(bench, {ONE.uid: entry("a")})
    adopt(bench)
    bench.engine.unprepare(ONE, soon())
    assert static.exists()


def test_an_id_that_we_cannot_make_is_the_other_drivers_as_long_as_its_file_is_there(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    static = static_spec(bench, "example.com/knob", "odd")
    leave(bench, {ONE.uid: entry("a", ids=["example.com/knob=odd"])})
    assert adopt(bench).adopted == [ONE.uid]
    assert bench.engine.prepare(ONE, soon())[0].cdi_ids == ("example.com/knob=odd",)
    assert nodes(bench, "example.com/knob=odd") == ["/dev/old-odd"]
    static.unlink()
    with pytest.raises(DeviceRefused, match=r"CDI id example\.com/knob=odd cannot be made"):
        bench.engine.prepare(ONE, soon())
    bench.engine.unprepare(ONE, soon())
    assert bench.leftovers() == []


def test_an_id_that_resolves_nowhere_is_told_and_its_device_held_all_the_same(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    leave(bench, {ONE.uid: entry("a", ids=["example.com/knob=odd"])})
    assert adopt(bench).adopted == [ONE.uid]
    assert "its containers cannot be started again now" in caplog.text
    assert bench.holds.holders() == {("a", None): ONE.uid}


def test_where_both_folders_are_one_the_other_drivers_file_is_not_contradicted(bench: Bench) -> None:
    """Talos has no writable /etc: there the Go drivers write to /var/run/cdi."""
    static = static_spec(bench, "example.com/knob", "a", "b")
    (bench.root / "cdi").mkdir()
    there = bench.root / "cdi" / static.name
    static.rename(there)
    leave(bench, {ONE.uid: entry("a")})
    adopt(bench)
    bench.engine.prepare(ONE, soon())
    assert nodes(bench, "example.com/knob=a") == ["/dev/old-a"]
    # A reboot empties the folder; from then on the id is ours.
    bench.claims = Bench(bench.root / "other").claims
    bench.reboot()
    bench.claim("one", "a", uid=ONE.uid)
    bench.recover()
    bench.engine.prepare(ONE, soon())
    assert nodes(bench, "example.com/knob=a") == ["/dev/a"]


def test_the_edits_follow_the_hardware(bench: Bench) -> None:
    leave(bench, {ONE.uid: entry("a", ids=["example.com/knob=a"])})
    adopt(bench)
    (file,) = (bench.root / "cdi").iterdir()
    file.write_text(file.read_text().replace("/dev/a", "/dev/b"))
    bench.start()
    bench.recover()
    assert nodes(bench, "example.com/knob=a") == ["/dev/a"]


# --------------------------------------------------------------------------- boots


def answer_of(bench: Bench, ref: ClaimRef) -> list[tuple[str, ...]]:
    return [device.cdi_ids for device in bench.engine.prepare(ref, soon())]


def test_after_a_reboot_the_answer_is_the_same_and_resolves_again(bench: Bench) -> None:
    static = static_spec(bench, "example.com/knob", "a")
    leave(bench, {ONE.uid: entry("a")})
    adopt(bench)
    bench.engine.prepare(ONE, soon())
    bench.reboot()
    bench.recover()
    assert static.exists()
    bench.claim("one", "a", config=[config(5)])
    assert answer_of(bench, ONE) == [("example.com/knob=a",)]
    # Planned anew, with the claim's configuration.
    assert bench.level("a") == 5
    assert nodes(bench, "example.com/knob=a") == ["/dev/a"]
    bench.engine.unprepare(ONE, soon())
    assert (bench.level("a"), bench.leftovers(), static.exists()) == (1, [], False)


@pytest.mark.parametrize("clock", ["before", "unknown", "nonsense"])
def test_a_file_that_may_be_of_an_earlier_boot_is_planned_again(bench: Bench, clock: str) -> None:
    static_spec(bench, "example.com/knob", "a")
    leave(bench, {ONE.uid: entry("a")}, this_boot=clock != "before")
    if clock == "unknown":
        (bench.root / "proc/stat").unlink()
    if clock == "nonsense":
        (bench.root / "proc/stat").write_text("btime\n")
    assert adopt(bench).adopted == [ONE.uid]
    assert bench.holds.holders() == {("a", None): ONE.uid}
    assert not (bench.root / "cdi").exists()
    bench.claim("one", "a")
    assert answer_of(bench, ONE) == [("example.com/knob=a",)]
    assert bench.claims.reads == 1
    assert nodes(bench, "example.com/knob=a") == ["/dev/a"]


def test_a_plan_that_fails_after_a_reboot_leaves_the_claim_as_it_was(bench: Bench) -> None:
    leave(bench, {ONE.uid: entry("a")}, this_boot=False)
    adopt(bench)
    bench.claim("one", "a", config=[config(5)])
    bench.driver.broken = {"apply:a"}
    with pytest.raises(HostError):
        bench.engine.prepare(ONE, soon())
    bench.driver.broken = set()
    assert answer_of(bench, ONE) == [("example.com/knob=a",)]


# --------------------------------------------------------------------------- the other two drivers


@pytest.mark.defect(4)
@pytest.mark.parametrize("file", ["gaudi-map.json", "gaudi-versioned.json"])
def test_gaudi_the_claims_own_id_lives_as_long_as_the_claim(bench: Bench, file: str) -> None:
    with_driver(bench, GaudiLike(), "0000-a0-00-0-0x1020", "0000-b0-00-0-0x1020")
    leave(bench, (GOLDEN / file).read_bytes())
    (uid,) = adopt(bench).adopted
    ref = ClaimRef("default", "train", uid)
    ids = [name for device in bench.engine.prepare(ref, soon()) for name in device.cdi_ids]
    assert ids == [
        "intel.com/gaudi=0000-a0-00-0-0x1020",
        f"intel.com/gaudi={uid}",
        "intel.com/gaudi=0000-b0-00-0-0x1020",
    ]
    edits = resolve(ids, [bench.root / "cdi"])
    assert edits.env == {"HABANA_VISIBLE_DEVICES": "0000-a0-00-0-0x1020,0000-b0-00-0-0x1020"}
    assert len(edits.device_nodes) == 2
    # A recovery takes none of it for a claim's file without a record.
    bench.recover()
    assert resolve(ids, [bench.root / "cdi"]) == edits
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []


@pytest.mark.defect(1)
@pytest.mark.parametrize("file", ["qat-map.json", "qat-versioned.json"])
def test_qat_the_control_node_resolves_and_stays_for_the_other_claim(bench: Bench, file: str) -> None:
    """The Go driver gives an id for it that it defines nowhere."""
    with_driver(bench, QatLike(), "qatvf-0000-6b-00-1", "qatvf-0000-6b-00-2")
    leave(bench, (GOLDEN / file).read_bytes())
    refs = [ClaimRef("default", uid, uid) for uid in adopt(bench).adopted]
    for ref, device in zip(refs, ("qatvf-0000-6b-00-1", "qatvf-0000-6b-00-2"), strict=True):
        ids = bench.engine.prepare(ref, soon())[0].cdi_ids
        assert nodes(bench, *ids) == [f"/dev/vfio/{device}", "/dev/vfio/vfio"]
    bench.engine.unprepare(refs[0], soon())
    assert nodes(bench, "intel.com/qat=qatvf-vfio") == ["/dev/vfio/vfio"]
    bench.engine.unprepare(refs[1], soon())
    assert bench.leftovers() == []


# --------------------------------------------------------------------------- what is not adopted


def test_one_bad_claim_keeps_no_other_from_being_adopted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.engine.prepare(bench.claim("ours", "d"), soon())
    claims = {
        "uid-gone": entry("nowhere"),
        "uid-twice": entry("a", "a"),
        "uid-first": entry("b"),
        "uid-second": entry("b", "c"),
        "uid-held": entry("d"),
        "uid-pool": entry("c", PoolName="node-2"),
        "uid-failed": {"Err": {}, "Devices": None},
        "../uid": entry("c"),
        "uid-good": entry("c"),
        "uid-ours": entry("d"),
        "uid-empty": {"Err": None, "Devices": None},
    }
    leave(bench, claims)
    done = adopt(bench)
    assert done.adopted == ["uid-first", "uid-good", "uid-empty"]
    assert done.known == ["uid-ours"]
    assert done.refused == {
        "uid-gone": "device nowhere is not on this node",
        "uid-twice": "device a is in it twice",
        "uid-second": "device b is held by claim uid-first",
        "uid-held": "device d is held by claim uid-ours",
        "uid-pool": "device c is in pool node-2, this node has pool node-1 only",
        "uid-failed": "its preparation had failed: {}",
        "../uid": "'../uid' is not a claim's UID",
    }
    assert bench.holds.holders() == {
        ("b", None): "uid-first",
        ("c", None): "uid-good",
        ("d", None): "uid-ours",
    }
    for why in done.refused.values():
        assert f"claim not adopted: {why}" in caplog.text
    counted = {f"{ADOPTED_CLAIMS.name}{{refused}}": 7, f"{ADOPTED_CLAIMS.name}{{adopted}}": 3}
    assert {name: bench.told.counts[name] for name in counted} == counted
    assert [reason for reason, _ in bench.told.events] == [
        *[Reason.ADOPTION_FAILED] * 7,
        Reason.CLAIM_ADOPTED,
    ]
    assert bench.engine.prepare(ClaimRef("default", "e", "uid-empty"), soon()) == ()


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"PreparedClaims": {}}', b"\x00" * 4096, b"{" * 100_000], ids=len
)
def test_a_file_that_cannot_be_read_is_kept_told_and_the_driver_goes_on(
    bench: Bench, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    static = static_spec(bench, "example.com/knob", "a")
    leave(bench, data)
    done = adopt(bench)
    assert kept(bench) == ["preparedClaims.json.corrupt-1"]
    assert Path(done.kept_as).read_bytes() == data
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "no claim adopted" in error.getMessage()
    assert [reason for reason, _ in bench.told.events] == [Reason.ADOPTION_FAILED]
    # Whose containers run has their ids in it: it stays.
    assert static.exists()
    assert bench.engine.prepare(bench.claim("one", "a"), soon())


def test_what_is_no_file_is_moved_out_of_the_way(bench: Bench) -> None:
    path = bench.root / "state/preparedClaims.json"
    makers: list[Callable[[Path], object]] = [
        Path.mkdir,
        os.mkfifo,
        lambda path: path.symlink_to("/etc/passwd"),
    ]
    for number, make in enumerate(makers, 1):
        make(path)
        assert adopt(bench).kept_as == f"{path}.corrupt-{number}"


def test_a_file_longer_than_any_is_not_read(bench: Bench) -> None:
    path = leave(bench, b"{}")
    os.truncate(path, 17 << 20)
    assert adopt(bench).kept_as.endswith("corrupt-1")


def test_a_defect_with_one_claim_is_not_the_others(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(bench, {"uid-1": entry("a"), "uid-2": entry("b")})
    bench.recover()
    made = bench.driver.static_edits

    def broken(hardware: Knob, dev_root: str) -> Edits:
        if hardware.name == "a":
            raise RuntimeError("a bug")
        return made(hardware, dev_root)

    monkeypatch.setattr(bench.driver, "static_edits", broken)
    done = adoption(bench).run()
    assert (done.adopted, list(done.refused)) == (["uid-2"], ["uid-1"])
    assert bench.holds.holders() == {("b", None): "uid-2"}
    assert bench.shared.uids() == {"uid-2"}


# --------------------------------------------------------------------------- trouble with all of them


def test_a_machine_that_cannot_be_looked_at_adopts_nothing_and_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = leave(bench, {ONE.uid: entry("a")})
    bench.driver.broken = {"discover:a"}
    with pytest.raises(HostError):
        adopt(bench)
    assert path.exists()
    bench.driver.broken = set()
    assert adopt(bench).adopted == [ONE.uid]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_write_loses_nothing(tmp_path: Path, number: int) -> None:
    def error() -> OSError:
        return OSError(number, os.strerror(number))

    for at in range(1, calls(arranged(Bench(tmp_path / "count"))) + 1):
        bench = Bench(tmp_path / f"at-{at}")
        scenario = arranged(bench)
        with Life(at, error).lived(), suppress(StateError):
            scenario()
        scenario()
        check_whole_life(bench, at)


# --------------------------------------------------------------------------- killed at any moment


def arranged(bench: Bench) -> Callable[[], object]:
    static_spec(bench, "example.com/knob", "a", "b", "c")
    leave(bench, {"uid-1": entry("a", "b"), "uid-2": entry("c"), "uid-bad": entry("nowhere")})
    bench.recover()
    return lambda: adopt(bench)


def check_whole_life(bench: Bench, at: int) -> None:
    assert kept(bench) == ["preparedClaims.json.adopted-1"], f"call {at}"
    bench.claims.down = RuntimeError("nobody asks")
    for uid, names in (("uid-1", "ab"), ("uid-2", "c")):
        ref = ClaimRef("default", uid, uid)
        ids = [name for device in bench.engine.prepare(ref, soon()) for name in device.cdi_ids]
        assert ids == [f"example.com/knob={name}" for name in names], f"call {at}"
        assert nodes(bench, *ids) == [f"/dev/{name}" for name in names]
        bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == [], f"call {at}"
    assert list((bench.root / "etc/cdi").iterdir()) == [], f"call {at}"


def killed(tmp_path: Path, arrange: Callable[[Bench], Callable[[], object]]) -> Iterator[tuple[int, Bench]]:
    count = calls(arrange(Bench(tmp_path / "count")))
    assert count > 10
    for at in range(1, count + 2):
        bench = Bench(tmp_path / f"at-{at}")
        scenario = arrange(bench)
        assert Life(at).dies(scenario) == (at <= count)
        bench.start()
        yield at, bench


def test_killed_anywhere_in_adoption_it_is_resumed(tmp_path: Path) -> None:
    for at, bench in killed(tmp_path, arranged):
        adopt(bench)
        check_whole_life(bench, at)


def test_killed_twice_it_is_resumed(tmp_path: Path) -> None:
    for at in range(3, 40, 5):
        bench = Bench(tmp_path / f"at-{at}")
        scenario = arranged(bench)
        assert Life(at).dies(scenario)
        bench.start()
        Life(max(1, at // 2)).dies(adopt, bench)
        bench.start()
        adopt(bench)
        check_whole_life(bench, at)


def test_killed_anywhere_in_the_last_unprepare(tmp_path: Path) -> None:
    def arrange(bench: Bench) -> Callable[[], object]:
        static_spec(bench, "example.com/knob", "a")
        leave(bench, {ONE.uid: entry("a")})
        adopt(bench)
        return lambda: bench.engine.unprepare(ONE, Deadline.after(3600))

    for at, bench in killed(tmp_path, arrange):
        bench.recover()
        bench.engine.unprepare(ONE, soon())
        assert bench.leftovers() == [], f"call {at}"
        assert list((bench.root / "etc/cdi").iterdir()) == [], f"call {at}"


def test_killed_no_device_of_a_running_claim_is_free(tmp_path: Path) -> None:
    """Whatever recovery finds, the next adoption comes before anybody else's claim."""
    for _, bench in killed(tmp_path, arranged):
        adopt(bench)
        with pytest.raises(DeviceHeld):
            bench.engine.prepare(bench.claim("other", "a"), soon())


def test_two_instances_adopt_as_one(bench: Bench) -> None:
    leave(bench, {ONE.uid: entry("a")})
    bench.recover()
    first, second = adoption(bench), adoption(bench)
    assert first.run().adopted == [ONE.uid]
    assert (second.run().adopted, second.run().kept_as) == ([], "")
    leave(bench, {ONE.uid: entry("a")})
    again = adoption(bench).run()
    assert (again.adopted, again.known) == ([], [ONE.uid])
