"""Processes that come out of a fork are like those that are started from nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dra_common.testing.forks import Forker
from dra_common.testing.waiting import wait_until

PROGRAM = """
import os, signal, sys
words = {
    "exit": lambda: sys.exit(3),
    "say": lambda: sys.exit("that went wrong"),
    "raise": lambda: {}["missing"],
    "return": lambda: None,
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "look": lambda: print(sorted(os.environ), os.getpgrp() == os.getpid(), repr(sys.stdin.read())),
    "wait": signal.pause,
}
if __name__ == "__main__":
    words[sys.argv[1]]()
"""


@contextmanager
def own_forker(folder: Path) -> Iterator[Forker]:
    """Yield one that finds the program."""
    (folder / "forked_program.py").write_text(PROGRAM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        with Forker() as forker:
            yield forker


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    with own_forker(tmp_path_factory.mktemp("forks")) as forker:
        yield forker


@pytest.fixture
def on_path(forker: Forker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is started from nothing finds it, too."""
    (tmp_path / "forked_program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize("word", ["exit", "say", "raise", "return", "die"])
def test_it_ends_as_it_would_have(forker: Forker, word: str) -> None:
    command = [sys.executable, "-m", "forked_program", word]
    expected = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = forker.run("forked_program", word)
    assert (found.returncode, found.stdout) == (expected.returncode, expected.stdout)
    assert found.stderr.splitlines()[-1:] == expected.stderr.splitlines()[-1:]


def test_it_has_its_own_environment_and_group_and_nothing_to_read(forker: Forker) -> None:
    assert forker.run("forked_program", "look", environment={"A": "1"}).stdout == "['A'] True ''\n"


def test_it_finds_what_is_on_its_own_path(forker: Forker, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/further_program.py").write_text("print('found')\n")
    assert forker.run("further_program").returncode == 1
    given = {"PYTHONPATH": f"{tmp_path / 'more'}:{tmp_path}"}
    found = forker.run("further_program", environment=given)
    assert (found.stdout, found.stderr) == ("found\n", "")


def test_it_ends_with_what_it_came_out_of(tmp_path: Path) -> None:
    with own_forker(tmp_path) as forker:
        waiting = forker.start("forked_program", ["wait"], tmp_path / "log")
        assert waiting.poll() is None
    wait_until(lambda: not Path(f"/proc/{waiting.pid}").exists(), "its end")


def test_a_signal_to_one_that_has_ended_goes_nowhere(forker: Forker, tmp_path: Path) -> None:
    ended = forker.start("forked_program", ["return"], tmp_path / "log")
    assert ended.wait(60) == 0
    ended.kill()
    assert ended.poll() == 0
