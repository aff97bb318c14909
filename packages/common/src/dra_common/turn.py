"""Whose turn it is: of several instances of a driver on a node one publishes and collects garbage.

Its turn lasts as long as it holds the lock of one file, that is until it lets go or dies; the kernel tells nobody, so
those who wait try again several times a second.

The file's modification time is a question and an answer: who waits sets it to :data:`ASKED`, and the holder sets it to
anything else, and looks at the machine. A holder that never does is frozen, which only people can do something about.
A command that changed something on disk asks in the same way, and need not know whether anybody is there to hear it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final, Protocol

from dra_common.deadline import Deadline
from dra_common.errors import DraError, StateError
from dra_common.files import explained, read_own, rewrite, set_modified
from dra_common.flock import still_named, try_lock
from dra_common.telemetry import SILENT, Reason, Telemetry

_log = logging.getLogger(__name__)

ASKED: Final = 1.0
"""Seconds since the epoch: a time at which no file of ours was written."""

_LONGEST_NAME: Final = 200
_LOOK_FOR_ANSWER: Final = 0.05
"""Seconds."""


class Duty(Protocol):
    """What one instance of a driver does at a time."""

    def begin(self) -> None:
        """Do it from now on; returns at once. Called in the turn's thread, once for each turn."""

    def end(self) -> None:
        """Begin nothing more, and return when nothing is under way, within a few seconds; perhaps without a begin."""


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds.

    Args:
        retry: between two tries to get the lock.
        check: how often the holder makes sure that it still is the holder, and answers questions.
        ask: from an answer of the holder to the next question.
        patience: from a question to the line in the log that nobody answers.
        join: how long :meth:`Turn.stop` waits for our thread.
    """

    retry: float = 0.2
    check: float = 1.0
    ask: float = 5.0
    patience: float = 10.0
    join: float = 5.0


class Turn:
    """Begins its duties when the lock is ours, and ends them before it is let go.

    Args:
        path: of the lock file, in a folder that all instances share.
        who: what people are told about this instance, one line.
        duties: see also :meth:`add`.
    """

    def __init__(
        self,
        path: Path,
        *,
        who: str,
        duties: Sequence[Duty] = (),
        timing: Timing | None = None,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._path, self._who, self._telemetry = path, who, telemetry
        self._duties, self._timing = list(duties), timing or Timing()
        self._changing = Lock()  # guards _descriptor
        self._descriptor: int | None = None
        self._stopping = Event()
        self._trouble = ""
        self._wait: _Wait | None = None
        self._when_asked: Callable[[], None] | None = None
        self._thread = Thread(target=self._run, name="turn", daemon=True)

    def add(self, duty: Duty) -> None:
        """Have one more duty; before :meth:`start`."""
        self._duties.append(duty)

    def when_asked(self, call: Callable[[], None]) -> None:
        """Call this, in our thread, whenever somebody asks, and so every few seconds while another instance waits.

        What others do is not heard in this process: it is time to look. Before :meth:`start`.
        """
        self._when_asked = call

    @property
    def held(self) -> bool:
        """Whether it is our turn now, also if somebody removed the file a moment ago. Never blocks, never raises."""
        with self._changing, suppress(StateError):
            return self._descriptor is not None and still_named(self._path, self._descriptor)
        return False

    def start(self) -> None:
        """Take the turn as soon as it can be had, in a thread. Called once."""
        self._thread.start()

    def stop(self) -> None:
        """End the duties, then let go; nothing is begun any more. Again, or before the start: nothing."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(self._timing.join)
        if self._descriptor is not None:
            self._let_go()

    # ------------------------------------------------------------------ our thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._told():
                if self._descriptor is None:
                    self._try()
                else:
                    self._check()
            self._stopping.wait(self._timing.retry if self._descriptor is None else self._timing.check)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Log what goes wrong inside the block when it begins, changes, and ends; raise nothing."""
        trouble = ""
        try:
            yield
        except DraError as error:
            trouble = str(error)
            if trouble != self._trouble:
                _log.error("it cannot be found out which instance publishes, trying again: %s", trouble)
        except Exception as error:  # noqa: BLE001 - a dead thread would never get the turn
            trouble = repr(error)
            if trouble != self._trouble:
                _log.exception("a defect, trying again")
        if self._trouble and not trouble:
            _log.info("%s can be used again", self._path)
        self._trouble = trouble

    def _try(self) -> None:
        descriptor = try_lock(self._path)
        if descriptor is None:
            self._wait = self._wait or _Wait(self._path, self._timing, self._telemetry)
            self._wait.look()
        else:
            self._take(descriptor)

    def _take(self, descriptor: int) -> None:
        with self._changing:
            self._descriptor = descriptor
        if self._wait:
            _log.info("the turn to publish is ours, after %.1f s", self._wait.seconds)
        self._wait = None
        with suppress(OSError):  # nobody relies on it
            rewrite(self._path, descriptor, f"{self._who}\n".encode())
        for duty in self._duties:
            _do(duty.begin)

    def _check(self) -> None:
        if not self.held:
            _log.warning(
                "%s was removed or replaced by somebody else: not publishing until it is ours", self._path
            )
            self._let_go()
        elif self._descriptor is not None:
            self._answer(self._descriptor)

    def _answer(self, descriptor: int) -> None:
        with explained("touch", self._path):
            if os.fstat(descriptor).st_mtime != ASKED:
                return
            set_modified(self._path)
        if self._when_asked:
            _do(self._when_asked)

    def _let_go(self) -> None:
        for duty in reversed(self._duties):
            _do(duty.end)
        with self._changing:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _do(step: Callable[[], None]) -> None:
    try:
        step()
    except Exception:  # noqa: BLE001 - a defect of one duty: others wait for theirs, and for their turn
        _log.exception("a defect in %s", step.__qualname__)


def ask(path: Path, deadline: Deadline) -> bool:
    """Have the instance that publishes look at the machine now; returns whether it answered in time.

    It does not if none is there. Raises StateError.
    """
    with explained("touch", path):
        try:
            set_modified(path, ASKED)
            while path.lstat().st_mtime == ASKED:
                if deadline.passed:
                    return False
                time.sleep(min(_LOOK_FOR_ANSWER, deadline.remaining))
        except FileNotFoundError:
            return False
    return True


class _Wait:
    """From the first try that failed to the turn: tells people that we wait, and once if the holder is frozen."""

    def __init__(self, path: Path, timing: Timing, telemetry: Telemetry) -> None:
        self._path, self._timing, self._telemetry = path, timing, telemetry
        self._began = time.monotonic()
        self._ask_at = self._began
        self._asked_at: float | None = None
        self._frozen = False
        _log.info("another instance publishes, this one waits for its turn: %s", self._holder())

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self._began

    def look(self) -> None:
        """Ask when it is time, and see whether there was an answer. Raises StateError."""
        now = time.monotonic()
        with explained("touch", self._path), suppress(FileNotFoundError):
            if self._asked_at is None:
                if now >= self._ask_at:
                    set_modified(self._path, ASKED)
                    self._asked_at = now
            elif self._path.lstat().st_mtime != ASKED:
                self._answered(now)
            elif now - self._asked_at > self._timing.patience:
                self._say_frozen()

    def _answered(self, now: float) -> None:
        self._asked_at, self._ask_at = None, now + self._timing.ask
        if self._frozen:
            self._frozen = False
            _log.info("the instance that publishes answers again: %s", self._holder())

    def _say_frozen(self) -> None:
        if self._frozen:
            return
        self._frozen = True
        line = (
            f"the instance that publishes has not answered for {self._timing.patience:g} s and is not dead,"
            f" so the ResourceSlices stay as they are: {self._holder()}"
            f" (let it go on, or end its process: delete its pod)"
        )
        _log.warning("%s", line)
        self._telemetry.event(Reason.PUBLISHER_FROZEN, line)

    def _holder(self) -> str:
        """Return what the holder says about itself, fit for a log."""
        try:
            text = (read_own(self._path) or b"").decode(errors="replace")
        except StateError:
            text = ""
        return "".join(filter(str.isprintable, text))[:_LONGEST_NAME] or "it does not say who it is"
