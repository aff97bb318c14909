"""What waits: merged, bounded, and let through at a rate; the clock is the test's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from dra_common.events.waiting import Limits, Waiting
from dra_common.telemetry import Reason
from hypothesis import given
from hypothesis import strategies as st

LIMITS = Limits(burst=2, every=10.0, notes=3)
GONE, FAILED = Reason.CLAIM_GONE, Reason.REVERT_FAILED


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    made_up = SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0])
    monkeypatch.setattr("dra_common.events.waiting.time", made_up)
    return now


def test_a_burst_and_then_one_each_period(clock: list[float]) -> None:
    waiting = Waiting(LIMITS)
    for note in "abc":
        waiting.add(GONE, note)
    taken = [waiting.take() for _ in range(3)]
    assert [one.note if one else None for one in taken] == ["a", "b", None]
    assert waiting.pause() == pytest.approx(10.0)
    clock[0] += 10.0
    assert waiting.pause() == 0.0
    last = waiting.take()
    assert last is not None
    assert last.note == "c"
    assert waiting.pause() is None
    assert len(waiting) == 0


def test_tokens_are_not_saved_beyond_the_burst(clock: list[float]) -> None:
    waiting = Waiting(LIMITS)
    clock[0] += 1e6
    for note in "abc":
        waiting.add(GONE, note)
    assert [waiting.take() is not None for _ in range(3)] == [True, True, False]


def test_reasons_have_buckets_of_their_own(clock: list[float]) -> None:
    waiting = Waiting(LIMITS)
    for note in "abc":
        waiting.add(GONE, note)
    waiting.add(FAILED, "d")
    taken = [waiting.take() for _ in range(4)]
    assert [one.note if one else None for one in taken] == ["a", "b", "d", None]


def test_what_does_not_fit_is_counted_with_the_last(clock: list[float]) -> None:
    waiting = Waiting(Limits(burst=10, notes=3))
    for number in range(100):
        waiting.add(GONE, f"claim {number}", last=float(number))
    taken = [waiting.take() for _ in range(3)]
    assert [(one.note, one.count, one.last) for one in taken if one] == [
        ("claim 0", 1, 0.0),
        ("claim 1", 1, 1.0),
        ("claim 2", 98, 99.0),
    ]


@given(st.lists(st.tuples(st.sampled_from([GONE, FAILED]), st.sampled_from("abcdefgh")), max_size=200))
def test_nothing_is_lost_and_nothing_grows(told: list[tuple[Reason, str]]) -> None:
    waiting = Waiting(Limits(burst=1000, notes=3))
    for reason, note in told:
        waiting.add(reason, note)
    assert len(waiting) <= 6
    counts = dict.fromkeys((GONE, FAILED), 0)
    while occurrence := waiting.take():
        counts[occurrence.reason] += occurrence.count
    assert counts == {reason: sum(each is reason for each, _ in told) for reason in counts}
