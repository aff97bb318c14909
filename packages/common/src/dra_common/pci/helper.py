"""A process of our own that writes to sysfs for us, and that can be left behind in the kernel.

A write to ``unbind``, or of 0 to ``sriov_numvfs``, returns only when the last user of the device lets go of it: first
in an interruptible wait, then in one that not even SIGKILL ends. Meanwhile the kernel holds the lock of the device,
which every other write to it needs, and some reads. So a process makes them all, one after the other those of a call.
It inherits the locked files of the hardware's parents, and an flock(2) lasts until the last copy of its descriptor is
closed: nobody else touches that hardware before the kernel has returned, whatever becomes of the driver.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from dra_common.custody import Custody, end
from dra_common.deadline import Deadline
from dra_common.errors import BUSY_CURE, HardwareBusy

_log = logging.getLogger(__name__)

_PROGRAM = str(Path(__file__).with_name("errand.py"))
_CHUNK = 1 << 16
_SLICE = 50
"""Milliseconds; a deadline may come early, and is looked at this often."""


@dataclass(frozen=True, slots=True, eq=False)
class _Left:
    """A change from which the kernel has not returned, and whose process nobody waits for any longer."""

    scope: frozenset[str]
    doing: str
    began: float
    custody: Custody | None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.began


_left_behind: set[_Left] = set()
_guard = threading.Lock()


class Helper:
    """Implements :class:`~dra_common.ports.Hand`. The process is started by the first request of a call.

    Args:
        scope: names of what is changed: parents and functions. While the kernel has not returned from a change in
            a scope, no helper of this process that shares a name with it begins another.
        custody: the locks whose descriptors the process inherits.
        deadline: when a request is not waited for any longer.
        patience: seconds that every request is given even so: what is undone is undone after the deadline.
    """

    def __init__(
        self, scope: Collection[str], custody: Custody | None, deadline: Deadline, patience: float
    ) -> None:
        self.doing = ""
        self._scope = frozenset(scope)
        self._custody = custody
        self._deadline = deadline
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._asked = False

    def read(self, path: str, longest: int) -> bytes:
        """Return a file, or its beginning. Raises OSError, HardwareBusy."""
        return self._request("read", os.fsencode(path), b"%d" % longest)

    def write(self, path: str, data: bytes) -> int:
        """Write in one system call. Raises OSError, HardwareBusy."""
        return int(self._request("write", os.fsencode(path), data, self.doing.encode()))

    def ask(self, socket: str, line: bytes) -> bytes:
        """Put a line to a simulated kernel. Raises OSError, HardwareBusy."""
        return self._request("ask", os.fsencode(socket), line, self.doing.encode())

    def close(self) -> None:
        """Leave the process to the next of the same call, or end it, which gives its locks back.

        One that is left behind goes on. One whose answer was not read ends: the next would take it for its own.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if self._custody is not None and not self._asked:
            self._custody.idle.append(process)
        else:
            end(process)

    def _request(self, word: str, *fields: bytes) -> bytes:
        process = self._running()
        line = " ".join((word, *(field.hex() for field in fields))) + "\n"
        try:
            assert process.stdin  # noqa: S101 - for the type checker
            self._asked = True
            process.stdin.write(line.encode())
        except BrokenPipeError:
            return self._ended(process)
        code, _, content = self._answer(process).partition(b" ")
        self._asked = False
        if int(code):
            raise OSError(int(code), os.strerror(int(code)))
        return bytes.fromhex(content.decode())

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._refuse_beside()
            idle = self._custody.idle if self._custody else []
            self._process = idle.pop() if idle else _start(self._custody.descriptors if self._custody else ())
        self._began = time.monotonic()
        return self._process

    def _answer(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout  # noqa: S101 - for the type checker
        patience = Deadline.after(self._patience)
        answers = select.poll()
        answers.register(process.stdout, select.POLLIN)
        line = b""
        while not line.endswith(b"\n"):
            if answers.poll(_SLICE):
                line += process.stdout.read(_CHUNK) or self._ended(process)
            elif self._deadline.passed and patience.passed:
                raise self._leave(process)
        return line

    def _refuse_beside(self) -> None:
        """Raise HardwareBusy if the kernel has not returned from an earlier change in this scope.

        Whoever got the locks of an earlier call knows that its process is ending: the locks went with it.
        """
        with _guard:
            others = [each for each in _left_behind if each.scope & self._scope]
        for left in others:
            has_ended = self._custody not in (None, left.custody)
            if not (has_ended and left.ended.wait(self._patience)):
                msg = f"{self.doing}: not begun: {left.doing}: the kernel has not returned for {left.seconds:.0f} s"
                raise HardwareBusy(msg, cure=BUSY_CURE, errno=errno.EBUSY)

    def _ended(self, process: subprocess.Popen[bytes]) -> bytes:
        self._process = None
        end(process)
        why = f"the process that does it has ended (exit code {process.returncode})"
        raise OSError(errno.EINTR, why)

    def _leave(self, process: subprocess.Popen[bytes]) -> HardwareBusy:
        self._process = None
        left = _Left(self._scope, self.doing, self._began, self._custody)
        with _guard:
            _left_behind.add(left)
        _log.error("%s: the kernel does not return: left to process %d", left.doing, process.pid)
        threading.Thread(target=_wait_for, args=(process, left), name="left-behind", daemon=True).start()
        why = f"the kernel has not returned for {left.seconds:.0f} s, probably since something still uses the device"
        return HardwareBusy(f"{left.doing}: {why}", cure=BUSY_CURE, errno=errno.EBUSY)


def _start(locks: Collection[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-I", "-S", _PROGRAM, *map(str, locks)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=tuple(locks),
        cwd="/",
        start_new_session=True,
    )


def _wait_for(process: subprocess.Popen[bytes], left: _Left) -> None:
    """Let a process that was left behind end when the kernel has returned, and leave nothing of it."""
    end(process)
    with _guard:
        _left_behind.discard(left)
    left.ended.set()
    _log.warning("%s: the kernel has returned, after %.0f s", left.doing, left.seconds)
