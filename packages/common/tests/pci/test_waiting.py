from __future__ import annotations

import pytest
from dra_common.deadline import Deadline
from dra_common.errors import HardwareNotReady, HostError, HostNotFound
from dra_common.pci.waiting import wait_for


def test_a_state_that_is_there_is_not_waited_for() -> None:
    wait_for("x", lambda: True, Deadline.after(0))


def test_what_is_not_there_yet_is_waited_for() -> None:
    answers: list[bool | HostError] = [HostNotFound("not yet"), False, True]

    def look() -> bool:
        answer = answers.pop(0)
        if isinstance(answer, HostError):
            raise answer
        return answer

    wait_for("x", look, Deadline.after(60))
    assert answers == []


def test_a_state_that_does_not_come_is_named() -> None:
    with pytest.raises(HardwareNotReady, match=r"0000:01:00.0: 4 VFs: not so after 0 s.*kernel log"):
        wait_for("0000:01:00.0: 4 VFs", lambda: False, Deadline.after(0))


def test_patience_goes_beyond_the_deadline() -> None:
    answers = [False, False, False, True]
    wait_for("x", lambda: answers.pop(0), Deadline.after(0), patience=20)
    assert answers == []


def test_other_errors_end_the_wait() -> None:
    def look() -> bool:
        raise HostError("broken")

    with pytest.raises(HostError, match="broken"):
        wait_for("x", look, Deadline.after(60))
