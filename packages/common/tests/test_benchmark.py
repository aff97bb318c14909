"""The benchmark measures what it says; its figures are for people, and no test waits for a time."""

from __future__ import annotations

import json
import pstats
import subprocess
import sys
from pathlib import Path

import pytest
from dra_common.testing.benchmark.figures import Figure, latency, percentile, runs


def test_p50_and_p99_are_milliseconds() -> None:
    figure = latency("prepare", "1 caller", [number / 1000 for number in range(1, 101)], target=60.0)
    assert (figure.value, figure.spread, figure.unit) == (50.5, 100.0, "ms")
    assert not figure.missed


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 3), (0.99, 5), (1.0, 5)])
def test_percentiles(share: float, value: int) -> None:
    assert percentile([5, 3, 1, 4, 2], share) == value


def test_of_several_runs_the_median_and_the_worst_are_told() -> None:
    figure = runs("start", "", [0.5, 0.9, 0.6], "s", target=0.5)
    assert (figure.value, figure.spread, figure.missed) == (0.6, 0.9, True)
    assert figure.cells()[-1] == "MISSED"


def test_a_figure_without_a_target_is_never_missed() -> None:
    assert not Figure("import", "grpc", 15.0, "MiB").missed


def test_the_report_is_a_table_and_json_and_a_profile(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dra_common.testing.benchmark", "--only=publish", f"--out={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=110)
    figures = json.loads((tmp_path / "bench.json").read_text())["figures"]
    unchanged = [figure["value"] for figure in figures if figure["unit"] == "requests"]
    assert unchanged == [0, 0, 0]
    written = [figure["value"] for figure in figures if figure["unit"] == "writes each"]
    assert written == [1, 1, 1], "one changed device is one changed slice, however many there are"
    assert len(done.stdout.splitlines()) == len(figures) + 1
    assert "prepare" in {name for _, _, name in pstats.Stats(str(tmp_path / "prepare.prof")).stats}  # type: ignore[attr-defined]
    assert "engine.py" in (tmp_path / "prepare.txt").read_text()


def test_an_unknown_part_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dra_common.testing.benchmark", "--only=nonsense", f"--out={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "publish" in done.stderr
    assert not list(tmp_path.iterdir())
