"""The claims of one call, worked on side by side until the caller's deadline."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar

from dra_common.deadline import Deadline
from dra_common.errors import ClaimError, DraError
from dra_common.kubelet.flights import Flight, Flights
from dra_common.log import bind
from dra_common.model import ClaimRef

log = logging.getLogger(__name__)

T = TypeVar("T")

Operation = Literal["prepare", "unprepare"]
OPERATIONS: Final[tuple[Operation, ...]] = ("prepare", "unprepare")

_NOT_IN_TIME, _STOPPING, _INTERNAL = "NotInTime", "Stopping", "InternalError"
"""Kinds of errors beside the names of the classes of :mod:`dra_common.errors`."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one claim: a value, or the text of an error (never both).

    ``kind`` is a word for the error out of a small vocabulary, ``seconds`` is how long it took from the call on.
    """

    value: T | None = None
    error: str = ""
    kind: str = field(default="", compare=False)
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the kubelet.

    Args:
        request: its number in the log.
        deadline: when to end the work.
        when_over: calls back once the caller waits no more; False, without calling, if that is so already.
        operation: what is asked for, in metrics.
        last_words: seconds from the deadline to the answer, for what gives up at the deadline to say why.
    """

    request: int
    deadline: Deadline
    when_over: Callable[[Callable[[], None]], bool]
    operation: Operation = "prepare"
    last_words: float = 0.0


class ClaimWorkers:
    """A bounded pool of threads that all calls share.

    A claim that overruns its deadline keeps its thread until it ends; the call is answered without it.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="claim")
        self._stopped = False
        self.flights = Flights(OPERATIONS, workers)

    def run(
        self, work: Callable[[ClaimRef, Deadline], T], refs: Sequence[ClaimRef], call: Call
    ) -> Mapping[str, Outcome[T]]:
        """Do ``work`` for each claim once; returns UID -> outcome for every UID, soon after the deadline at the latest.

        With the return the call's deadline is over: work that has not begun by then has nobody to answer to, and the
        kubelet may have asked for something else meanwhile.
        """
        once: dict[str, ClaimRef] = {}
        for ref in refs:
            once.setdefault(ref.uid, ref)
        begun = time.monotonic()
        futures = {uid: self._submit(work, ref, call) for uid, ref in once.items()}
        _wait(tuple(futures.values()), call)
        call.deadline.end()
        return {uid: self._collect(once[uid], future, begun) for uid, future in futures.items()}

    def stop(self) -> None:
        """Start nothing more; what runs ends by itself."""
        self._stopped = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(
        self, work: Callable[[ClaimRef, Deadline], T], ref: ClaimRef, call: Call
    ) -> Future[Outcome[T]]:
        flight = self.flights.add(call.operation)
        try:
            future = self._pool.submit(contextvars.copy_context().run, _attempt, work, ref, call, flight)
        except RuntimeError:  # stopped meanwhile
            future = Future()
            future.cancel()
        future.add_done_callback(lambda _: self.flights.end(flight))
        return future

    def _collect(self, ref: ClaimRef, future: Future[Outcome[T]], begun: float) -> Outcome[T]:
        if future.cancel():
            if self._stopped:
                return _late(ref, "not begun: the driver is stopping", begun, _STOPPING)
            return _late(
                ref, f"not begun in time: all {self._workers} workers were busy with other claims", begun
            )
        if not future.done():
            return _late(ref, "not finished in time; it goes on, and the kubelet asks again", begun)
        return future.result()


def _wait(futures: Sequence[Future[Outcome[T]]], call: Call) -> None:
    """Wait until all are done, the deadline passes, or the caller goes away."""
    over = threading.Event()

    def look(_future: Future[Outcome[T]]) -> None:
        if all(future.done() for future in futures):
            over.set()

    for future in futures:
        future.add_done_callback(look)
    if futures and call.when_over(over.set):
        over.wait(call.deadline.remaining + call.last_words)


def _attempt(
    work: Callable[[ClaimRef, Deadline], T], ref: ClaimRef, call: Call, flight: Flight
) -> Outcome[T]:
    flight.begun = time.monotonic()
    with bind(claim=f"{ref.namespace}/{ref.name}", uid=ref.uid):
        try:
            _refuse_useless(ref, call)
            return Outcome(work(ref, call.deadline), seconds=flight.seconds)
        except DraError as error:
            log.warning("failed: %s", error)
            kind = type(error).__name__
            return Outcome(error=str(error) or kind, kind=kind, seconds=flight.seconds)
        except Exception as error:
            log.exception("internal error")
            text = (
                f"internal error ({type(error).__name__}) on claim {ref},"
                f" see the driver's log of request {call.request}"
            )
            return Outcome(error=text, kind=_INTERNAL, seconds=flight.seconds)


def _refuse_useless(ref: ClaimRef, call: Call) -> None:
    if not (ref.uid and ref.namespace and ref.name) or "/" in ref.uid:
        raise ClaimError(f"the kubelet named a claim without proper namespace, name and UID: {ref}")
    if call.deadline.passed:
        raise ClaimError(f"claim {ref} was not begun: the kubelet no longer waits for the answer")


def _late(ref: ClaimRef, why: str, begun: float, kind: str = _NOT_IN_TIME) -> Outcome[T]:
    with bind(claim=f"{ref.namespace}/{ref.name}", uid=ref.uid):
        log.warning("%s", why)
    return Outcome(error=f"claim {ref}: {why}", kind=kind, seconds=time.monotonic() - begun)
