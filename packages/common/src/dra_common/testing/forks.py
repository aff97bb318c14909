"""Starts driver processes in a tenth of the time: by fork(2) of one that has imported everything and done nothing.

A test that kills a driver a hundred times spends its time on imports. What comes out of the fork is a process like any
other: it has its own threads, locks, descriptors and death.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Protocol, Self

from dra_common.testing import mortal

_MODULES = (
    *("dra_common.app", "dra_common.host", "dra_common.hotplug", "dra_common.cli", "pyudev"),
    # What a start imports when it is needed: all that a kubeconfig brings along takes as long as the rest of a start.
    *("kubernetes.config.kube_config", "dra_common.simulate"),
)
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
    """The process that is forked; leaving the block ends it and all that came out of it.

    Args:
        modules: what else is imported before the first fork, for example a driver's package.
    """

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        self._asking = threading.Lock()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - modules of ours
            [sys.executable, "-m", "dra_common.testing.forks", *_MODULES, *self._modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def start(
        self,
        program: str,
        arguments: Sequence[str],
        log: Path,
        *,
        errors: Path | None = None,
        mortal: Sequence[str] = (),
        environment: Mapping[str, str] = os.environ,
    ) -> Forked:
        """Start a Python package; its output is appended to ``log``, what it says on stderr to ``errors`` or there too.

        ``mortal`` are arguments of :mod:`dra_common.testing.mortal`.
        """
        order = _Order(program, [*arguments], str(log), str(errors or log), [*mortal], {**environment})
        return Forked(self, int(self.ask(start=asdict(order))))

    def run(
        self, program: str, *arguments: str, environment: Mapping[str, str] = os.environ, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python package to its end. Raises subprocess.TimeoutExpired."""
        with TemporaryDirectory() as folder:
            out, errors = Path(folder, "out"), Path(folder, "errors")
            code = self.start(program, arguments, out, errors=errors, environment=environment).wait(timeout)
            return subprocess.CompletedProcess(
                [program, *arguments], code, out.read_text(), errors.read_text()
            )

    def ask(self, **request: Any) -> Any:  # noqa: ANN401 - JSON
        """Put one request. Raises RuntimeError if the process has gone."""
        assert self._process.stdin  # noqa: S101 - for the type checker
        assert self._process.stdout  # noqa: S101 - for the type checker
        with self._asking:
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
        """Send a signal, unless it has ended; nobody takes the number of a process that was not waited for."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class _Order:
    """What comes out of a fork: what it runs, with what, and where its output goes."""

    program: str
    arguments: list[str]
    log: str
    errors: str
    mortal: list[str]
    environment: dict[str, str]

    def redirect(self) -> None:
        """Take nothing in, and append what is said."""
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in ((1, self.log), (2, self.errors)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)

    def run(self) -> int:
        """Run the program as the interpreter would; returns its exit code."""
        os.environ.clear()
        os.environ.update(self.environment)
        given = self.environment.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [folder for folder in given if folder and folder not in sys.path]
        try:
            if self.mortal:
                mortal.main([*self.mortal, "--", self.program, *self.arguments])
            else:
                mortal.run_program(self.program, self.arguments)
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001 - nobody else is left to say it
            traceback.print_exc()
            return 1
        return 0


def _serve(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)
    # What is there by now stays for ever: no collection in a child looks at it, which would copy its pages.
    gc.collect()
    gc.freeze()
    children: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer: int | None = _fork(_Order(**request["start"]))
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


def _fork(order: _Order) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        order.redirect()
        code = order.run()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1:])
