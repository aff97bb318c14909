"""What `make bench-cluster` makes of its figures; that it measures is seen by running it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bench.__main__ import PARTS, _alone
from bench.neighbours import busy_percent, warning
from bench.rows import HEADER, as_dict, cells, figure, latencies
from bench.yardsticks import YARDSTICKS
from harness.errors import HarnessError
from harness.settings import E2E
from harness.waiting import wait_for

SECONDS = [number / 10_000 for number in range(1, 101)]


def test_latencies_are_p50_and_p99_in_milliseconds_with_their_own_targets() -> None:
    p50, p99 = latencies("prepare", "200 claims", SECONDS)
    assert p50.value == pytest.approx(5.05)
    assert (p50.group, p50.spread, p50.target) == ("prepare, p50", 10.0, 5)
    assert (p99.group, p99.value, p99.spread, p99.target) == ("prepare, p99", 10.0, 10.0, 13)
    assert (p50.missed, p99.missed) == (True, False)


def test_of_what_has_no_target_for_p99_only_p50_is_told() -> None:
    assert [row.group for row in latencies("empty call", "", SECONDS)] == ["empty call, p50"]


def test_a_row_says_what_the_go_driver_had_and_whether_the_target_is_met() -> None:
    rows = [figure("start to slice", "7 runs", values) for values in ([600, 650, 699], [650, 701, 1400])]
    assert [cells(row) for row in rows] == [
        ("start to slice", "7 runs", "650", "699", "ms", "700", "1286-1289", "met"),
        ("start to slice", "7 runs", "701", "1.4e+03", "ms", "700", "1286-1289", "MISSED"),
    ]
    assert [as_dict(row)["missed"] for row in rows] == [False, True]
    assert as_dict(rows[0])["go"] == "1286-1289"


def test_a_floor_is_neither_met_nor_missed() -> None:
    row = figure("of it anonymous, idle", "fresh", [31.25])
    assert cells(row) == ("of it anonymous, idle", "fresh", "31.25", "", "MiB", "", "", "")
    assert len(cells(row)) == len(HEADER)


def test_what_has_no_yardstick_is_no_figure() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        figure("nonsense", "", [1.0])


def test_every_yardstick_is_for_something_that_is_measured() -> None:
    code = "\n".join(path.read_text() for path in (E2E / "bench").glob("*.py") if path.stem != "yardsticks")
    measured = set(re.findall(r'figure\(f?"([^"]+)"', code))
    measured |= {
        f"{name}, {p}" for name in re.findall(r'latencies\(\s*"([^"]+)"', code) for p in ("p50", "p99")
    }
    measured |= {name.replace("{state}", state) for name in measured for state in ("idle", "used")}
    assert YARDSTICKS.keys() <= measured


def test_two_at_once_would_measure_each_other(tmp_path: Path) -> None:
    with _alone(tmp_path / "bench"):
        with (
            pytest.raises(HarnessError, match=r"another run measures into .*/bench \(wait for it"),
            _alone(tmp_path / "bench"),
        ):
            pass
        with _alone(tmp_path / "other"):
            pass
    with _alone(tmp_path / "bench"):
        pass


def test_a_folder_that_cannot_be_made_is_said_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = pytest.raises(
        HarnessError, match=r"cannot write into .*: Not a directory \(name another folder"
    )
    with refused, _alone(tmp_path / "file" / "bench"):
        pass


@pytest.mark.parametrize(
    ("argument", "known"),
    [("--only=nonsense", list(PARTS)), ("--k8s=1.2", ["1.34", "1.37"]), ("--what", ["--json"])],
)
def test_bad_input_is_refused_with_what_there_is(tmp_path: Path, argument: str, known: list[str]) -> None:
    done = _bench(argument, f"--out={tmp_path}")
    assert done.returncode == 2
    assert all(each in done.stderr for each in known)
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def _bench(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(E2E), os.environ.get("PYTHONPATH", "")])}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_who_works_beside_the_benchmark_is_seen() -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)
    ]
    try:
        wait_for(lambda: busy_percent(0.5) > 50, "the machine to be busy")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


@pytest.mark.parametrize(
    ("busy", "said"), [(0.0, ""), (9.9, ""), (72.4, "others use 72% of this machine's processors")]
)
def test_a_busy_machine_is_told(busy: float, said: str) -> None:
    assert warning(busy).partition(":")[0] == said


def test_rows_are_json() -> None:
    assert (
        json.loads(json.dumps([as_dict(row) for row in latencies("prepare", "", SECONDS)]))[0]["unit"] == "ms"
    )
