"""Runs a driver's program that is killed, or whose disk fails, at a chosen change to the world outside of it.

.. code-block:: text

    python -m dra_common.testing.mortal --kill-before 5 -- gpu-driver run ...
    python -m dra_common.testing.mortal --kill-after 5 -- gpu_driver run ...
    python -m dra_common.testing.mortal --fail 5 --errno ENOSPC --count changes.txt -- gpu-driver run ...
    python -m dra_common.testing.mortal --orders orders.txt --count changes.txt -- gpu-driver run ...

What is counted is every change that passes :mod:`dra_common.effects`: each system call that changes a file, a socket or
a kernel attribute, each request that changes an object of the API server, in all threads, from 1. Killed is killed: the
process sends itself SIGKILL. A change that does not pass the seam is told in the file of ``--count``, as ``beside``.
"""

from __future__ import annotations

import argparse
import errno
import os
import runpy
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dra_common import effects
from dra_common.effects import Step, Target

Kind: TypeAlias = Literal["count", "kill-before", "kill-after", "fail", "fail-from"]


@dataclass(frozen=True, slots=True)
class Orders:
    """What happens at change ``at``: nothing, SIGKILL before or after it, or an errno there or from there on.

    With ``only``, just changes of this step are counted: ``hardware``.
    """

    kind: Kind = "count"
    at: int = 0
    error: int = 0
    only: str = ""

    def __str__(self) -> str:
        """Return the line that :meth:`parse` reads."""
        name = (errno.errorcode[self.error],) if self.error else ()
        only = (f"only={self.only}",) if self.only else ()
        return " ".join((self.kind, str(self.at), *name, *only))

    @classmethod
    def parse(cls, line: str) -> Orders:
        """Return the orders in ``<kind> <number> [<errno's name>] [only=<step>]``. Raises ValueError, KeyError."""
        kind, at, *names = line.partition(" only=")[0].split()
        error = int(getattr(errno, names[0])) if names else 0
        return cls(_kind(kind), int(at), error, line.partition(" only=")[2].strip())

    def fails(self, number: int) -> bool:
        """Whether change ``number`` fails."""
        return (self.kind == "fail" and number == self.at) or (
            self.kind == "fail-from" and number >= self.at > 0
        )


class Mortality:
    """The observer of all changes.

    Args:
        orders: what to do at once.
        orders_file: its line replaces ``orders`` and starts the count anew, whenever the file is replaced.
        log: each change is appended as ``<number> <step> <target>``; emptied when the count starts anew.
    """

    def __init__(self, orders: Orders, orders_file: Path | None = None, log: Path | None = None) -> None:
        self._orders, self._orders_file = orders, orders_file
        self._seen: tuple[int, int] = (0, 0)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log else None
        self._count = 0
        self._of_step: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._here = threading.local()

    def observe(self) -> None:
        """Stand around every change of this process from now on."""
        effects.observe(self._change)
        if self._log is not None:
            sys.addaudithook(self._audit)

    def _change(self, step: Step, target: Target) -> AbstractContextManager[None]:
        with self._lock:
            orders = self._current()
            self._count += 1
            number = self._count
            self._of_step[step] += 1
            told = number if not orders.only else self._of_step[step] if step == orders.only else 0
            self._say(f"{number} {step} {os.fspath(target)}")
        return self._around(orders, told)

    @contextmanager
    def _around(self, orders: Orders, number: int) -> Iterator[None]:
        if (orders.kind, orders.at) == ("kill-before", number):
            die()
        if orders.fails(number):
            raise OSError(orders.error, os.strerror(orders.error))
        self._here.inside = True
        try:
            yield
        finally:
            self._here.inside = False
            if (orders.kind, orders.at) == ("kill-after", number):
                die()

    def _current(self) -> Orders:
        if self._orders_file is not None:
            found = self._orders_file.stat()
            if (found.st_ino, found.st_mtime_ns) != self._seen:
                self._seen = (found.st_ino, found.st_mtime_ns)
                self._orders, self._count = Orders.parse(self._orders_file.read_text()), 0
                self._of_step.clear()
                if self._log is not None:
                    os.ftruncate(self._log, 0)
        return self._orders

    def _say(self, line: str) -> None:
        if self._log is not None:
            os.write(self._log, f"{line}\n".encode())

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """See what the interpreter does (PEP 578), whoever asks for it: tell of changes that nobody counted."""
        if _is_change(event, arguments) and not getattr(self._here, "inside", False):
            self._say(f"beside {event} {arguments[0]}")


_EVENTS = {
    *("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink"),
    *("os.truncate", "os.utime", "os.setxattr"),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        path, _, flags = arguments
        # Bytecode of modules is the interpreter's business; what is opened by number was opened by name before.
        ours = not isinstance(path, int) and "__pycache__" not in str(path) and str(path) != os.devnull
        return ours and bool((flags or 0) & _WRITING)
    return event in _EVENTS and "__pycache__" not in str(arguments[0])


def die() -> None:
    """SIGKILL ourselves; does not return."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def run_program(name: str, arguments: Sequence[str]) -> None:
    """Run a console script or a Python package as its own command would be run."""
    sys.argv = [name, *arguments]
    scripts = entry_points(group="console_scripts", name=name)
    if scripts:
        sys.exit(next(iter(scripts)).load()())
    else:
        runpy.run_module(name, run_name="__main__", alter_sys=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one program to its chosen end."""
    parser = argparse.ArgumentParser(prog="mortal", description="Run a driver that dies at a chosen change.")
    fate = parser.add_mutually_exclusive_group()
    for kind in ("kill-before", "kill-after", "fail", "fail-from"):
        fate.add_argument(f"--{kind}", type=int, metavar="K", default=0)
    parser.add_argument("--errno", default="EIO", help="what --fail fails with, for example ENOSPC")
    parser.add_argument("--orders", type=Path, help="a file whose line is followed from when it is replaced")
    parser.add_argument("--count", type=Path, help="the file that every change is appended to")
    parser.add_argument("program", help="a console script or a Python package")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    Mortality(_orders(given), given.orders, given.count).observe()
    run_program(given.program, given.arguments)


def _orders(given: argparse.Namespace) -> Orders:
    for kind in ("kill-before", "kill-after", "fail", "fail-from"):
        if at := getattr(given, kind.replace("-", "_")):
            return Orders(_kind(kind), at, getattr(errno, given.errno) if kind.startswith("fail") else 0)
    return Orders()


def _kind(word: str) -> Kind:
    kinds: tuple[Kind, ...] = ("count", "kill-before", "kill-after", "fail", "fail-from")
    return next(kind for kind in kinds if kind == word)


if __name__ == "__main__":
    main()
