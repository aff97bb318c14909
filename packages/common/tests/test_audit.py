"""Verify and repair: what is wrong on disk is found and named, what is safe is mended, and nothing else is touched."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dra_common.audit import Audit, Finding, Kind, Report
from dra_common.errors import DeviceHeld, StateError
from dra_common.model import ClaimRef, ContainerEdits, Phase
from dra_common.repair import Repair, Repaired
from dra_common.testing.bench import Bench, config, soon
from dra_common.testing.knobs import Knob
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mortal import Life

OTHER = "00000000-dead"
SHARE = "11111111-2222-4333-8444-555555555555"


class Node(Bench):
    """A bench with three claims: with two devices, one looked at by an administrator, one shared."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        shared = {"device": "d", "shareID": SHARE}
        self.refs = (
            self.claim("one", "a", "b", config=[config(5)]),
            self.claim("two", {"device": "a", "adminAccess": True}),
            self.claim("three", shared),
        )
        for ref in self.refs:
            self.engine.prepare(ref, soon())

    def audit(self) -> Audit[Knob]:
        return Audit(self.lifecycle, self.state, self.locks)

    def verify(self) -> Report:
        return self.audit().run()

    def repair(self) -> Repaired:
        return Repair(self.audit()).run()

    def at(self, name: str) -> Path:
        return self.root / name

    def files(self) -> dict[str, bytes | str]:
        """Everything on disk, hardware too."""
        paths = (path for folder in ("state", "cdi", "sys/knobs") for path in self.at(folder).rglob("*"))
        return {str(path): _content(path) for path in paths}


def _content(path: Path) -> bytes | str:
    if path.is_symlink():
        return str(path.readlink())
    return path.read_bytes() if path.is_file() else "folder"


def kinds(findings: tuple[Finding, ...]) -> list[Kind]:
    return [finding.kind for finding in findings]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_node_in_order_has_no_findings_and_is_not_touched(node: Node) -> None:
    before = node.files()
    assert node.verify() == Report(3)
    assert node.repair() == Repaired((), (), ())
    assert node.files() == before


# --------------------------------------------------------------------------- every kind of damage


def corrupt(node: Node) -> None:
    node.at("state/claims/uid-one.json").write_bytes(b"\xff")


def unfinished_record(node: Node) -> None:
    node.at("state/claims/uid-one.json.tmp").write_text("{")


def unfinished_cdi(node: Node) -> None:
    node.at("cdi/example.com-knob_uid-one.json.tmp").write_text("{")


def no_hold(node: Node) -> None:
    node.at("state/held/b").unlink()


def no_share(node: Node) -> None:
    node.at(f"state/held/d/{SHARE}").unlink()


def orphans_hold_in_the_way(node: Node) -> None:
    node.at("state/held/b").unlink()
    node.holds.take("b", None, OTHER)


def nonsense_hold_in_the_way(node: Node) -> None:
    node.at("state/held/b").unlink()
    node.at("state/held/b").symlink_to("../../etc/passwd")


def unfounded_hold(node: Node) -> None:
    node.holds.take("c", None, "uid-one")


def orphaned_hold(node: Node) -> None:
    node.holds.take("c", None, OTHER)


def orphaned_cdi(node: Node) -> None:
    node.specs.write(OTHER, {"knob": {f"{OTHER}-c": ContainerEdits(env=("KNOB=1",))}})


def orphaned_lock(node: Node) -> None:
    node.at(f"state/claims/{OTHER}.lock").touch()
    os.utime(node.at(f"state/claims/{OTHER}.lock"), (0, 0))


def orphaned_unfinished_record(node: Node) -> None:
    node.at(f"state/claims/{OTHER}.json.tmp").write_text("{")


def no_cdi(node: Node) -> None:
    node.at("cdi/example.com-knob_uid-one.json").unlink()


def wrong_cdi(node: Node) -> None:
    path = node.at("cdi/example.com-knob_uid-one.json")
    path.write_text(path.read_text().replace("KNOB=5", "KNOB=6"))


def damaged_cdi(node: Node) -> None:
    node.at("cdi/example.com-knob_uid-one.json").write_text("{")


def cdi_of_a_class_too_many(node: Node) -> None:
    node.at("cdi/example.com-spy_uid-one.json").write_text("{}")


def no_share_left(node: Node) -> None:
    node.at("state/held/e").mkdir()
    os.utime(node.at("state/held/e"), (0, 0))


def set_aside_by_mistake(node: Node) -> None:
    node.records.set_aside("uid-one")


MENDED: dict[Callable[[Node], None], list[Kind]] = {
    unfinished_record: [Kind.TEMPORARY],
    unfinished_cdi: [Kind.TEMPORARY],
    no_hold: [Kind.HOLD_MISSING],
    no_share: [Kind.HOLD_MISSING],
    orphans_hold_in_the_way: [Kind.ORPHAN, Kind.HOLD_MISSING],
    nonsense_hold_in_the_way: [Kind.ORPHAN, Kind.HOLD_MISSING],
    unfounded_hold: [Kind.HOLD_UNFOUNDED],
    orphaned_hold: [Kind.ORPHAN],
    orphaned_cdi: [Kind.ORPHAN],
    orphaned_lock: [Kind.ORPHAN],
    orphaned_unfinished_record: [Kind.ORPHAN],
    no_cdi: [Kind.CDI_MISSING],
    wrong_cdi: [Kind.CDI_WRONG],
    damaged_cdi: [Kind.CDI_WRONG],
    cdi_of_a_class_too_many: [Kind.CDI_WRONG],
    no_share_left: [Kind.TEMPORARY],
    set_aside_by_mistake: [Kind.SET_ASIDE],
}


@pytest.mark.parametrize("damage", MENDED, ids=lambda damage: damage.__name__)
def test_damage_is_found_and_mended_to_what_it_was(node: Node, damage: Callable[[Node], None]) -> None:
    whole = node.files()
    damage(node)
    damaged = node.files()
    report = node.verify()
    assert kinds(report.findings) == MENDED[damage]
    assert all(finding.text and finding.cure and finding.mend for finding in report.findings)
    assert node.files() == damaged, "verify changes nothing"
    repaired = node.repair()
    assert (kinds(repaired.mended), repaired.left, repaired.busy) == (MENDED[damage], (), ())
    assert node.files() == whole
    assert node.verify() == Report(3)


def test_every_kind_of_damage_at_once(node: Node) -> None:
    whole = node.files()
    for damage in MENDED:
        if damage not in (damaged_cdi, wrong_cdi, nonsense_hold_in_the_way, no_hold, set_aside_by_mistake):
            damage(node)
    assert node.repair().left == ()
    assert node.files() == whole


def test_a_corrupt_record_is_set_aside_and_its_devices_stay_held(node: Node) -> None:
    corrupt(node)
    (finding,) = node.verify().findings
    assert (finding.kind, finding.uid) == (Kind.CORRUPT_RECORD, "uid-one")
    assert "uid-one.json is not JSON" in finding.text
    repaired = node.repair()
    assert kinds(repaired.mended) == [Kind.CORRUPT_RECORD]
    (left,) = repaired.left
    assert (left.kind, left.mend) == (Kind.SET_ASIDE, None)
    assert "uid-one.json.corrupt-1" in left.text
    assert {holder for key, holder in node.holds.holders().items() if key[0] in "ab"} == {"uid-one"}
    assert node.at("cdi/example.com-knob_uid-one.json").exists(), "its container may be started again"
    assert node.level("a") == 5
    node.engine.unprepare(node.refs[0], soon())
    assert node.verify() == Report(2)


def test_a_newer_record_is_named_and_nothing_of_its_claim_is_touched(node: Node) -> None:
    path = node.at("state/claims/uid-one.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 3}))
    before = node.files()
    repaired = node.repair()
    assert (repaired.mended, kinds(repaired.left)) == ((), [Kind.NEWER_RECORD])
    assert "install the release" in repaired.left[0].cure
    assert node.files() == before


def test_a_record_that_cannot_be_read_is_named_with_its_cure(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = node.records.load

    def failing(uid: str) -> object:
        if uid == "uid-one":
            raise StateError("cannot read uid-one.json: Input/output error", cure="check the disk")
        return load(uid)

    monkeypatch.setattr(node.records, "load", failing)
    (finding,) = node.repair().left
    assert (finding.kind, finding.cure) == (Kind.UNREADABLE, "check the disk")


def test_two_claims_with_one_device_are_left_to_people(node: Node) -> None:
    record = node.records.load("uid-one")
    assert record is not None
    node.records.save(replace(record, ref=ClaimRef("default", "rival", "uid-rival")))
    node.specs.write(
        "uid-rival", node.lifecycle.specs(replace(record, ref=replace(record.ref, uid="uid-rival")))
    )
    before = node.files()
    repaired = node.repair()
    assert repaired.mended == ()
    assert kinds(repaired.left) == [Kind.HOLD_TAKEN, Kind.HOLD_TAKEN]
    assert (
        "device a of claim default/rival (uid uid-rival) is held by claim with uid uid-one"
        in repaired.left[0].text
    )
    assert node.files() == before


@pytest.mark.parametrize("mine", [None, SHARE])
def test_a_device_that_one_claim_has_whole_and_another_a_share_of_is_left_to_people(
    node: Node, mine: str | None
) -> None:
    """The records say both; the disk can say only one."""
    device, share = ("a", SHARE) if mine is None else ("d", None)
    record = node.records.load("uid-one")
    assert record is not None
    wanted = replace(record.plan.devices[0].allocated, device=device, share_id=share)
    plan = replace(record.plan, devices=(replace(record.plan.devices[0], allocated=wanted),))
    node.records.save(
        replace(record, ref=ClaimRef("default", "rival", "uid-rival"), phase=Phase.PREPARING, plan=plan)
    )
    before = node.files()
    repaired = node.repair()
    assert repaired.mended == ()
    assert sorted(kinds(repaired.left)) == [Kind.HOLD_TAKEN, Kind.UNFINISHED_CLAIM]
    assert node.files() == before


def test_a_record_whose_devices_somebody_else_has_by_now_is_not_restored(node: Node) -> None:
    node.records.set_aside("uid-one")
    node.at("state/held/a").unlink()
    thief = node.claim("thief", "a")
    node.engine.prepare(thief, soon())
    repaired = node.repair()
    assert repaired.mended == ()
    (left,) = repaired.left
    assert left.kind is Kind.SET_ASIDE
    assert "not mended: device a is held by claim with uid uid-thief" in left.text
    assert not node.records.exists("uid-one")
    node.engine.unprepare(thief, soon())
    assert node.repair().left == ()
    assert node.records.exists("uid-one")


def test_an_unfinished_claim_is_left_to_the_driver(node: Node) -> None:
    ref = node.claim("half", "c", config=[config(5)])
    assert Life(1, when=lambda call: call.startswith("rename") and "cdi" in call).dies(
        node.engine.prepare, ref, soon()
    )
    before = node.level("c")
    repaired = node.repair()
    assert Kind.UNFINISHED_CLAIM in kinds(repaired.left)
    assert node.level("c") == before == 5
    record = node.records.load(ref.uid)
    assert record is not None
    assert record.phase is Phase.PREPARING


def test_after_a_reboot_claims_that_wait_for_the_kubelet_are_in_order(node: Node) -> None:
    node.reboot()
    assert node.verify() == Report(3)


def test_cdi_files_that_survived_a_reboot_are_removed(node: Node) -> None:
    kept = {path: path.read_bytes() for path in node.at("cdi").iterdir()}
    node.reboot()
    for path, data in kept.items():
        path.write_bytes(data)
    assert set(kinds(node.verify().findings)) == {Kind.CDI_STALE}
    assert node.repair().left == ()
    assert list(node.at("cdi").iterdir()) == []
    assert node.records.exists("uid-one")


def test_a_device_that_is_gone_is_named_and_its_cdi_files_stay(node: Node) -> None:
    node.knob("a").unlink()
    before = node.files()
    repaired = node.repair()
    assert kinds(repaired.left) == [Kind.CDI_UNKNOWN, Kind.CDI_UNKNOWN]
    assert "device a is not on this node" in repaired.left[0].text
    assert node.files() == before


# --------------------------------------------------------------------------- beside others


def test_a_claim_that_another_process_works_on_is_neither_judged_nor_touched(node: Node) -> None:
    no_cdi(node)
    no_share(node)
    before = node.files()
    with node.locks.claim("uid-one", soon()):
        report = node.verify()
        assert (kinds(report.findings), report.busy) == ([Kind.HOLD_MISSING], ("uid-one",))
        repaired = node.repair()
    assert (kinds(repaired.mended), repaired.busy) == ([Kind.HOLD_MISSING], ("uid-one",))
    assert node.files().keys() - before.keys() == {str(node.at(f"state/held/d/{SHARE}"))}
    assert node.repair().left == ()


def test_two_looks_do_not_disturb_one_another(node: Node) -> None:
    no_cdi(node)
    with node.locks.try_shared("uid-one") as undisturbed:
        report = node.verify()
        assert undisturbed()
    assert (kinds(report.findings), report.busy) == ([Kind.CDI_MISSING], ())


def test_verify_beside_a_busy_driver_finds_nothing_wrong(node: Node) -> None:
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            ref = node.claim("busy", "c", config=[config(3)])
            node.engine.prepare(ref, soon(60))
            node.engine.unprepare(ref, soon(60))

    server = threading.Thread(target=serve)
    server.start()
    try:
        for _ in range(100):
            assert node.verify().findings == ()
    finally:
        stop.set()
        server.join()


def test_a_fresh_lock_file_belongs_to_a_call_that_is_about_to_begin(node: Node) -> None:
    node.at(f"state/claims/{OTHER}.lock").touch()
    assert node.verify() == Report(3)


def test_repair_beside_a_busy_driver_takes_nothing_from_it(node: Node) -> None:
    stop, errors = threading.Event(), list[Exception]()

    def repairing() -> None:
        while not stop.is_set():
            try:
                node.repair()
            except Exception as error:  # noqa: BLE001 - told below
                errors.append(error)

    repairer = threading.Thread(target=repairing)
    repairer.start()
    try:
        for number in range(60):
            ref = node.claim(f"busy-{number}", "c", config=[config(3)])
            answer = node.engine.prepare(ref, soon(60))
            assert not node.specs.unresolved(ref.uid, answer[0].cdi_ids)
            assert node.holds.holders()["c", None] == ref.uid
            with pytest.raises(DeviceHeld):
                node.engine.prepare(node.claim("thief", "c"), soon(60))
            node.engine.unprepare(ref, soon(60))
    finally:
        stop.set()
        repairer.join()
    assert errors == []
    node.repair()
    assert node.verify() == Report(3)


# --------------------------------------------------------------------------- hostile folders


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("keep")


def _precious(path: Path) -> None:
    path.symlink_to("/etc/hostname")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [_folder, os.mkfifo, _precious, lambda path: path.symlink_to(path.name)])
@pytest.mark.parametrize(
    "name",
    [
        "state/claims/uid-x.json",
        "state/claims/uid-x.json.tmp",
        "state/claims/uid-x.json.corrupt-1",
        "state/claims/uid-x.lock",
        "state/claims/a b\n.json",
        "state/claims/notes.txt",
        "state/held/c",
        "state/held/x\ny",
        "cdi/example.com-knob_uid-x.json",
        "cdi/example.com-knob_uid-x.json.tmp",
    ],
)
def test_whatever_stands_in_the_folders_it_is_named_and_the_rest_is_mended(
    node: Node, name: str, make: Callable[[Path], None]
) -> None:
    make(node.at(name))
    no_cdi(node)
    report = node.verify()
    assert len(report.findings) >= 2, "nothing strange is passed over"
    repaired = node.repair()
    assert node.at("cdi/example.com-knob_uid-one.json").exists()
    for finding in repaired.left:
        assert finding.cure
    if make is _folder:
        assert [path.read_text() for path in node.root.rglob("inside")] == ["keep"]


DAMAGES = tuple(each for each in MENDED if each not in (nonsense_hold_in_the_way, orphans_hold_in_the_way))


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.sampled_from(DAMAGES), unique=True), st.booleans())
def test_any_damage_then_repair_gives_no_device_twice_and_leaves_the_hardware(
    tmp_path_factory: pytest.TempPathFactory,
    damages: list[Callable[[Node], None]],
    bad: bool,  # noqa: FBT001 - drawn
) -> None:
    node = Node(tmp_path_factory.mktemp("node"))
    hardware = {name: node.level(name) for name in "abcd"}
    for damage in damages:
        try:
            damage(node)
        except (OSError, StateError):
            continue  # what it would damage is damaged already
    if bad and node.records.exists("uid-one"):
        corrupt(node)
    node.repair()
    holders = node.holds.holders()
    assert holders.get(("a", None)) == "uid-one"
    assert holders["d", SHARE] == "uid-three"
    assert {name: node.level(name) for name in "abcd"} == hardware
    assert all(finding.mend is None for finding in node.verify().findings)
    for ref in node.refs:
        node.engine.unprepare(ref, soon())
    assert node.leftovers() == []
