"""A program that is killed, or whose disk fails, at the change it was told; a process of a few lines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dra_common.testing.mortal import Orders

PROGRAM = """
import sys
from pathlib import Path
from dra_common.errors import DraError
from dra_common.files import write_durably

for name in sys.argv[1:]:
    if name.startswith("beside"):
        Path(name).write_text("")
        continue
    try:
        write_durably(Path(name), b"whole")
    except DraError as error:
        print(error)
"""

CHANGES = ["create one.tmp", "mode one.tmp", "write one.tmp", "sync one.tmp", "rename one", "sync ."]


def run(folder: Path, *flags: str, write: tuple[str, ...] = ("one",)) -> subprocess.CompletedProcess[str]:
    (folder / "writer.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "dra_common.testing.mortal", *flags, "--", "writer", *write]
    path = os.pathsep.join((str(folder), os.environ.get("PYTHONPATH", "")))
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def left(folder: Path) -> dict[str, str]:
    found = (folder / name for name in ("one", "one.tmp", "two"))
    return {path.name: path.read_text() for path in found if path.exists()}


def test_every_change_is_counted_in_order(tmp_path: Path) -> None:
    assert run(tmp_path, "--count=changes").returncode == 0
    lines = (tmp_path / "changes").read_text().splitlines()
    assert lines == [f"{number} {change}" for number, change in enumerate(CHANGES, 1)]


@pytest.mark.parametrize(
    ("flag", "found"),
    [
        ("--kill-before=1", {}),
        ("--kill-after=1", {"one.tmp": ""}),
        ("--kill-before=3", {"one.tmp": ""}),
        ("--kill-after=3", {"one.tmp": "whole"}),
        ("--kill-before=5", {"one.tmp": "whole"}),
        ("--kill-after=5", {"one": "whole"}),
    ],
)
def test_it_is_killed_before_or_after_the_change(tmp_path: Path, flag: str, found: dict[str, str]) -> None:
    assert run(tmp_path, flag).returncode == -signal.SIGKILL
    assert left(tmp_path) == found


def test_one_change_fails_and_the_next_ones_do_not(tmp_path: Path) -> None:
    done = run(tmp_path, "--fail=3", "--errno=ENOSPC", write=("one", "two"))
    assert done.stdout == "cannot write one.tmp: No space left on device (free space on its file system)\n"
    assert left(tmp_path) == {"two": "whole"}


def test_from_one_change_on_all_fail(tmp_path: Path) -> None:
    done = run(tmp_path, "--fail-from=6", "--errno=EROFS", write=("one", "two"))
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "cannot replace one",
        "cannot write two.tmp",
    ]
    assert left(tmp_path) == {"one": "whole"}


def test_orders_in_a_file_are_followed(tmp_path: Path) -> None:
    (tmp_path / "orders").write_text(str(Orders("kill-after", 1)))
    assert run(tmp_path, "--orders=orders").returncode == -signal.SIGKILL
    assert left(tmp_path) == {"one.tmp": ""}


def test_a_change_beside_the_seam_is_told(tmp_path: Path) -> None:
    run(tmp_path, "--count=changes", write=("beside-1", "one"))
    first, second, *_ = (tmp_path / "changes").read_text().splitlines()
    assert (first, second) == ("beside open beside-1", "1 create one.tmp")


def test_a_console_script_is_found_by_its_name_and_its_exit_code_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dra_common.testing.mortal", "--", "pytest", "--no-such-flag"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--no-such-flag" in done.stderr
