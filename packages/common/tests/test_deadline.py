"""Deadlines: time, and callers that go away before it is over."""

from __future__ import annotations

import time

from dra_common.deadline import Deadline


def test_time_runs_and_is_never_negative() -> None:
    deadline = Deadline.after(3600)
    first = deadline.remaining
    assert 0 < deadline.remaining <= first <= 3600
    assert not deadline.passed
    assert Deadline(time.monotonic() - 1).remaining == 0
    assert Deadline(time.monotonic() - 1).passed


def test_an_end_comes_at_once_for_everybody_who_has_it() -> None:
    deadline = Deadline.after(3600)
    handed_down = deadline
    deadline.end()
    deadline.end()
    assert handed_down.passed
    assert handed_down.remaining == 0
    assert not Deadline.after(3600).passed, "other calls are not concerned"
