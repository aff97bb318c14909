"""What the call in this thread has locked of the hardware, and how long somebody waits for it.

Whoever changes hardware far below the engine needs both: a helper process that may have to be abandoned inherits the
locks, and a blocked change is given up at the call's deadline. Like the fields of a log line they follow the thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from subprocess import Popen

from dra_common.deadline import Deadline


@dataclass(frozen=True, slots=True)
class Custody:
    """The locks of hardware parents that a call holds.

    Args:
        names: of the parents, sorted.
        descriptors: the locked files; a process that inherits one keeps the lock until it ends, whatever we do.
        deadline: of the call.
        idle: helper processes that have inherited the locks and wait for more to do; they end with the call.
    """

    names: tuple[str, ...]
    descriptors: tuple[int, ...]
    deadline: Deadline
    idle: list[Popen[bytes]] = field(default_factory=list, compare=False)


_current: ContextVar[Custody | None] = ContextVar("custody", default=None)


def current() -> Custody | None:
    """Return what is locked around the caller, None outside of every lock."""
    return _current.get()


@contextmanager
def holding(custody: Custody) -> Iterator[None]:
    """Let :func:`current` return ``custody`` inside the block; afterwards no process of it has the locks."""
    token = _current.set(custody)
    try:
        yield
    finally:
        _current.reset(token)
        for process in custody.idle:
            end(process)


def end(process: Popen[bytes]) -> None:
    """Close the input of a helper process, with which it ends, and wait for that."""
    with process:
        pass
