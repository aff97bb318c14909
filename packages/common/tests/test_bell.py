from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from dra_common.bell import Bell, Rung

SECONDS = 60.0
NEVER = float("inf")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("dra_common.bell.time", clock)
    return clock


@pytest.mark.parametrize(
    ("rings", "due"),
    [
        ([0.0], 0.1),
        ([0.0, 0.05], 0.15),
        ([0.0, 0.05, 0.1, 0.14], 0.24),
        ([index * 0.05 for index in range(20)], 1.0),
        ([index * 0.05 for index in range(100)], 1.0),
    ],
)
def test_it_answers_when_it_is_quiet_but_not_later_than_the_limit(
    clock: Clock, rings: list[float], due: float
) -> None:
    bell = Bell(quiet=0.1, latest=1.0)
    for moment in rings:
        clock.now = 1000 + moment
        bell.ring("x")
    assert bell._due() == pytest.approx(1000 + due)
    clock.now = 1000 + due + 0.001
    assert bell.wait(NEVER) == Rung(len(rings), "x")


def test_without_rings_it_answers_at_the_given_time_only(clock: Clock) -> None:
    bell = Bell(quiet=0.1, latest=1.0)
    assert bell._due() == NEVER
    assert bell.wait(999.0) == Rung()


def test_rings_count_once(clock: Clock) -> None:
    bell = Bell(quiet=0.1, latest=1.0)
    bell.ring("x")
    clock.now += 1
    assert bell.wait(NEVER) == Rung(1, "x")
    assert bell._due() == NEVER
    bell.ring("y")
    clock.now += 1
    assert bell.wait(NEVER) == Rung(1, "y")


def test_the_time_limit_takes_rings_along_that_were_not_due_yet(clock: Clock) -> None:
    bell = Bell(quiet=60, latest=600)
    bell.ring("x")
    assert bell.wait(1000.0) == Rung(1, "x")
    assert bell._due() == NEVER


def test_a_ring_wakes_a_listener_that_waits_for_ever() -> None:
    bell = Bell(quiet=0.01, latest=0.02)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(bell.wait, NEVER)
        bell.ring("x")
        assert answer.result(SECONDS) == Rung(1, "x")


def test_the_time_limit_wakes_a_listener() -> None:
    assert Bell(quiet=60, latest=60).wait(time.monotonic() + 0.01) == Rung()


def test_close_wakes_a_listener_for_good() -> None:
    bell = Bell(quiet=60, latest=60)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(bell.wait, NEVER)
        bell.ring("x")
        bell.close()
        assert answer.result(SECONDS) is None
    bell.ring("y")
    assert bell.wait(0.0) is None


def test_no_ring_of_many_threads_is_lost() -> None:
    bell = Bell(quiet=0.01, latest=0.05)
    heard = 0

    def ring() -> None:
        for _ in range(500):
            bell.ring("x")

    ringers = [threading.Thread(target=ring) for _ in range(4)]
    for ringer in ringers:
        ringer.start()
    while heard < 2000:
        rung = bell.wait(time.monotonic() + SECONDS)
        assert rung is not None
        assert rung.count, "the rest was lost"
        heard += rung.count
    for ringer in ringers:
        ringer.join()
    assert heard == 2000


def test_a_rung_says_why() -> None:
    assert str(Rung()) == "time to look again"
    assert str(Rung(1, "add /devices/x")) == "add /devices/x"
    assert str(Rung(4, "add /devices/x")) == "add /devices/x and 3 more"
