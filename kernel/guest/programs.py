"""Programs that the fetch runs: none outlives it, and what one said last is the reason it failed."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from guest.errors import GuestError

FULL = ("no space left on device", "don't have enough free space")
SPACE = "free about 1 GB there, or set XDG_CACHE_HOME to a folder with room"


def supervised(command: Sequence[str]) -> list[str]:
    """Let the kernel kill the command when the thread that starts it ends. Raises ``GuestError`` without setpriv."""
    found = shutil.which("setpriv")
    if found is None:
        raise GuestError("setpriv is missing", cure="install util-linux")
    return [found, "--pdeathsig", "KILL", *command]


def output(command: Sequence[str], folder: Path, libraries: Sequence[Path] = ()) -> str:
    """Run a program in a folder and give what it printed. Raises ``GuestError``: missing, failed, full disk."""
    program = shutil.which(command[0])
    if program is None:
        raise GuestError(f"{command[0]} is missing", cure="make test-kernel runs on Debian 12")
    environment = os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    if libraries:
        environment["LD_LIBRARY_PATH"] = ":".join(map(str, libraries))
    done = subprocess.run(
        supervised([program, *command[1:]]),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise _failure(Path(command[0]).name, folder, done.stderr.splitlines())
    return done.stdout


def _failure(name: str, folder: Path, said: list[str]) -> GuestError:
    if any(full in line.lower() for line in said for full in FULL):
        return GuestError(f"the disk of {folder} is full: {name} stopped", cure=SPACE)
    lines = [line.strip() for line in said if line.strip()]
    # An error says more than what follows from it.
    errors = [line for line in lines if line.startswith("E: ")] or lines
    return GuestError(f"{name} failed: {'; '.join(errors[:2]) or 'it said nothing'}")
