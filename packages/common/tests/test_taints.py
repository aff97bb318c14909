"""Taints that come from claims and from locks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dra_common.deadline import Deadline
from dra_common.errors import HostError
from dra_common.taints import busy_taints
from dra_common.testing.bench import Bench, config, soon


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_claim_that_could_not_be_undone_taints_what_it_changed(bench: Bench) -> None:
    ref = bench.claim("one", {"device": "b", "adminAccess": True}, "a", config=[config(5)])
    bench.driver.broken = {"apply:a", "revert:a"}
    with pytest.raises(HostError):
        bench.engine.prepare(ref, soon())
    assert bench.tainted() == {"a": ["revert-failed"]}


def test_what_an_outsider_changed_under_a_prepared_claim_is_tainted_until_it_is_over(bench: Bench) -> None:
    ref = bench.claim("one", "a", "b", config=[config(5)])
    bench.engine.prepare(ref, soon())
    assert bench.tainted() == {}
    bench.knob("a").write_text("7\n")
    assert bench.tainted() == {"a": ["turned"]}
    bench.knob("b").unlink()
    assert bench.tainted() == {"a": ["turned"]}
    bench.engine.unprepare(ref, soon())
    assert bench.tainted() == {}


def test_a_record_that_cannot_be_read_taints_nothing(bench: Bench) -> None:
    ref = bench.claim("one", "a", config=[config(5)])
    bench.engine.prepare(ref, soon())
    bench.knob("a").write_text("7\n")
    (bench.root / f"state/claims/{ref.uid}.json").write_bytes(b"{")
    assert bench.tainted() == {}


# --------------------------------------------------------------------------- locks


def busy(bench: Bench) -> list[str]:
    hardware = bench.driver.discover(bench.host).hardware
    return [
        f"{name}: {taint.key}={taint.effect}"
        for name, taints in busy_taints(bench.driver, bench.locks, hardware).items()
        for taint in taints
    ]


@contextmanager
def changing(bench: Bench, *, since: float) -> Iterator[None]:
    """Have the lock of a knob, with the note that who changes it leaves in it."""
    with bench.locks.parents(["parent-a"], Deadline.after(30)):
        file = bench.root / "state/hardware/parent-a.lock"
        file.write_text("a: set level")
        then = time.time() - since
        os.utime(file, (then, then))
        yield


def test_a_device_is_busy_while_the_kernel_does_not_return(bench: Bench) -> None:
    with changing(bench, since=60):
        assert busy(bench) == ["a: knob.example.com/busy=NoSchedule"]
        assert bench.locks.stuck() == {"parent-a": "a: set level"}
    # Who made the note was killed: nobody waits for the kernel.
    assert busy(bench) == []


def test_an_ordinary_change_taints_nothing(bench: Bench) -> None:
    with changing(bench, since=0):
        assert busy(bench) == []


def test_a_lock_without_a_note_means_nothing(bench: Bench) -> None:
    with changing(bench, since=60):
        (bench.root / "state/hardware/parent-a.lock").write_bytes(b"")
        assert busy(bench) == []
