"""Readiness and liveness."""

from __future__ import annotations

import threading

import pytest
from dra_common.readiness import CONDITIONS, Condition, Readiness, ended


def test_nothing_holds_at_first_and_each_condition_says_so() -> None:
    readiness = Readiness()
    assert not readiness.ready
    assert readiness.alive
    assert readiness.why_not() == "recovered: not yet; serving: not yet; registered: not yet"


@pytest.mark.parametrize("missing", CONDITIONS)
def test_every_condition_is_needed(missing: Condition) -> None:
    readiness = Readiness()
    for condition in CONDITIONS:
        if condition != missing:
            readiness.met(condition)
    assert readiness.why_not() == f"{missing}: not yet"
    readiness.met(missing)
    assert readiness.ready
    assert readiness.why_not() == ""


def test_a_condition_can_stop_to_hold_and_hold_again() -> None:
    readiness = Readiness(["registered"])
    readiness.met("registered")
    readiness.unmet("registered", "the kubelet refused")
    assert readiness.why_not() == "registered: the kubelet refused"
    readiness.met("registered")
    assert readiness.ready


def test_a_condition_that_this_driver_does_not_have_is_ignored() -> None:
    readiness = Readiness(["serving"])
    readiness.unmet("recovered", "never will be")
    readiness.met("registered")
    assert readiness.why_not() == "serving: not yet"
    readiness.met("serving")
    assert readiness.ready


def test_a_check_that_complains_makes_it_neither_alive_nor_ready() -> None:
    readiness = Readiness(["serving"])
    readiness.met("serving")
    complaints = {"socket": "", "thread": ""}
    readiness.add_check(lambda: complaints["socket"])
    readiness.add_check(lambda: complaints["thread"])
    assert readiness.why_dead() == ""
    complaints["socket"] = "the socket is gone"
    assert not readiness.alive
    assert not readiness.ready
    complaints["thread"] = "the thread ended"
    assert readiness.why_dead() == "the socket is gone; the thread ended"
    assert readiness.why_not() == readiness.why_dead()


def test_being_not_ready_is_no_reason_to_start_anew() -> None:
    readiness = Readiness()
    readiness.unmet("registered", "the kubelet refused")
    assert readiness.alive
    assert readiness.why_dead() == ""


def test_conditions_are_told_in_order_with_what_keeps_them() -> None:
    readiness = Readiness()
    readiness.met("serving")
    assert list(readiness.conditions().items()) == [
        ("recovered", "not yet"),
        ("serving", ""),
        ("registered", "not yet"),
    ]


def test_a_thread_that_ended_by_itself_is_named() -> None:
    go_on = threading.Event()
    works = threading.Thread(target=go_on.wait, name="works")
    broke = threading.Thread(target=lambda: None, name="broke")
    later = threading.Thread(target=lambda: None, name="later")
    works.start()
    broke.start()
    broke.join()
    try:
        assert ended([works, broke, later], stopped=False) == "thread broke has ended"
        assert ended([works, later], stopped=False) == ""
        assert ended([works, broke, later], stopped=True) == ""
    finally:
        go_on.set()
        works.join()
