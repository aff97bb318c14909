"""A process that dies, or whose disk fails, at any system call that changes a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ParamSpec
from unittest.mock import patch

P = ParamSpec("P")

CHANGING = ("rename", "unlink", "symlink", "mkdir", "rmdir", "fsync", "write", "open")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Killed(BaseException):
    """Not an Exception: nothing in the product may catch it, as nothing catches SIGKILL."""


class Life:
    """Counts changing system calls, and at number ``at`` raises ``error`` in place of making the call.

    With :class:`Killed`, as for a process that was killed, no later call is made either: clean-up code does not run.
    ``lasting``: the same for any other error, like a disk that stays full. ``when`` chooses which calls count.
    ``log`` names those, for messages.
    """

    def __init__(
        self,
        at: int = 0,
        error: Callable[[], BaseException] = Killed,
        *,
        lasting: bool = False,
        when: Callable[[str], bool] = bool,
    ) -> None:
        self.at, self.error, self.lasting, self.when = at, error, lasting or error is Killed, when
        self.log: list[str] = []

    @property
    def count(self) -> int:
        """Changing calls so far, that which failed included."""
        return len(self.log)

    @contextmanager
    def lived(self) -> Iterator[Life]:
        """Live within the block, in all threads."""
        with ExitStack() as stack:
            for name in CHANGING:
                stack.enter_context(patch.object(os, name, self._wrap(name, getattr(os, name))))
            yield self

    def dies(self, scenario: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> bool:
        """Run ``scenario``; whether it was killed before its end."""
        try:
            with self.lived():
                scenario(*arguments, **named)
        except Killed:
            return True
        return False

    def strike(self) -> None:
        """Do what happens in place of the call."""
        raise self.error()

    def _wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*arguments: Any, **named: Any) -> Any:
            if name == "open" and not arguments[1] & _WRITING:
                return call(*arguments, **named)
            said = f"{name} {' '.join(str(each) for each in arguments[:2])}"
            if not self.when(said):
                return call(*arguments, **named)
            self.log.append(said)
            if self.count == self.at or (self.lasting and 0 < self.at < self.count):
                self.strike()
            return call(*arguments, **named)

        return mortal


def lives(most: int = 100) -> Iterator[Life]:
    """Yield lives that are killed at changing system call 1, 2, ..., up to one that comes to its end by itself.

    Each is to be lived before the next is asked for; none with ``most`` calls comes.
    """
    for at in range(1, most):
        life = Life(at)
        yield life
        if life.count < at:
            return
    msg = "the scenario never ends"
    raise AssertionError(msg)


class Meeting(Life):
    """At changing system call number ``at`` somebody else comes in between; then the call is made."""

    def __init__(self, at: int, visit: Callable[[], object]) -> None:
        super().__init__(at, lambda: AssertionError("nobody dies"))
        self.visit = visit

    def strike(self) -> None:
        self.visit()


def calls(scenario: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> int:
    """How many changing system calls the scenario makes."""
    with Life().lived() as life:
        scenario(*arguments, **named)
    return life.count
