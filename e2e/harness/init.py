"""Process 1 of the cluster: starts what it is told to, reaps, and ends everything by ending.

It speaks over one socket, one JSON object a line in both directions, one answer to each request. When the other end
is closed, it exits; the kernel then kills every process of the namespace, and with them go the other namespaces.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import node
from harness.errors import HarnessError
from harness.waiting import wait_for

Message = dict[str, Any]
# Signals that Python handles itself must be those of a new program again.
RESTORED = (signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ)


@dataclass(slots=True)
class Process:
    """One that was asked for; ``status`` is what waitpid said of it, None while it runs."""

    pid: int
    status: int | None = None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, the negative number of the signal that ended it, or None while it runs."""
        return None if self.status is None else os.waitstatus_to_exitcode(self.status)


class Init:
    """Answers requests until the socket is closed."""

    def __init__(self, talk: socket.socket) -> None:
        self._talk = talk
        self._processes: dict[str, Process] = {}
        self._verbs: dict[str, Callable[..., Message]] = {
            "start": self._start,
            "signal": self._signal,
            "status": self._status,
            "reboot": self._reboot,
        }

    def serve(self) -> None:
        """Return when the other end is closed."""
        wakeup, wake = socket.socketpair()
        for end in (wakeup, wake):
            end.settimeout(0)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector, self._talk.makefile("r") as lines:
            selector.register(wakeup, selectors.EVENT_READ)
            selector.register(self._talk, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                self._reap(wakeup)
                # The other side waits for an answer before it asks again: never more than a line at once.
                if self._talk in ready and not self._answer(lines.readline()):
                    return

    def _reap(self, wakeup: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            wakeup.recv(4096)
        self._reap_children()

    def _reap_children(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (gone := os.waitpid(-1, os.WNOHANG))[0]:
                for process in self._processes.values():
                    if process.pid == gone[0]:
                        process.status = gone[1]

    def _answer(self, line: str) -> bool:
        if not line:
            return False
        request = json.loads(line)
        try:
            answer = self._verbs[request.pop("do")](**request)
        except (OSError, KeyError, HarnessError) as error:
            answer = {"error": str(error)}
        self._talk.sendall(json.dumps(answer).encode() + b"\n")
        return True

    def _start(self, name: str, command: list[str], environment: dict[str, str]) -> Message:
        out = os.open(node.LOGS / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out, 1),
            (os.POSIX_SPAWN_DUP2, out, 2),
        ]
        try:
            pid = os.posix_spawn(
                command[0], command, environment, file_actions=files, setsid=True, setsigdef=RESTORED
            )
        finally:
            os.close(out)
        self._processes[name] = Process(pid)
        return {"pid": pid}

    def _signal(self, name: str, number: int) -> Message:
        process = self._processes[name]
        if process.status is None:
            os.kill(process.pid, number)
        return self._status(name)

    def _status(self, name: str) -> Message:
        process = self._processes[name]
        return {"pid": process.pid, "exit_code": process.exit_code}

    def _reboot(self, keep: Sequence[str]) -> Message:
        """Kill everything but process 1 and those named, and boot anew."""
        kept = {1} | {self._processes[name].pid for name in keep}
        wait_for(lambda: self._killed_all_but(kept), "every process of the node to end", 20, interval=0.005)
        node.reboot()
        return {}

    def _killed_all_but(self, kept: set[int]) -> bool:
        others = {int(path.name) for path in Path("/proc").glob("[0-9]*")} - kept
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reap_children()
        return not others
