"""The cache of QEMU and a kernel: made once, whole or not at all, by one process at a time."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from guest import parts
from guest.cache import FORGET, Cache, cache_folder
from guest.errors import GuestError
from guest.parts import FRESH, Parts, find

GUEST = Path(parts.__file__).parents[1]
DEADLINE = 30.0


def fetch(say: Callable[[str], None] = lambda _: None) -> Parts:
    return find(Cache(cache_folder()), say)


def calls(mirror: Path) -> list[str]:
    return (mirror / "calls").read_text().split() if (mirror / "calls").exists() else []


def fetching(mirror: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "guest", "fetch"]
    environment = os.environ | {"PYTHONPATH": str(GUEST)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def until(path: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while not path.exists():
        assert time.monotonic() < deadline, f"waited for {path}"
        time.sleep(0.01)


def leftovers() -> list[str]:
    return [path.name for path in cache_folder().glob("*.new")]


def test_both_parts_are_made_once(mirror: Path) -> None:
    found = fetch()
    assert found.release == "6.12.95-amd64"
    assert (found.kernel / "vmlinuz").read_text() == "kernel\n"
    assert (found.kernel / "lib" / "modules" / found.release / "modules.dep").exists()
    assert (found.tools / "run" / "modprobe").exists()
    before = calls(mirror)
    assert fetch() == found
    assert calls(mirror) == before
    assert leftovers() == []


def test_sources_are_the_machines_own_of_debian_12_and_its_backports(mirror: Path) -> None:
    fetch()
    lines = (cache_folder() / "apt" / "sources.list").read_text().splitlines()
    assert [line.split()[2:] for line in lines] == [
        ["http://mirror.test/debian/", "bookworm", "main"],
        ["http://mirror.test/debian/", "bookworm-backports", "main"],
    ]


def test_after_a_week_the_mirror_is_asked_and_what_is_new_is_another_part(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fetch()
    past = time.time() - FRESH - 60
    os.utime(cache_folder() / "resolved.json", (past, past))
    monkeypatch.setenv("VERSION", "11")
    new = fetch()
    assert {new.tools, new.kernel}.isdisjoint({old.tools, old.kernel})
    # What another checkout may be using stays for a month.
    assert old.whole


def test_without_a_network_what_is_there_is_used(mirror: Path) -> None:
    old = fetch()
    past = time.time() - FRESH - 60
    os.utime(cache_folder() / "resolved.json", (past, past))
    (mirror / "fail-update").write_text("E: Failed to fetch http://mirror.test/x  Could not resolve\n")
    said: list[str] = []
    assert fetch(said.append) == old
    assert said[-1] == (
        "no newer QEMU and kernel: apt-get failed: E: Failed to fetch http://mirror.test/x  Could not resolve"
    )


def test_what_nobody_used_for_a_month_is_removed(mirror: Path) -> None:
    (cache_folder() / "tools-old").mkdir(parents=True)
    past = time.time() - FORGET - 60
    os.utime(cache_folder() / "tools-old", (past, past))
    fetch()
    assert not (cache_folder() / "tools-old").exists()


@pytest.mark.parametrize(
    ("action", "said", "told"),
    [
        (
            "update",
            "W: x\nE: Failed to fetch http://mirror.test/x  Could not resolve\nE: Some files are old\n",
            "apt-get failed: E: Failed to fetch http://mirror.test/x  Could not resolve; E: Some files are old",
        ),
        ("install", "E: Unable to locate package qemu-system-x86\n", "Unable to locate package"),
        ("download", "E: write (28: No space left on device)\n", "is full: apt-get stopped (free about 1 GB"),
    ],
)
def test_a_mirror_that_fails_is_one_line(mirror: Path, action: str, said: str, told: str) -> None:
    (mirror / f"fail-{action}").write_text(said)
    with fetching(mirror) as process:
        _, error = process.communicate(timeout=DEADLINE)
    lines = [line for line in error.splitlines() if "asking" not in line and "fetching" not in line]
    assert process.returncode == 125
    assert len(lines) == 1
    assert lines[0].startswith("guest: ")
    assert told in lines[0]
    assert leftovers() == []
    # And nothing of it stays in the way.
    (mirror / f"fail-{action}").unlink()
    assert fetch().whole


def test_another_distribution_is_told_what_is_missing(mirror: Path) -> None:
    (mirror / "targets").write_text("jammy http://else.test/ main\n")
    with pytest.raises(GuestError, match=r"no source of Debian bookworm here .* on Debian 12"):
        fetch()


def test_without_apt_it_says_so(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "setpriv").symlink_to(shutil.which("setpriv") or "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(GuestError, match=r"apt-get is missing .*Debian 12"):
        fetch()


def test_a_full_disk_is_said_before_anything_is_downloaded(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "NEEDED", 10**18)
    with pytest.raises(GuestError, match=r"is full: \d+ MB are free \(free about 1 GB"):
        fetch()
    assert calls(mirror) == []


def test_a_disk_that_is_full_in_the_middle_is_one_line(mirror: Path) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = Cache(cache_folder())
    with pytest.raises(GuestError, match="is full"), cache.locked(lambda _: None):
        cache.part("tools-x", full)
    assert leftovers() == []


def test_a_killed_fetch_leaves_nothing_that_counts(mirror: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    (mirror / "hook-download").write_text(f"echo $$ >{there}.new; mv {there}.new {there}; sleep 600\n")
    with fetching(mirror) as process:
        until(there)
        child = int(there.read_text())
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE
    while Path(f"/proc/{child}/status").exists():
        assert time.monotonic() < deadline, "its apt-get goes on"
        time.sleep(0.01)
    assert leftovers()
    (mirror / "hook-download").unlink()
    assert fetch().whole
    assert leftovers() == []


def test_a_second_fetch_waits_for_the_first(mirror: Path, tmp_path: Path) -> None:
    there, go = tmp_path / "there", tmp_path / "go"
    (mirror / "hook-update").write_text(f": >{there}; until [ -e {go} ]; do sleep 0.01; done\n")
    with fetching(mirror) as first:
        until(there)
        with fetching(mirror) as second:
            assert second.stderr
            assert "waiting for it" in second.stderr.readline()
            go.touch()
            assert first.wait(DEADLINE) == second.wait(DEADLINE) == 0
        first.communicate()
    assert calls(mirror).count("update") == 1
