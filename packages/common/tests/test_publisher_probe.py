"""Feature gates found out with dry runs, against a server that has them (scenario 64)."""

from __future__ import annotations

from pathlib import Path

import pytest
from dra_common.errors import ClusterError
from dra_common.publisher.drops import Dropped, Drops
from dra_common.publisher.probe import Probe
from dra_common.slices import GATES, FeatureName
from dra_common.telemetry import Reason
from notebook import Notebook
from publisher_bench import DRIVER, NODE, Bench, bench

ALL = frozenset(GATES)


def probe(lab: Bench, notes: Notebook) -> Probe:
    return Probe(lab.client, driver=DRIVER, node=NODE, drops=Drops(NODE, notes))


def test_a_server_with_everything_has_nothing_off_and_keeps_nothing(tmp_path: Path) -> None:
    notes = Notebook()
    with bench(tmp_path) as lab:
        assert probe(lab, notes)(ALL) == frozenset()
        assert lab.own() == []
        assert {request.query["dryRun"] for request in lab.server.requests} == {"All"}
    assert notes.events == []


def test_no_features_is_no_question(tmp_path: Path) -> None:
    with bench(tmp_path, version="1.34") as lab:
        assert probe(lab, Notebook())(()) == frozenset()
        assert lab.server.requests == ()


@pytest.mark.parametrize("feature", sorted(ALL))
@pytest.mark.scenario(64)
def test_64_each_gate_that_is_off_is_found_and_told_once_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, feature: FeatureName
) -> None:
    caplog.set_level("INFO", logger="dra_common")
    notes = Notebook()
    with bench(tmp_path, feature_gates={GATES[feature]: False}) as lab:
        ask = probe(lab, notes)
        assert [ask(ALL) for _ in range(3)] == [frozenset({feature})] * 3
        assert len(caplog.records) == 1
        assert f"(feature gates that are off: {GATES[feature]})" in caplog.text
        assert f"of node {NODE}" in caplog.text
        lab.server.upgrade("1.36")
        assert ask({feature}) == frozenset()
        assert ask({feature}) == frozenset()
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        assert GATES[feature] in caplog.messages[1]
        lab.server.upgrade("1.36", {GATES[feature]: False})
        assert ask(ALL) == {feature}
    assert len(caplog.records) == 3, "what was over is told again"
    assert [reason for reason, _ in notes.events] == [Reason.FIELDS_DROPPED] * 2
    assert all(GATES[feature] in note for _, note in notes.events)


def test_a_server_that_allows_no_dry_runs_cannot_be_asked(tmp_path: Path) -> None:
    with bench(tmp_path) as lab:
        lab.server.faults.add(
            status=400, method="POST", message="admission webhook x does not support dry run"
        )
        with pytest.raises(ClusterError, match="does not support dry run"):
            probe(lab, Notebook())(ALL)


def test_what_a_probe_told_is_not_told_by_the_next_write(caplog: pytest.LogCaptureFixture) -> None:
    drops = Drops(NODE, Notebook())
    drops.tell(Dropped(("devices[].taints",)))
    drops.tell(Dropped(("devices[].taints",)))
    assert len(caplog.records) == 1
    drops.tell(Dropped(("devices[].taints", "sharedCounters")))
    assert "DRAPartitionableDevices" in caplog.messages[1]
    drops.tell(Dropped(("devices[].taints (changed)",)))
    assert "webhooks" in caplog.messages[2], "another cause is another line"
