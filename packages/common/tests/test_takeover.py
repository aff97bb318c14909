"""Waiting for another driver's end, and for an adoption that works: told once, tried again, nothing served."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from dra_common.errors import KubeletError
from dra_common.readiness import Readiness
from dra_common.takeover import adopt_claims, wait_for_rivals
from dra_common.testing.bench import Bench
from goclaims import adoption, entry, leave

RIVAL = KubeletError("another driver serves x.example.com on this node", cure="remove its DaemonSet")


class Stop(Exception):
    """What a signal does to a pause."""


def stop(_: float) -> None:
    raise Stop


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_nobody_to_wait_for(caplog: pytest.LogCaptureFixture) -> None:
    readiness = Readiness(["recovered"])
    wait_for_rivals(lambda: None, readiness, stop)
    assert (readiness.why_not(), caplog.messages) == ("recovered: not yet", [])


def test_who_is_there_is_told_once_and_shown_as_long(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    readiness = Readiness(["recovered"])
    looks: Iterator[KubeletError | None] = iter([RIVAL, RIVAL, KubeletError("its other socket"), None])
    shown: list[str] = []
    wait_for_rivals(lambda: next(looks), readiness, lambda _: shown.append(readiness.why_not()))
    assert shown[:2] == [f"recovered: {RIVAL}"] * 2
    assert len(shown) == 3
    assert loud(caplog) == [f"waiting: {RIVAL}"]
    assert caplog.messages[-1] == "no other driver answers any more: going on"
    assert readiness.why_not() == "recovered: not yet"


def test_a_signal_ends_the_wait() -> None:
    with pytest.raises(Stop):
        wait_for_rivals(lambda: RIVAL, Readiness(), stop)


def test_what_keeps_all_claims_from_being_adopted_is_told_once_for_each_cause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    path = leave(bench, {"uid-1": entry("a")})
    bench.driver.broken = {"discover:a"}
    readiness = Readiness(["recovered"])
    pauses: list[str] = []

    def pause(_: float) -> None:
        pauses.append(readiness.why_not())
        if len(pauses) == 2:
            bench.driver.broken = set()
            (bench.root / "state/adopted").write_text("in the way")
        if len(pauses) == 4:
            (bench.root / "state/adopted").unlink()

    adopt_claims(adoption(bench), readiness, pause)
    assert len(pauses) == 4
    assert "the knob is stuck (oil it)" in pauses[0]
    assert "state/adopted" in pauses[2]
    told = loud(caplog)
    assert ["cannot be adopted yet, it is tried again" in line for line in told] == [True, True]
    assert (bench.records.uids(), path.exists()) == (("uid-1",), False)


def test_a_signal_ends_the_attempts_and_loses_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    path = leave(bench, {"uid-1": entry("a")})
    bench.driver.broken = {"discover:a"}
    with pytest.raises(Stop):
        adopt_claims(adoption(bench), Readiness(), stop)
    assert path.exists()
