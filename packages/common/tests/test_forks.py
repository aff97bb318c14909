"""Processes that come out of a fork are like those that are started from nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
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


@pytest.fixture
def forker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forker]:
    (tmp_path / "forked_program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Forker() as forker:
        yield forker


@pytest.mark.parametrize("word", ["exit", "say", "raise", "return", "die"])
def test_it_ends_as_it_would_have(forker: Forker, word: str) -> None:
    command = [sys.executable, "-m", "forked_program", word]
    expected = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = forker.run("forked_program", word)
    assert (found.returncode, found.stdout) == (expected.returncode, expected.stdout)
    assert found.stderr.splitlines()[-1:] == expected.stderr.splitlines()[-1:]


def test_it_has_its_own_environment_and_group_and_nothing_to_read(forker: Forker) -> None:
    assert forker.run("forked_program", "look", environment={"A": "1"}).stdout == "['A'] True ''\n"


def test_it_ends_with_what_it_came_out_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "forked_program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Forker() as forker:
        waiting = forker.start("forked_program", ["wait"], tmp_path / "log")
        assert waiting.poll() is None
    wait_until(lambda: not Path(f"/proc/{waiting.pid}").exists(), "its end")


def test_a_signal_to_one_that_has_ended_goes_nowhere(forker: Forker, tmp_path: Path) -> None:
    ended = forker.start("forked_program", ["return"], tmp_path / "log")
    assert ended.wait(60) == 0
    ended.kill()
    assert ended.poll() == 0
