"""The benchmark runs on this driver, and finds what must not grow with what is held or what did not happen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def figures(tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [
        sys.executable,
        "-m",
        "dra_common.testing.benchmark",
        f"--out={tmp_path}",
        "--json",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=110)
    found: list[dict[str, Any]] = json.loads(done.stdout)["figures"]
    return found


def test_memory_is_split_into_what_makes_it_up(tmp_path: Path) -> None:
    found = figures(tmp_path, "--only=memory")
    resident = {figure["case"]: figure["value"] for figure in found if figure["group"] == "resident"}
    whole = resident.pop("72 devices, 100 claims held")
    assert whole == pytest.approx(sum(resident.values()), abs=0.1)
    modules = [figure["value"] for figure in found if figure["unit"] == "modules"]
    assert len(modules) == 1
    assert modules[0] > 500


def test_uevents_without_news_write_nothing_and_many_are_one_look(tmp_path: Path) -> None:
    found = figures(tmp_path, "--only=uevents")
    assert [figure["value"] for figure in found if figure["unit"] == "writes"] == [0]
    (looks,) = [figure["value"] for figure in found if figure["unit"] == "looks"]
    # A thousand events; on a slow machine they come for many seconds, with a look in each.
    assert 1 <= looks <= 200
