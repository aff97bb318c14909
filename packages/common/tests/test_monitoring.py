"""What is shown as gauges: claims on disk, devices in the inventory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dra_common.inventory import absent_taint, cordoned_taint
from dra_common.model import ClaimRecord, Device, Phase, Snapshot, Taint, TaintEffect
from dra_common.monitoring import ClaimPhases, devices_by_health
from dra_common.taints import revert_failed_taint
from dra_common.testing.bench import Bench, soon

DRIVER = "x.example.com"


def test_claims_are_counted_by_what_their_records_say(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    phases = ClaimPhases(bench.records)
    zero = dict.fromkeys([("preparing",), ("prepared",), ("unpreparing",), ("failed",)], 0)
    zero |= {("set-aside",): 0, ("unreadable",): 0}
    assert phases.count() == zero
    refs = [bench.claim(f"c{device}", device) for device in ("a", "b", "c")]
    for ref in refs:
        bench.engine.prepare(ref, soon())
    assert phases.count() == zero | {("prepared",): 3}
    for path in (tmp_path / "state/claims").glob("uid-ca*.json"):
        path.write_text("{")
    assert phases.count() == zero | {("prepared",): 2, ("unreadable",): 1}
    bench.recover()
    assert phases.count() == zero | {("prepared",): 2, ("set-aside",): 1}
    for ref in refs:
        bench.engine.unprepare(ref, soon())
    assert phases.count() == zero


def test_records_are_read_again_only_when_they_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    for device in ("a", "b"):
        bench.engine.prepare(bench.claim(f"c{device}", device), soon())
    read: list[str] = []
    load = bench.records.load

    def loading(uid: str) -> ClaimRecord | None:
        read.append(uid)
        return load(uid)

    monkeypatch.setattr(bench.records, "load", loading)
    phases = ClaimPhases(bench.records)
    assert phases.count()["prepared",] == 2
    assert phases.count()["prepared",] == 2
    assert sorted(read) == ["uid-ca", "uid-cb"]
    record = load("uid-cb")
    assert record is not None
    bench.records.save(replace(record, phase=Phase.FAILED, error="EIO"))
    assert (phases.count()["prepared",], phases.count()["failed",]) == (1, 1)
    assert sorted(read) == ["uid-ca", "uid-cb", "uid-cb"]
    bench.records.delete("uid-ca")
    assert phases.count()["prepared",] == 0


def test_devices_are_counted_by_health() -> None:
    snapshot = Snapshot(
        1,
        (
            Device("a", {"health": "Healthy"}),
            Device("b", {"health": "Unknown"}),
            Device("c"),
            Device("d", {"health": "strange"}),
            Device("e", {"health": "Unhealthy"}),
            Device("f", {"health": "Healthy"}, taints=(revert_failed_taint(DRIVER),)),
            Device("g", {"health": "Healthy"}, taints=(Taint(f"{DRIVER}/note", TaintEffect.NONE),)),
            Device("i", {"health": "Healthy"}, taints=(cordoned_taint(DRIVER, "fan"),)),
            Device("j", taints=(cordoned_taint(DRIVER), revert_failed_taint(DRIVER))),
            Device("h", taints=(revert_failed_taint(DRIVER), absent_taint(DRIVER))),
        ),
    )
    assert devices_by_health(snapshot, DRIVER) == {
        ("healthy",): 2,
        ("unhealthy",): 3,
        ("unknown",): 3,
        ("absent",): 1,
        ("cordoned",): 1,
    }
    assert sum(devices_by_health(Snapshot(0), DRIVER).values()) == 0
