"""The story of everything that goes wrong at once."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)
"""Seven starts of the driver, one after another; 15 s on an idle machine."""


def play(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    command = [sys.executable, "-m", "dra_common.testing.demo", "--story=chaos", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=580)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_every_statement_is_true_and_the_log_is_shown() -> None:
    code, events = play()
    assert (code, events[-1]["event"], events[-1]["ok"]) == (0, "end", True), events[-1]
    assert events[-1]["step"] == 6
    said = [event["text"] for event in events if event["event"] == "say"]
    assert sum("record set aside" in line for line in said) == 2
    assert sum("are not published" in line and "503" in line for line in said) == 1


def test_a_machine_that_is_too_small_is_told_in_a_line() -> None:
    code, events = play("--profile=two-gpus")
    assert (code, events[-1]["ok"]) == (1, False)
    assert "two-gpus has 16 devices" in events[-1]["why"]
