"""Pauses."""

from __future__ import annotations

from dra_common.pacing import Backoff, Pacer


def test_delays_double_up_to_the_most_with_jitter() -> None:
    backoff = Backoff(0.5, 30.0)
    delays = [backoff.next() for _ in range(100)]
    for index, delay in enumerate(delays):
        full = min(30.0, 0.5 * 2**index)
        assert full / 2 <= delay <= full
    assert len(set(delays[-20:])) > 1


def test_a_success_starts_again() -> None:
    backoff = Backoff(0.5, 30.0)
    for _ in range(10):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 0.5


def test_turns_are_free_until_the_burst_is_spent_and_then_steady() -> None:
    now = [0.0]
    pacer = Pacer(burst=3, every=5.0, clock=lambda: now[0])
    assert [pacer.take() for _ in range(3)] == [0.0] * 3
    for _ in range(4):
        assert pacer.take() == 5.0
        now[0] += 5.0


def test_quiet_times_fill_the_bucket_but_never_more_than_the_burst() -> None:
    now = [0.0]
    pacer = Pacer(burst=2, every=5.0, clock=lambda: now[0])
    pacer.take()
    now[0] += 1000.0
    assert [pacer.take() for _ in range(3)] == [0.0, 0.0, 5.0]


def test_waiting_tells_when_a_turn_is_free_and_takes_none() -> None:
    now = [0.0]
    pacer = Pacer(burst=1, every=5.0, clock=lambda: now[0])
    assert [pacer.wait() for _ in range(3)] == [0.0] * 3
    pacer.take()
    assert pacer.wait() == 5.0
    now[0] += 2.0
    assert pacer.wait() == 3.0
