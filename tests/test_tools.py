"""The scripts behind the Makefile, with made-up commands on PATH."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "tools"
# A venv's interpreter does not count; this is the one it was made from.
REAL_PYTHON = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
SYSTEM = (
    "awk",
    "basename",
    "cat",
    "cksum",
    "cut",
    "dirname",
    "env",
    "git",
    "grep",
    "id",
    "mkdir",
    "sed",
    "sh",
    "tail",
    "tr",
)


def command(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """Make a folder for PATH with the few commands every system has, and neither python nor umockdev."""
    folder = tmp_path / "system"
    folder.mkdir()
    for name in SYSTEM:
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    return folder


def run(script: Path, path: list[Path], *args: str, **extra: str) -> subprocess.CompletedProcess[str]:
    home = str(script.parent / "no-home")
    env = {"PATH": os.pathsep.join(map(str, path)), "HOME": home, "GIT_CEILING_DIRECTORIES": "/", **extra}
    return subprocess.run([str(script), *args], env=env, capture_output=True, text=True, check=False)


def test_an_interpreter_that_does_not_start_is_passed_over(tmp_path: Path, system: Path) -> None:
    command(tmp_path / "shims", f"python{VERSION}", "echo no such version is set >&2; exit 127")
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / f"python{VERSION}").symlink_to(REAL_PYTHON)
    done = run(TOOLS / "pythons.sh", [tmp_path / "shims", tmp_path / "real", system])
    assert done.stdout.split()[0] == VERSION
    assert Path(done.stdout.split()[1]).resolve() == REAL_PYTHON


def test_an_interpreter_of_another_version_than_its_name_is_passed_over(tmp_path: Path, system: Path) -> None:
    other = "3.11" if VERSION != "3.11" else "3.12"
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / f"python{other}").symlink_to(REAL_PYTHON)
    assert run(TOOLS / "pythons.sh", [tmp_path / "wrong", system]).stdout == ""


def test_an_interpreter_of_a_virtual_environment_is_passed_over(tmp_path: Path, system: Path) -> None:
    subprocess.run([REAL_PYTHON, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    assert run(TOOLS / "pythons.sh", [tmp_path / "venv" / "bin", system]).stdout == ""


def test_interpreters_of_pyenv_are_found_and_the_newest_is_first(tmp_path: Path, system: Path) -> None:
    for version in ("3.11", "3.12", "3.13"):
        folder = tmp_path / "pyenv" / "versions" / f"{version}.9" / "bin"
        command(folder, f"python{version}", f"echo {version} {folder}/python{version}")
    done = run(TOOLS / "pythons.sh", [system], PYENV_ROOT=str(tmp_path / "pyenv"))
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["3.13", "3.12", "3.11"]
    newest = run(TOOLS / "pythons.sh", [system], "--newest", PYENV_ROOT=str(tmp_path / "pyenv"))
    assert newest.stdout == done.stdout.splitlines()[0] + "\n"


@pytest.fixture
def prepare(tmp_path: Path) -> Path:
    """Copy the scripts to a folder that is not a git checkout."""
    shutil.copytree(TOOLS, tmp_path / "away" / "tools")
    return tmp_path / "away" / "tools" / "prepare.sh"


def test_a_folder_without_git_is_refused_with_the_cure(prepare: Path, system: Path) -> None:
    done = run(prepare, [system])
    assert done.returncode == 1
    assert "versions come from git tags" in done.stderr
    assert "Cure: clone the repository, or set SETUPTOOLS_SCM_PRETEND_VERSION" in done.stderr


def test_a_machine_without_python_is_told_what_to_install(prepare: Path, system: Path) -> None:
    done = run(prepare, [system], SETUPTOOLS_SCM_PRETEND_VERSION="0.1.0")
    assert done.returncode == 1
    assert "no CPython 3.11, 3.12 or 3.13" in done.stderr
    assert "Cure on Debian 12 or Ubuntu 24.04: sudo apt-get install -y python3-venv" in done.stderr


def test_root_on_debian_gets_the_package_installed(prepare: Path, system: Path, tmp_path: Path) -> None:
    fakes = tmp_path / "fakes"
    command(fakes, "id", "echo 0")
    command(fakes, "apt-get", f'echo "$@" >>{tmp_path}/apt.log')
    done = run(prepare, [fakes, system], SETUPTOOLS_SCM_PRETEND_VERSION="0.1.0")
    assert "prepare: apt-get install python3-venv" in done.stderr
    installed = (tmp_path / "apt.log").read_text().splitlines()
    assert installed == ["update -q", "install -q -y --no-install-recommends python3-venv"]
    # This apt-get installs nothing, so what is missing is said all the same.
    assert done.returncode == 1
    assert "Cure" in done.stderr


def test_a_step_that_fails_shows_what_it_said(prepare: Path, system: Path, tmp_path: Path) -> None:
    fakes = tmp_path / "fakes"
    command(fakes, "id", "echo 0")
    command(fakes, "apt-get", "echo the mirror is away; exit 100")
    done = run(prepare, [fakes, system], SETUPTOOLS_SCM_PRETEND_VERSION="0.1.0")
    assert done.returncode == 1
    assert "this failed: apt-get update -q" in done.stderr
    assert "the mirror is away" in done.stderr


@pytest.fixture
def pytest_calls(tmp_path: Path) -> Path:
    """Make a python that notes its arguments in the file `calls` beside it and fails on demand."""
    folder = tmp_path / "python"
    command(folder, "python", f'echo "$WRAPPED $*" >>{folder}/calls; case "$*" in *"$FAIL"*) exit 1; esac')
    return folder


def calls(folder: Path) -> list[str]:
    """Which tests ran; in a fresh checkout, something compiles them before."""
    lines = (folder / "calls").read_text().splitlines()
    return [line.strip() for line in lines if "--collect-only" not in line]


def test_udev_tests_run_in_a_second_pass_under_the_wrapper(
    pytest_calls: Path, system: Path, tmp_path: Path
) -> None:
    command(tmp_path / "bin", "umockdev-wrapper", 'WRAPPED=wrapped exec "$@"')
    done = run(TOOLS / "test.sh", [tmp_path / "bin", pytest_calls, system], "-x", FAIL="nothing")
    assert done.returncode == 0, done.stderr
    assert calls(pytest_calls) == [
        "-m pytest -q -n auto --dist worksteal -x",
        "wrapped -m pytest -q -m umockdev",
    ]


@pytest.mark.parametrize("failing", ["-n auto", "-m umockdev"])
def test_a_failure_of_either_pass_is_a_failure(
    pytest_calls: Path, system: Path, tmp_path: Path, failing: str
) -> None:
    command(tmp_path / "bin", "umockdev-wrapper", 'exec "$@"')
    done = run(TOOLS / "test.sh", [tmp_path / "bin", pytest_calls, system], FAIL=failing)
    assert done.returncode == 1
    assert len(calls(pytest_calls)) == 2


def test_without_umockdev_the_udev_tests_are_left_out_loudly(pytest_calls: Path, system: Path) -> None:
    done = run(TOOLS / "test.sh", [pytest_calls, system], FAIL="nothing")
    assert done.returncode == 0
    assert "LEFT OUT: the udev tests" in done.stderr
    assert "sudo apt-get install -y umockdev" in done.stderr
    assert calls(pytest_calls) == ["-m pytest -q -n auto --dist worksteal"]


def test_in_ci_nothing_is_left_out(pytest_calls: Path, system: Path) -> None:
    done = run(TOOLS / "test.sh", [pytest_calls, system], FAIL="nothing", CI="1")
    assert done.returncode == 1
    assert "FAILED: the udev tests need umockdev" in done.stderr


@pytest.mark.parametrize("preload", ["", "libumockdev-preload.so.0"])
def test_a_udev_test_runs_only_under_the_wrapper(tmp_path: Path, preload: str) -> None:
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = umockdev\n")
    (tmp_path / "test_it.py").write_text("import pytest\n@pytest.mark.umockdev\ndef test(): pass\n")
    # No library is loaded: the name of one that is not there is a warning of the loader and nothing more.
    env = {**os.environ, "LD_PRELOAD": preload and f"/nowhere/{preload}"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if preload else 1)
    assert ("start it as: umockdev-wrapper" in done.stdout) == (not preload)
