"""The claims of one call, worked on side by side until the caller's deadline."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from dra_common.deadline import Deadline
from dra_common.errors import ClaimError, DraError
from dra_common.log import bind
from dra_common.model import ClaimRef

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one claim: a value, or the text of an error (never both)."""

    value: T | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the kubelet.

    Args:
        request: its number in the log.
        deadline: when to answer.
        when_over: calls back once the caller waits no more; False, without calling, if that is so already.
    """

    request: int
    deadline: Deadline
    when_over: Callable[[Callable[[], None]], bool]


class ClaimWorkers:
    """A bounded pool of threads that all calls share.

    A claim that overruns its deadline keeps its thread until it ends; the call is answered without it.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="claim")
        self._stopped = False

    def run(
        self, work: Callable[[ClaimRef, Deadline], T], refs: Sequence[ClaimRef], call: Call
    ) -> Mapping[str, Outcome[T]]:
        """Do ``work`` for each claim once; returns UID -> outcome for every UID, before or at the deadline.

        With the return the call's deadline is over: work that has not begun by then has nobody to answer to, and the
        kubelet may have asked for something else meanwhile.
        """
        once: dict[str, ClaimRef] = {}
        for ref in refs:
            once.setdefault(ref.uid, ref)
        futures = {uid: self._submit(work, ref, call) for uid, ref in once.items()}
        _wait(tuple(futures.values()), call)
        call.deadline.end()
        return {uid: self._collect(once[uid], future) for uid, future in futures.items()}

    def stop(self) -> None:
        """Start nothing more; what runs ends by itself."""
        self._stopped = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(
        self, work: Callable[[ClaimRef, Deadline], T], ref: ClaimRef, call: Call
    ) -> Future[Outcome[T]]:
        try:
            return self._pool.submit(contextvars.copy_context().run, _attempt, work, ref, call)
        except RuntimeError:  # stopped meanwhile
            refused: Future[Outcome[T]] = Future()
            refused.cancel()
            return refused

    def _collect(self, ref: ClaimRef, future: Future[Outcome[T]]) -> Outcome[T]:
        if future.cancel():
            if self._stopped:
                return _late(ref, "not begun: the driver is stopping")
            return _late(ref, f"not begun in time: all {self._workers} workers were busy with other claims")
        if not future.done():
            return _late(ref, "not finished in time; it goes on, and the kubelet asks again")
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
        over.wait(call.deadline.remaining)


def _attempt(work: Callable[[ClaimRef, Deadline], T], ref: ClaimRef, call: Call) -> Outcome[T]:
    with bind(claim=f"{ref.namespace}/{ref.name}", uid=ref.uid):
        try:
            _refuse_useless(ref, call)
            return Outcome(work(ref, call.deadline))
        except DraError as error:
            log.warning("failed: %s", error)
            return Outcome(error=str(error) or type(error).__name__)
        except Exception as error:
            log.exception("internal error")
            return Outcome(
                error=f"internal error ({type(error).__name__}) on claim {ref},"
                f" see the driver's log of request {call.request}"
            )


def _refuse_useless(ref: ClaimRef, call: Call) -> None:
    if not (ref.uid and ref.namespace and ref.name) or "/" in ref.uid:
        raise ClaimError(f"the kubelet named a claim without proper namespace, name and UID: {ref}")
    if call.deadline.passed:
        raise ClaimError(f"claim {ref} was not begun: the kubelet no longer waits for the answer")


def _late(ref: ClaimRef, why: str) -> Outcome[T]:
    with bind(claim=f"{ref.namespace}/{ref.name}", uid=ref.uid):
        log.warning("%s", why)
    return Outcome(error=f"claim {ref}: {why}")
