"""The image builder when it is killed: no process and no mount stays, and the next build goes through."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness.images import BUSYBOX
from harness.settings import CHECKOUT
from harness.waiting import wait_for

FILES = (
    "tools/build_image.py",
    "tools/enclosed.py",
    "e2e/harness/__init__.py",
    "e2e/harness/linux.py",
    "packages/common/pyproject.toml",
    "packages/gpu-driver/pyproject.toml",
)
CONTAINERFILE = """
ARG BASE
FROM ${{BASE}}
COPY busybox /bin/
RUN ["/bin/busybox", "sleep", "{seconds}"]
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a checkout whose image is made quickly, and without any other."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, tmp_path / name)
    shutil.copy(BUSYBOX, tmp_path / "busybox")
    git = ["git", "-c", "user.name=e2e", "-c", "user.email=e2e@example.com", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "nothing"], check=True)
    return tmp_path


def start(checkout: Path, seconds: int) -> "subprocess.Popen[str]":
    """Start a build one of whose steps takes this long."""
    folder = checkout / "deployments"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Containerfile").write_text(CONTAINERFILE.format(seconds=seconds))
    return subprocess.Popen(
        [sys.executable, "tools/build_image.py", "--base=scratch"],
        cwd=checkout,
        env=os.environ | {"SETUPTOOLS_SCM_PRETEND_VERSION": "1.0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def working_in(checkout: Path) -> Iterator[Path]:
    """Processes with anything of this folder in their command line, or whose root it is."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            seen = (process / "cmdline").read_bytes().decode() + str((process / "root").readlink())
            if str(checkout) in seen:
                yield process


def mounts_in(checkout: Path) -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(checkout) in line]


def sleeps(checkout: Path) -> bool:
    """Whether the build is at its long step, with mounts that only it sees."""
    for process in working_in(checkout):
        with suppress(OSError):
            if b"busybox\0sleep" in (process / "cmdline").read_bytes():
                return str(checkout / ".image/store/overlay") in (process / "mounts").read_text()
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_build_leaves_nothing_that_the_next_one_minds(
    checkout: Path, number: signal.Signals
) -> None:
    with start(checkout, 1000) as killed:
        wait_for(lambda: killed.poll() is not None or sleeps(checkout), "the build to be in the middle", 60)
        assert killed.poll() is None, killed.communicate()
        assert mounts_in(checkout) == []
        killed.send_signal(number)
        assert killed.wait(30) == -number
        wait_for(lambda: not list(working_in(checkout)), "every process of the build to end", 30)
    assert mounts_in(checkout) == []
    with start(checkout, 0) as built:
        said, _ = built.communicate()
    assert built.returncode == 0, said
    with tarfile.open(checkout / "dist/intel-gpu-driver.tar") as image:
        assert "index.json" in image.getnames()
    assert mounts_in(checkout) == []
    assert {path.name for path in (checkout / ".image").iterdir()} == {"lock", "run", "store"}
    assert list((checkout / ".image/store/overlay-containers").glob("*/")) == []
    assert [path.name for path in (checkout / "dist").iterdir()] == ["intel-gpu-driver.tar"]


LEFT = """
mount --bind "$1" "$1" && mkdir "$1/in" && mount -t tmpfs tmpfs "$1/in" && grep -c "$(dirname "$1")" /proc/self/mounts
"$2" -c 'import sys, pathlib, enclosed; enclosed.unmount_below(pathlib.Path(sys.argv[1]))' "$1"
grep -c "$(dirname "$1")" /proc/self/mounts
"""


def test_what_an_older_build_left_mounted_is_taken_off(tmp_path: Path) -> None:
    store = tmp_path / "of a user"
    store.mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", LEFT, "sh", str(store), sys.executable],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT / "tools")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("2\n0\n", "")
