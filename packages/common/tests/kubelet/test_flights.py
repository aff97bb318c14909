"""Which claims are in flight, and when nothing moves any more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from dra_common.kubelet.flights import WEDGED_SECONDS, Flight, Flights


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("dra_common.kubelet.flights.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def begun(flights: Flights, clock: list[float], operation: str = "prepare") -> Flight:
    flight = flights.add(operation)
    flight.begun = clock[0]
    return flight


def test_operations_are_counted_also_when_there_are_none() -> None:
    flights = Flights(("prepare", "unprepare"), 2)
    assert flights.counts() == {("prepare",): 0, ("unprepare",): 0}
    first = flights.add("prepare")
    flights.add("prepare")
    assert flights.counts() == {("prepare",): 2, ("unprepare",): 0}
    flights.end(first)
    flights.end(first)
    assert flights.counts() == {("prepare",): 1, ("unprepare",): 0}


def test_wedged_is_when_every_worker_hangs_for_long(clock: list[float]) -> None:
    flights = Flights(("prepare",), 2)
    stuck = [begun(flights, clock)]
    clock[0] += WEDGED_SECONDS / 2
    stuck.append(begun(flights, clock))
    for _ in range(100):
        flights.add("prepare")  # waits for a worker
    clock[0] += WEDGED_SECONDS / 2 + 1
    assert flights.why_wedged() == ""
    clock[0] += WEDGED_SECONDS / 2
    assert flights.why_wedged() == "all 2 claim workers have hung for more than 600 s"
    flights.end(stuck[0])
    assert flights.why_wedged() == ""


def test_busy_is_not_wedged(clock: list[float]) -> None:
    """Claim after claim on all workers, each of them quick."""
    flights = Flights(("prepare",), 1)
    for _ in range(100):
        flight = begun(flights, clock)
        clock[0] += WEDGED_SECONDS / 10
        assert flights.why_wedged() == ""
        flights.end(flight)


def test_seconds_count_from_the_submission(clock: list[float]) -> None:
    flight = Flights((), 1).add("prepare")
    flight.submitted = clock[0]
    clock[0] += 2.5
    assert flight.seconds == 2.5
