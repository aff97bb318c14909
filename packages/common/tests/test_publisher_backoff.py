"""Pauses."""

from __future__ import annotations

from dra_common.publisher.backoff import Backoff, Pacer


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


def test_repairs_are_free_until_the_burst_is_spent_and_then_steady() -> None:
    now = [0.0]
    pacer = Pacer(burst=3, every=5.0, clock=lambda: now[0])
    for _ in range(3):
        assert pacer.delay() == 0.0
        pacer.spend()
    for _ in range(4):
        assert pacer.delay() == 5.0
        now[0] += 5.0
        assert pacer.delay() == 0.0
        pacer.spend()


def test_quiet_times_fill_the_bucket_but_never_more_than_the_burst() -> None:
    now = [0.0]
    pacer = Pacer(burst=2, every=5.0, clock=lambda: now[0])
    pacer.spend()
    now[0] += 1000.0
    pacer.spend()
    pacer.spend()
    assert pacer.delay() == 5.0
