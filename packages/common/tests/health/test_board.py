"""Who waits for news gets each, and is let go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from dra_common.health import Board
from dra_common.model import DeviceHealth, HealthState

GOOD, BAD = DeviceHealth(HealthState.HEALTHY), DeviceHealth(HealthState.UNHEALTHY, "memory")


def test_news_end_a_wait_and_what_is_the_same_is_no_news() -> None:
    board = Board()
    tick, first = board.wait(-1, 0)
    assert first == {}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(board.wait, tick, 60)
        board.write({"a": GOOD})
        now, healths = waiting.result(60)
    assert healths == board.healths == {"a": GOOD}
    board.write({"a": GOOD})
    assert board.wait(now, 0) == (now, healths)
    board.write({"a": BAD})
    assert board.wait(now, 60)[1] == {"a": BAD}


def test_a_wake_reaches_also_who_is_just_about_to_wait() -> None:
    board = Board()
    board.write({"a": GOOD})
    tick, healths = board.wait(-1, 0)
    board.wake()
    later, same = board.wait(tick, 60)
    assert later != tick
    assert same is healths
