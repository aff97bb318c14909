"""Starts driver processes in a tenth of the time: by fork(2) of one that has imported everything and done nothing.

A test that kills a driver a hundred times spends its time on imports. What comes out of the fork is a process like any
other: it has its own threads, locks, descriptors and death.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from dra_common.testing import mortal

_MODULES = ("dra_common.app", "dra_common.host", "dra_common.hotplug", "dra_common.cli", "pyudev")
_PAUSE = 0.005


class Process(Protocol):
    """What tests use of :class:`subprocess.Popen`."""

    @property
    def pid(self) -> int:
        """The process's number."""

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code. Raises subprocess.TimeoutExpired."""

    def send_signal(self, sig: int) -> None:
        """Send a signal."""

    def terminate(self) -> None:
        """SIGTERM."""

    def kill(self) -> None:
        """SIGKILL."""


class Forker:
    """The process that is forked; leaving the block ends it and all that came out of it. Not for several threads."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dra_common.testing.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def start(self, arguments: Sequence[str], log: Path) -> Forked:
        """Start :mod:`dra_common.testing.mortal` with these arguments; its output is appended to ``log``."""
        return Forked(self, int(self.ask(start=list(arguments), log=str(log))))

    def ask(self, **request: Any) -> Any:  # noqa: ANN401 - JSON
        """Put one request. Raises RuntimeError if the process has gone."""
        assert self._process.stdin  # noqa: S101 - for the type checker
        assert self._process.stdout  # noqa: S101 - for the type checker
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            msg = "the process that driver processes are forked from has ended"
            raise RuntimeError(msg)
        return json.loads(answer)


class Forked:
    """A :class:`Process` that came out of a fork."""

    def __init__(self, forker: Forker, pid: int) -> None:
        self._forker, self.pid = forker, pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, None while it runs."""
        if self._code is None:
            self._code = self._forker.ask(poll=self.pid)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code. Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + (timeout or float("inf"))
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a forked driver", timeout or 0)
            time.sleep(_PAUSE)
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal; nobody takes the number of a process that was not waited for."""
        if self._code is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _serve() -> None:
    for module in _MODULES:
        importlib.import_module(module)
    children: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer: int | None = _fork(request["start"], request["log"])
            children.add(answer or 0)
        else:
            answer = _exit_code(request["poll"])
            children -= {request["poll"]} if answer is not None else set()
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _exit_code(child: int) -> int | None:
    found, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _fork(arguments: Sequence[str], log: str) -> int:
    child = os.fork()
    if child:
        return child
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 1
    try:
        mortal.main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
