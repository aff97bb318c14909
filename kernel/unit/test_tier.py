"""The whole tier, with small programs in the place of guests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from guest import tier as module
from guest.tier import Part, Tier, inside, room

DEADLINE = 30.0
GUEST = Path(module.__file__).parents[1]
RUN = """
import signal, sys
from pathlib import Path
from guest.tier import Part, Tier
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
root = Path(sys.argv[1])
shell = f"echo $$ >{root}/{{0}}; exec sleep 600"
parts = [Part(name, ("sh", "-c", shell.format(name))) for name in ("one", "two")]
Tier(root / "out", print, beside=2).run(parts)
"""


def shell(name: str, does: str) -> Part:
    return Part(name, ("sh", "-c", does))


def test_each_folder_is_a_guest_and_so_are_the_modules_beside_them(tmp_path: Path) -> None:
    for name in ("bus/test_a.py", "bus/conftest.py", "engine/test_b.py", "test_c.py", "card.py", "boot/init"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = inside(tmp_path)
    assert found == {
        "bus": [tmp_path / "bus"],
        "engine": [tmp_path / "engine"],
        tmp_path.name: [tmp_path / "test_c.py"],
    }


def test_outputs_are_told_one_after_the_other_and_the_worst_code_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    # Each waits for the other: they run at the same time.
    one = f"echo 1; touch {tmp_path}/a; until [ -e {tmp_path}/b ]; do sleep 0.01; done; echo 2; exit 3"
    two = f"echo 3 >&2; touch {tmp_path}/b; until [ -e {tmp_path}/a ]; do sleep 0.01; done; exit 1"
    assert Tier(tmp_path / "out", told.append, beside=2).run([shell("one", one), shell("two", two)]) == 3
    assert sorted(capsys.readouterr().out.split()) == ["1", "2", "3"]
    assert sorted(line.rpartition(" after")[0] for line in told) == ["one: exit code 3", "two: exit code 1"]
    assert (tmp_path / "out" / "one.txt").read_text() == "1\n2\n"


def test_one_that_is_killed_is_no_success(tmp_path: Path) -> None:
    assert Tier(tmp_path, lambda _: None).run([shell("one", "kill -9 $$"), shell("two", "true")]) == 9


def test_no_more_at_once_than_said(tmp_path: Path) -> None:
    alone = f"mkdir {tmp_path}/taken && sleep 0.05 && rmdir {tmp_path}/taken"
    parts = [shell(str(number), alone) for number in range(4)]
    assert Tier(tmp_path / "out", lambda _: None, beside=1).run(parts) == 0


def test_as_many_at_once_as_there_is_memory_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMINFO", tmp_path / "meminfo")

    def with_memory(megabytes: int) -> int:
        (tmp_path / "meminfo").write_text(f"MemFree:  1 kB\nMemAvailable:  {megabytes << 10} kB\n")
        return room()

    cores = len(os.sched_getaffinity(0))
    assert [with_memory(megabytes) for megabytes in (100, 2560, 1 << 30)] == [1, 1, 2 * cores]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_ends_the_tier_ends_its_parts(tmp_path: Path, number: signal.Signals) -> None:
    environment = os.environ | {"PYTHONPATH": str(GUEST)}
    with subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], env=environment) as process:
        files = [tmp_path / name for name in ("one", "two")]
        _until(lambda: all(file.exists() and file.read_text() for file in files))
        process.send_signal(number)
    pids = [int(file.read_text()) for file in files]
    _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
