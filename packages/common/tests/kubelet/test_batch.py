"""The claims of one call, without a socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from dra_common.deadline import Deadline
from dra_common.errors import ClaimError
from dra_common.kubelet.batch import Call, ClaimWorkers, Outcome
from dra_common.model import ClaimRef

REFS = [ClaimRef("default", f"claim-{number}", f"uid-{number}") for number in range(8)]


@pytest.fixture
def workers() -> Iterator[ClaimWorkers]:
    workers = ClaimWorkers(4)
    yield workers
    workers.stop()


def waiting(_callback: Callable[[], None]) -> bool:
    """A caller that never goes away."""
    return True


def gone(_callback: Callable[[], None]) -> bool:
    """A caller that has gone already."""
    return False


def test_values_and_errors_come_back_by_uid(workers: ClaimWorkers) -> None:
    def work(ref: ClaimRef, deadline: Deadline) -> str:
        if ref.uid == "uid-3":
            raise ClaimError("no", cure="ask again")
        return ref.name.upper()

    outcomes = workers.run(work, REFS, Call(1, Deadline.after(60), waiting))
    assert outcomes == {ref.uid: Outcome(ref.name.upper()) for ref in REFS} | {
        "uid-3": Outcome(error="no (ask again)")
    }


def test_outcomes_stand_in_the_order_of_the_request(workers: ClaimWorkers) -> None:
    outcomes = workers.run(lambda ref, _: ref.uid, REFS[::-1], Call(1, Deadline.after(60), waiting))
    assert list(outcomes) == [ref.uid for ref in REFS[::-1]]


def test_nothing_is_begun_after_the_deadline(workers: ClaimWorkers) -> None:
    begun: list[ClaimRef] = []
    for number in range(100):
        outcomes = workers.run(
            lambda ref, _: begun.append(ref), REFS, Call(number, Deadline.after(0), waiting)
        )
        assert len(outcomes) == len(REFS)
        assert all(outcome.error for outcome in outcomes.values())
    assert begun == []


def test_what_gives_up_at_the_deadline_still_says_why(workers: ClaimWorkers) -> None:
    """As a lock does, a little late on a busy machine. Whoever does not give up is answered for, as late."""

    def work(ref: ClaimRef, deadline: Deadline) -> None:
        begun.wait(60)
        if ref.uid == "uid-3":
            opened.wait(60)
        while not deadline.passed:
            time.sleep(0.01)
        time.sleep(0.05)
        raise ClaimError("the lock is held")

    opened = threading.Event()
    soon = Deadline.after(60)
    begun = threading.Barrier(3, soon.end)
    call = Call(1, soon, waiting, last_words=60)
    outcomes = workers.run(work, REFS[:3], call)
    assert {outcome.error for outcome in outcomes.values()} == {"the lock is held"}
    soon = Deadline.after(6)
    begun = threading.Barrier(4)
    call = Call(2, soon, waiting, last_words=5)
    outcomes = workers.run(work, REFS[:4], call)
    assert [uid for uid, outcome in outcomes.items() if "not finished in time" in outcome.error] == ["uid-3"]
    opened.set()


def test_nobody_is_waited_for_when_the_caller_has_gone(workers: ClaimWorkers) -> None:
    opened = threading.Event()
    outcomes = workers.run(lambda _ref, _: opened.wait(60), REFS, Call(1, Deadline.after(60), gone))
    assert not opened.is_set()
    assert all(outcome.error for outcome in outcomes.values())
    opened.set()


def test_waiting_ends_when_the_caller_goes(workers: ClaimWorkers) -> None:
    opened, callbacks = threading.Event(), list[Callable[[], None]]()

    def leaves(callback: Callable[[], None]) -> bool:
        threading.Timer(0.01, callback).start()
        callbacks.append(callback)
        return True

    outcomes = workers.run(lambda _ref, _: opened.wait(60), REFS, Call(1, Deadline.after(60), leaves))
    assert len(callbacks) == 1
    assert all("in time" in outcome.error for outcome in outcomes.values())
    opened.set()


def test_work_learns_that_its_caller_went(workers: ClaimWorkers) -> None:
    """It must not begin to change anything: the kubelet may have asked for something else since."""
    answered, learned = threading.Event(), threading.Event()

    def work(ref: ClaimRef, deadline: Deadline) -> None:
        assert answered.wait(60)
        if deadline.passed:
            learned.set()

    def leaves(callback: Callable[[], None]) -> bool:
        callback()
        return True

    workers.run(work, REFS[:1], Call(1, Deadline.after(3600), leaves))
    answered.set()
    assert learned.wait(60)


def test_stopping_frees_a_call_whose_claims_wait_for_a_worker() -> None:
    workers, opened, begun = ClaimWorkers(1), threading.Event(), threading.Event()

    def work(ref: ClaimRef, deadline: Deadline) -> str:
        begun.set()
        opened.wait(60)
        return ref.uid

    results: list[dict[str, Outcome[str]]] = []
    call = threading.Thread(
        target=lambda: results.append(dict(workers.run(work, REFS[:2], Call(1, Deadline.after(60), waiting))))
    )
    call.start()
    assert begun.wait(60)
    workers.stop()
    opened.set()
    call.join(60)
    assert results[0]["uid-0"] == Outcome("uid-0")
    assert results[0]["uid-1"].error == f"claim {REFS[1]}: not begun: the driver is stopping"


def test_a_call_that_comes_after_the_stop_is_answered(workers: ClaimWorkers) -> None:
    workers.stop()
    outcomes = workers.run(lambda ref, _: ref.uid, REFS, Call(1, Deadline.after(60), waiting))
    assert [outcome.error.rpartition(": ")[2] for outcome in outcomes.values()] == [
        "the driver is stopping"
    ] * 8
