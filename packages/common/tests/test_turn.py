"""Whose turn it is: between threads of one process, and between processes that are killed and frozen."""

from __future__ import annotations

import inspect
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from dra_common import turn as turn_module
from dra_common.deadline import Deadline
from dra_common.errors import StateError
from dra_common.telemetry import Reason, Silent
from dra_common.testing.waiting import wait_until
from dra_common.turn import ASKED, Timing, Turn, ask
from pages import DOCS

OTHER_PROCESS = """
import sys
from pathlib import Path
from dra_common.turn import Turn

class Duty:
    def begin(self):
        print("begin", flush=True)
    def end(self):
        print("end", flush=True)

turn = Turn(Path(sys.argv[1]), who="another process", duties=[Duty()])
turn.start()
sys.stdin.readline()
turn.stop()
"""

QUICK = Timing(retry=0.02, check=0.05, ask=0.05, patience=0.5)


class Duties:
    """What several instances do, in one list: at no time two of them."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.active: set[str] = set()
        self.lock = threading.Lock()

    def of(self, name: str) -> OneDuty:
        return OneDuty(self, name)


class OneDuty:
    def __init__(self, duties: Duties, name: str) -> None:
        self.duties, self.name = duties, name

    def begin(self) -> None:
        with self.duties.lock:
            assert not self.duties.active
            self.duties.active.add(self.name)
            self.duties.log.append(f"{self.name} begins")

    def end(self) -> None:
        with self.duties.lock:
            self.duties.active.discard(self.name)
            self.duties.log.append(f"{self.name} ends")


class Events(Silent):
    def __init__(self) -> None:
        self.told: list[tuple[Reason, str]] = []

    def event(self, reason: Reason, note: str) -> None:
        self.told.append((reason, note))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "publish.lock"


@pytest.fixture
def duties() -> Duties:
    return Duties()


@contextmanager
def started(*turns: Turn) -> Iterator[None]:
    with ExitStack() as stack:
        for turn in turns:
            stack.callback(turn.stop)
            turn.start()
        yield


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process whose turn it is."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begin\n"
            yield process
        finally:
            process.kill()


def lines(caplog: pytest.LogCaptureFixture, *words: str) -> list[str]:
    return [message for message in caplog.messages if all(word in message for word in words)]


# --------------------------------------------------------------------------- one, then another


def test_the_only_instance_gets_its_turn_at_once_and_says_who_it_is(path: Path, duties: Duties) -> None:
    turn = Turn(path, who="gpu-driver 1.0", duties=[duties.of("only")])
    assert duties.log == []
    with started(turn):
        wait_until(lambda: duties.log and turn.held, "the turn")
        wait_until(lambda: path.read_text() == "gpu-driver 1.0\n", "its name")
    assert duties.log == ["only begins", "only ends"]
    assert not turn.held
    assert path.exists()


def test_duties_end_in_reverse_and_a_stop_may_come_twice_or_before_the_start(path: Path) -> None:
    first, second = Duties(), Duties()
    ended: list[str] = []

    class Noted(OneDuty):
        def end(self) -> None:
            ended.append(self.name)

    turn = Turn(path, who="me", duties=[Noted(first, "first")])
    turn.add(Noted(second, "second"))
    turn.start()
    wait_until(lambda: turn.held and second.log, "the turn")
    turn.stop()
    turn.stop()
    assert ended == ["second", "first"]
    idle = Turn(path, who="me", duties=[Noted(first, "idle")])
    idle.stop()
    assert ended == ["second", "first"]


def test_of_many_instances_one_at_a_time_has_its_turn_and_each_gets_it(path: Path, duties: Duties) -> None:
    turns = {
        str(number): Turn(path, who=f"i{number}", duties=[duties.of(str(number))], timing=QUICK)
        for number in range(5)
    }
    with started(*turns.values()):
        for _ in range(5):
            wait_until(lambda: duties.active, "somebody's turn")
            (now,) = duties.active
            assert [name for name, turn in turns.items() if turn.held] == [now]
            turns.pop(now).stop()
    begun = [line for line in duties.log if line.endswith("begins")]
    assert len(begun) == len(set(begun)) == 5


def test_a_killed_process_is_followed(path: Path, duties: Duties) -> None:
    with another_process(path) as process, started(turn := Turn(path, who="me", duties=[duties.of("next")])):
        wait_until(lambda: turn._wait, "the wait")
        assert not turn.held
        assert duties.log == []
        process.kill()
        process.wait()
        wait_until(lambda: turn.held and duties.log, "the turn")
    # The time that may pass, on a machine that is not busy.
    assert 2 * Timing().retry < 1


def test_a_process_that_lets_go_has_ended_its_duties_before(path: Path, duties: Duties) -> None:
    with another_process(path) as process, started(turn := Turn(path, who="me", duties=[duties.of("next")])):
        wait_until(lambda: turn._wait, "the wait")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        wait_until(lambda: turn.held, "the turn")
        assert process.stdout.readline() == "end\n"
        assert process.wait(60) == 0


def test_who_waits_says_so_once_and_names_the_holder(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    holder = Turn(path, who="gpu-driver 1.0, pod a", timing=QUICK)
    waiting = Turn(path, who="gpu-driver 2.0, pod b", timing=QUICK)
    heard: list[str] = []
    holder.when_asked(lambda: heard.append("asked"))
    waiting.when_asked(lambda: heard.append("nobody asks who waits"))
    with started(holder):
        wait_until(lambda: holder.held and path.read_text(), "the first")
        with started(waiting):
            wait_until(lambda: lines(caplog, "waits for its turn", "gpu-driver 1.0, pod a"), "the line")
            asked = watch_questions(path, 3)
            wait_until(lambda: len(heard) >= 3, "the holder to hear of them")
            holder.stop()
            wait_until(lambda: waiting.held, "the second")
    assert asked >= 3
    assert set(heard) == {"asked"}
    assert len(lines(caplog, "waits for its turn")) == 1
    assert len(lines(caplog, "is ours")) == 1
    # A holder that lives is asked again and again, and nobody is bothered with it.
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def watch_questions(path: Path, wanted: int) -> int:
    """Wait for so many questions that were answered."""
    seen = 0
    for _ in range(wanted):
        wait_until(lambda: path.stat().st_mtime == ASKED, "a question")
        wait_until(lambda: path.stat().st_mtime != ASKED, "an answer")
        seen += 1
    return seen


# --------------------------------------------------------------------------- frozen


def test_a_frozen_holder_keeps_its_turn_and_is_told_once(
    path: Path, duties: Duties, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    events = Events()
    turn = Turn(path, who="me", duties=[duties.of("next")], timing=QUICK, telemetry=events)
    with another_process(path) as process:
        process.send_signal(signal.SIGSTOP)
        with started(turn):
            wait_until(lambda: lines(caplog, "has not answered for 0.5 s", "another process"), "the line")
            wait = turn._wait
            assert wait is not None
            seen = wait.seconds
            wait_until(lambda: wait.seconds > seen + 3 * QUICK.patience, "it to go on for a while")
            assert duties.log == []
            # It thaws: it was never out of its turn, and nobody else has begun.
            process.send_signal(signal.SIGCONT)
            wait_until(lambda: lines(caplog, "answers again"), "the answer")
            assert duties.log == []
            # Frozen again: told again, and its death is the end of its turn.
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: len(lines(caplog, "has not answered")) == 2, "the line")
            process.kill()
            wait_until(lambda: duties.log == ["next begins"], "the turn")
    assert len(lines(caplog, "has not answered")) == 2
    assert len(lines(caplog, "answers again")) == 1
    assert [reason for reason, _ in events.told] == [Reason.PUBLISHER_FROZEN] * 2
    assert "delete its pod" in events.told[0][1]


@pytest.mark.parametrize(
    "words",
    [
        "another instance publishes, this one waits for its turn",
        "the instance that publishes has not answered for 10 s and is not dead",
        "was removed or replaced by somebody else",
    ],
)
def test_what_people_read_about_it_is_what_is_logged(words: str) -> None:
    source = inspect.getsource(turn_module).replace("{self._timing.patience:g}", f"{Timing().patience:g}")
    assert words in source
    assert words in (DOCS / "user/gpu-driver.md").read_text()


# --------------------------------------------------------------------------- files that are not as they should be


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_lock_file_that_is_gone_is_no_lock(
    path: Path, duties: Duties, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """Somebody else may lock the file that is there now: until that is ours, it is not our turn."""
    turn = Turn(path, who="first", duties=[duties.of("first")], timing=QUICK)
    with started(turn), ExitStack() as stack:
        wait_until(lambda: turn.held and duties.log, "the turn")
        if how == "removed":
            path.unlink()
        else:
            _locked_elsewhere(path, stack).replace(path)
        assert not turn.held
        wait_until(lambda: "first ends" in duties.log, "its end")
        stack.close()
        wait_until(lambda: turn.held, "the next turn")
    assert duties.log == ["first begins", "first ends"] * 2
    assert len(lines(caplog, "removed or replaced", str(path))) == 1


def _locked_elsewhere(path: Path, stack: ExitStack) -> Path:
    other = path.with_name("other")
    rival = Turn(other, who="rival", timing=QUICK)
    stack.callback(rival.stop)
    rival.start()
    wait_until(lambda: rival.held and other.read_text(), "the rival")
    return other


def test_a_place_that_cannot_be_used_is_told_once_and_tried_again(
    path: Path, duties: Duties, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path.mkdir()
    turn = Turn(path, who="me", duties=[duties.of("me")], timing=QUICK)
    with started(turn):
        wait_until(
            lambda: lines(caplog, "cannot lock", str(path), "a folder stands in its place"), "the line"
        )
        began = time.monotonic()
        wait_until(lambda: time.monotonic() > began + 10 * QUICK.retry, "more tries")
        path.rmdir()
        wait_until(lambda: turn.held and duties.log, "the turn")
    assert len(lines(caplog, "cannot lock")) == 1
    assert len(lines(caplog, "can be used again")) == 1


def test_what_the_holder_says_about_itself_cannot_disturb_the_log(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with another_process(path):
        path.write_bytes(b"a\x1b[31m\nERROR \xff" + b"x" * 5000)
        with started(Turn(path, who="me", timing=QUICK)):
            wait_until(lambda: lines(caplog, "waits for its turn"), "the line")
    (line,) = lines(caplog, "waits for its turn")
    assert line.isprintable()
    assert len(line) < 300


def test_a_duty_with_a_defect_keeps_nobody_from_the_others_nor_from_the_turn(
    path: Path, duties: Duties, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def begin(self) -> None:
            raise RuntimeError("begin")

        def end(self) -> None:
            raise RuntimeError("end")

    first = Turn(path, who="1", duties=[Broken(), duties.of("first"), Broken()], timing=QUICK)
    with started(first):
        wait_until(lambda: duties.log == ["first begins"], "the duty that works")
        first.stop()
        with started(Turn(path, who="2", duties=[duties.of("second")], timing=QUICK)):
            wait_until(lambda: "second begins" in duties.log, "the next")
    assert duties.log == ["first begins", "first ends", "second begins", "second ends"]
    assert len(lines(caplog, "a defect in")) == 4


# --------------------------------------------------------------------------- a command asks


def test_a_command_asks_and_is_answered_once_the_holder_has_been_told_to_look(path: Path) -> None:
    holder = Turn(path, who="me", timing=QUICK)
    looked = threading.Event()
    holder.when_asked(looked.set)
    with started(holder):
        wait_until(lambda: holder.held and path.read_text(), "the turn")
        assert ask(path, Deadline.after(60))
        assert looked.wait(60)


def test_a_command_that_nobody_hears_is_told_so(path: Path) -> None:
    assert not ask(path, Deadline.after(60)), "no instance has ever run here"
    path.write_text("an instance that is dead\n")
    assert not ask(path, Deadline.after(0.1))
    assert path.stat().st_mtime == ASKED
    with started(turn := Turn(path, who="me", timing=QUICK)):
        wait_until(
            lambda: turn.held and path.stat().st_mtime != ASKED, "the next instance to have its own time"
        )


def test_a_command_that_may_not_ask_is_told_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"publish\.lock"):
        ask(tmp_path / "file" / "publish.lock", Deadline.after(60))
