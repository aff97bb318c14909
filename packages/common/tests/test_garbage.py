"""Garbage collection: what is certainly over is removed, all else stays, and nothing is asked or told too often."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dra_common.errors import (
    ClusterError,
    DeviceHeld,
    Forbidden,
    HostError,
    NotFound,
    ServerError,
    Throttled,
    Unauthorized,
    Unreachable,
)
from dra_common.garbage import Collector, Verdict, is_gone, judge
from dra_common.model import ClaimRecord, ClaimRef, ContainerEdits, Phase, Plan
from dra_common.telemetry import Reason
from dra_common.testing.bench import Bench, config, soon
from dra_common.testing.knobs import Knob
from dra_common.testing.waiting import wait_until
from mortal import Life

PERIOD = 60.0


@dataclass
class Node:
    """A bench with a collector whose time passes when the test says so."""

    bench: Bench
    now: float = 1000.0
    collector: Collector[Knob] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        bench = self.bench
        self.collector = Collector(
            bench.lifecycle,
            bench.state,
            bench.locks,
            bench.claims,
            telemetry=bench.told,
            period=PERIOD,
            clock=lambda: self.now,
        )

    def reboot(self) -> None:
        self.bench.reboot()
        self.start()

    def passes(self, count: int = 1) -> None:
        """Let so many periods go by."""
        for _ in range(count):
            self.now += PERIOD
            self.collector.collect()

    def done(self, action: str) -> int:
        return self.bench.told.counts[f"intel_dra_gc_actions_total{{{action}}}"]

    def prepared(self, name: str, *devices: str, level: int = 5) -> ClaimRef:
        ref = self.bench.claim(name, *devices, config=[config(level)])
        self.bench.engine.prepare(ref, soon())
        return ref

    def forget(self, name: str) -> None:
        """Delete the claim from the API server."""
        del self.bench.claims.objects["default", name]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(Bench(tmp_path))


# --------------------------------------------------------------------------- the rules


def test_the_rules_for_every_phase_boot_and_answer() -> None:
    rules = {
        ("prepared", "now", None): Verdict.ASK,
        ("prepared", "now", False): Verdict.KEEP,
        ("prepared", "now", True): Verdict.TELL,
        ("prepared", "", None): Verdict.ASK,
        ("prepared", "", False): Verdict.KEEP,
        ("prepared", "", True): Verdict.REMOVE,
    }
    for phase, boot, gone in itertools.product(Phase, ("now", ""), (None, False, True)):
        record = ClaimRecord(ClaimRef("n", "c", "u"), phase, boot, Plan())
        assert judge(record, "now", gone=gone) is rules.get((phase.value, boot, gone), Verdict.UNDO)


@pytest.mark.parametrize(
    ("answer", "gone"),
    [
        ({"metadata": {"uid": "mine"}}, False),
        ({"metadata": {"uid": "another"}}, True),
        ({"metadata": {"uid": "mine", "deletionTimestamp": "2026-01-01T00:00:00Z"}}, False),
        ({"metadata": {"uid": ""}}, False),
        ({"metadata": {"uid": 7}}, False),
        ({"metadata": {}}, False),
        ({}, False),
        (NotFound("a proxy's page"), False),
        (NotFound("the very object", definite=True), True),
    ],
)
def test_only_a_definite_answer_means_gone(answer: Any, gone: bool) -> None:  # noqa: FBT001 - a column
    assert is_gone(answer, "mine") is gone


# --------------------------------------------------------------------------- unfinished claims


def test_what_a_dead_instance_began_is_undone(node: Node) -> None:
    ref = node.bench.claim("one", "a", "b", config=[config(5)])
    # The record is written, then the first device, then the second.
    assert Life(3, when=lambda call: call.startswith("write")).dies(node.bench.engine.prepare, ref, soon())
    assert node.bench.level("a") == 5
    node.passes()
    assert node.bench.leftovers() == []
    assert (node.bench.level("a"), node.bench.level("b")) == (1, 1)
    assert node.done("undone") == 1
    assert node.bench.claims.reads == 1, "the API server is not asked about what is undone anyway"


def test_a_dead_instances_unprepare_is_finished(node: Node) -> None:
    ref = node.prepared("one", "a")
    assert Life(1, when=lambda call: "cdi" in call).dies(node.bench.engine.unprepare, ref, soon())
    assert node.bench.leftovers() != []
    node.passes()
    assert node.bench.leftovers() == []
    assert node.bench.level("a") == 1


def test_a_revert_that_fails_is_tried_again_after_pauses_that_double(
    node: Node, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = node.bench.claim("one", "a", config=[config(5)])
    node.bench.driver.broken = {"apply:a", "revert:a"}
    with pytest.raises(HostError):
        node.bench.engine.prepare(ref, soon())
    tries: list[int] = []
    revert = node.bench.driver.revert

    def counted(*arguments: Any) -> None:
        tries.append(int((node.now - 1000) / PERIOD))
        revert(*arguments)

    monkeypatch.setattr(node.bench.driver, "revert", counted)
    with caplog.at_level(logging.INFO):
        node.passes(40)
    assert tries == [1, 2, 4, 8, 16, 26, 36]
    assert len([line for line in caplog.messages if "claim not collected" in line]) == 1
    assert node.done("failed") == 1
    assert node.bench.tainted() != {}
    node.bench.driver.broken = set()
    node.passes(19)
    assert tries[7:] == [46]
    assert node.bench.tainted() == {}
    assert node.bench.leftovers() == []


def test_a_claim_that_somebody_works_on_is_left_alone(node: Node) -> None:
    ref = node.bench.claim("one", "a", config=[config(5)])
    assert Life(2, when=lambda call: call.startswith("rename")).dies(node.bench.engine.prepare, ref, soon())
    before = node.bench.leftovers()
    with node.bench.locks.claim(ref.uid, soon()):
        node.passes()
        assert node.bench.leftovers() == before
    node.passes(2)
    assert node.bench.leftovers() == []


def test_hardware_that_somebody_works_on_is_left_alone(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dra_common.garbage._PARENT_WAIT", 0.01)
    ref = node.bench.claim("one", "a", config=[config(5)])
    assert Life(2, when=lambda call: call.startswith("rename")).dies(node.bench.engine.prepare, ref, soon())
    with node.bench.locks.parents(["parent-a"], soon()):
        node.passes()
        assert node.bench.records.exists(ref.uid)
    node.passes()
    assert node.bench.leftovers() == []


# --------------------------------------------------------------------------- claims of an earlier boot


def test_a_claim_of_an_earlier_boot_that_is_gone_is_removed(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.prepared("one", "a")
    node.reboot()
    node.forget("one")
    with caplog.at_level(logging.INFO):
        node.passes()
    assert node.bench.leftovers() == []
    assert node.done("removed") == 1
    assert "prepared in an earlier boot, and the API server has it no more" in caplog.text
    node.prepared("two", "a")


def test_a_claim_of_an_earlier_boot_that_was_replaced_is_removed(node: Node) -> None:
    node.prepared("one", "a")
    node.reboot()
    node.bench.claim("one", "a", uid="uid-other")
    node.passes()
    assert node.bench.leftovers() == []


def test_a_claim_of_an_earlier_boot_that_is_there_is_kept_and_its_device_held(node: Node) -> None:
    node.prepared("one", "a")
    node.reboot()
    node.passes(5)
    assert node.bench.holds.holders() == {("a", None): "uid-one"}
    assert node.bench.records.exists("uid-one")


NO_ANSWER = [
    Unreachable("no route"),
    ServerError("503", status=503),
    Throttled("429"),
    Forbidden("403", status=403),
    Unauthorized("401", status=401),
    NotFound("404 page not found", status=404),
]


@pytest.mark.parametrize("error", NO_ANSWER, ids=lambda error: type(error).__name__)
def test_without_a_definite_answer_nothing_is_removed(node: Node, error: ClusterError) -> None:
    node.prepared("one", "a")
    node.reboot()
    node.forget("one")
    node.bench.claims.down = error
    node.passes(50)
    assert node.bench.records.exists("uid-one")
    assert node.bench.holds.holders() == {("a", None): "uid-one"}
    node.bench.claims.down = None
    node.passes(10)
    assert node.bench.leftovers() == []


def test_a_server_that_gives_no_answer_is_asked_less_and_less_for_all_claims_together(node: Node) -> None:
    for name in "abcd":
        node.prepared(name, name)
    node.reboot()
    node.bench.claims.down = Unreachable("no route")
    reads = node.bench.claims.reads
    node.passes(40)
    assert node.bench.claims.reads - reads == 7


def test_a_claim_that_stays_is_asked_about_less_and_less(node: Node) -> None:
    node.prepared("one", "a")
    reads = node.bench.claims.reads
    node.passes(40)
    assert node.bench.claims.reads - reads == 7


def test_a_claim_that_changed_meanwhile_is_not_removed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet prepared it again between our question and the lock."""
    ref = node.prepared("one", "a")
    node.reboot()
    stored = node.bench.claims.objects["default", "one"]
    read = node.bench.claims.read

    def slow(*arguments: Any) -> Any:
        monkeypatch.setattr(node.bench.claims, "read", read)
        node.bench.engine.prepare(ref, soon())
        return {**stored, "metadata": {"uid": "another"}}

    monkeypatch.setattr(node.bench.claims, "read", slow)
    node.passes()
    assert node.bench.lifecycle.is_current(node.bench.records.load(ref.uid))


# --------------------------------------------------------------------------- claims of this boot


def test_a_prepared_claim_of_this_boot_is_told_once_and_never_collected(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """After a forced deletion the container may still run, and the kubelet keeps asking to unprepare it."""
    ref = node.prepared("one", "a")
    files = node.bench.leftovers()
    node.forget("one")
    with caplog.at_level(logging.INFO):
        node.passes(60)
    assert node.bench.leftovers() == files
    assert node.bench.level("a") == 5
    (line,) = caplog.messages
    assert "claim default/one (uid uid-one) is prepared here, and the API server has it no more" in line
    assert "`claims release uid-one`" in line
    assert node.done("told") == 1
    assert node.bench.told.events == [(Reason.CLAIM_GONE, line)]
    with pytest.raises(DeviceHeld):
        node.bench.engine.prepare(node.bench.claim("two", "a"), soon())
    node.bench.engine.unprepare(ref, soon())
    assert node.bench.leftovers() == []


# --------------------------------------------------------------------------- what belongs to nobody, what is damaged


def test_orphans_are_removed_while_the_driver_serves(node: Node) -> None:
    node.prepared("one", "a")
    kept = node.bench.leftovers()
    node.bench.specs.write("uid-x", {"knob": {"uid-x-b": ContainerEdits(env=("KNOB=1",))}})
    node.bench.holds.take("b", None, "uid-y")
    (node.bench.root / "state/claims/uid-w.json.tmp").write_text("{")
    (node.bench.root / "state/held/c").mkdir()
    node.passes()
    assert node.bench.leftovers() == kept
    assert node.done("orphan") == 3


def test_a_record_that_is_damaged_while_the_driver_serves_is_set_aside_and_told(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.prepared("one", "a")
    node.prepared("two", "b")
    (node.bench.root / "state/claims/uid-one.json").write_bytes(b"\0" * 100)
    with caplog.at_level(logging.ERROR):
        node.passes(20)
    (line,) = caplog.messages
    assert "claim record set aside as uid-one.json.corrupt-1" in line
    assert node.bench.told.counts["intel_dra_claim_records_set_aside_total"] == 1
    assert node.bench.holds.holders()["a", None] == "uid-one"
    assert node.bench.records.exists("uid-two")


def test_a_newer_record_is_told_once_and_left_alone(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    node.prepared("one", "a")
    path = node.bench.root / "state/claims/uid-one.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 9}))
    node.forget("one")
    before = path.read_bytes(), node.bench.leftovers()
    with caplog.at_level(logging.INFO):
        node.passes(30)
    assert (path.read_bytes(), node.bench.leftovers()) == before
    assert len(caplog.messages) == 1
    assert "schema 9" in caplog.text
    assert [reason for reason, _ in node.bench.told.events] == [Reason.RECORD_TOO_NEW]


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()


@pytest.mark.parametrize(
    "name", ["claims/uid-x.json", "claims/uid-x.lock", "claims/uid-x.json.tmp", "held/c"]
)
@pytest.mark.parametrize("make", [_folder, lambda path: path.symlink_to("../../outside")])
def test_whatever_stands_in_the_folders_is_told_at_most_once_and_the_others_are_collected(
    node: Node, name: str, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    make(node.bench.root / "state" / name)
    node.prepared("one", "a")
    node.reboot()
    node.forget("one")
    with caplog.at_level(logging.INFO):
        node.passes(30)
    assert not node.bench.records.exists("uid-one")
    assert len([line for line in caplog.messages if "garbage: removed:" not in line]) <= 1


def test_a_bug_of_a_driver_stops_no_other_claim(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    for name in "ab":
        ref = node.bench.claim(name, name, config=[config(5)])
        life = Life(1, when=lambda call: call.startswith("rename") and "cdi" in call)
        assert life.dies(node.bench.engine.prepare, ref, soon())
    node.bench.driver.broken = {"bug:revert:a"}
    with caplog.at_level(logging.INFO):
        node.passes(3)
    assert node.bench.records.uids() == ("uid-a",)
    assert caplog.text.count("Traceback") == 1


# --------------------------------------------------------------------------- the thread


def test_the_thread_collects_from_begin_to_end_turn_after_turn(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    bench = node.bench
    collector = Collector(bench.lifecycle, bench.state, bench.locks, bench.claims, period=0.01)
    collector.end()
    for _ in range(2):
        collector.begin()
        bench.holds.take("b", None, "uid-y")
        wait_until(lambda: not bench.leftovers(), "the orphan to go")
        collector.end()
        collector.end()
        assert not [each for each in threading.enumerate() if each.name == "garbage"]
    assert not caplog.records[2:]


def test_trouble_with_the_folders_is_told_once_and_ends_nothing(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    bench = node.bench
    collector = Collector(bench.lifecycle, bench.state, bench.locks, bench.claims, period=0.01)
    held = bench.root / "state/held"
    held.rmdir()
    collector.begin()
    try:
        wait_until(lambda: "cannot list" in caplog.text, "the trouble to be told")
        held.mkdir()
        bench.holds.take("b", None, "uid-y")
        wait_until(lambda: not bench.leftovers(), "collection to go on after the trouble")
    finally:
        collector.end()
    assert caplog.text.count("garbage collection: cannot list") == 1
