"""``tools/fuzz.py`` as a person runs it, on a small workspace of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASE = ROOT / "packages/common/tests/properties/base.py"

PROPERTIES = """
from hypothesis import strategies as st
from properties.base import Property

def never_seven(number: int) -> None:
    assert number != 7, "it is seven"

GOOD = Property("good", st.integers(0, 9), lambda number: None, guided=False)
BAD = Property("bad", st.integers(0, 9), never_seven, guided=False)
RAW = Property("raw", st.binary(), lambda data: never_seven(len(data)), guided=False, raw=True)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "tools").mkdir()
    for name in ("fuzz.py", "fuzz_target.py"):
        shutil.copy(ROOT / "tools" / name, tmp_path / "tools")
    folder = tmp_path / "packages/any/tests/properties"
    folder.mkdir(parents=True)
    shutil.copy(BASE, folder)
    (folder / "numbers.py").write_text(PROPERTIES)
    return tmp_path


def fuzz(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(workspace / "tools/fuzz.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_holds_is_tried_as_often_as_was_asked(workspace: Path) -> None:
    done = fuzz(workspace, "--target", "good", "--runs", "1200", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["target"], result["engine"], result["findings"]) == ("good", "hypothesis", [])
    assert result["inputs"] >= 1200


def test_what_does_not_hold_is_found_kept_and_fails(workspace: Path) -> None:
    done = fuzz(workspace, "--target", "bad", "--target", "good", "--runs", "600")
    assert done.returncode == 1
    assert "it is seven" in done.stderr
    header, bad, good = done.stdout.splitlines()
    assert header.split() == ["target", "engine", "inputs", "seconds", "findings"]
    assert (bad.split()[0], bad.split()[-1]) == ("bad", "5")
    assert (good.split()[0], good.split()[-1]) == ("good", "0")
    assert "it is seven" in (workspace / ".fuzz/findings/bad-0.txt").read_text()


def test_an_input_is_shown_again(workspace: Path) -> None:
    (workspace / "input").write_bytes(b"1234567")
    done = fuzz(workspace, "--target", "raw", "--input", str(workspace / "input"))
    assert done.returncode == 1
    assert "AssertionError: it is seven" in done.stderr
    (workspace / "input").write_bytes(b"123")
    assert fuzz(workspace, "--target", "raw", "--input", str(workspace / "input")).returncode == 0


def test_an_unknown_target_is_refused_with_those_that_are_known(workspace: Path) -> None:
    done = fuzz(workspace, "--target", "nobody")
    assert done.returncode == 2
    assert "unknown target nobody; known are good, bad, raw" in done.stderr
