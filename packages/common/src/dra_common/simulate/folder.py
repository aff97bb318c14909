"""The folder a simulated machine lives in: marked as ours, and used by one simulator at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dra_common.errors import SettingsError

MARKER = ".simulated-machine"
SOCKET = "control.sock"
DEBUGFS = "kernel/debug"
"""Where debugfs is below sysfs, as on every machine that mounts it."""


@contextmanager
def occupy(root: Path, profile: str) -> Iterator[None]:
    """Make ``root`` ours and keep others out until the block ends; what a dead simulator left is taken over.

    Raises SettingsError: not a folder, holds files that are not a simulated machine, a simulator is running there.
    """
    try:
        fd = _open_marker(root)
    except OSError as error:
        raise SettingsError(f"cannot simulate in {root}: {error.strerror or error}") from None
    try:
        _lock(fd, root)
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps({"profile": profile, "pid": os.getpid()}).encode() + b"\n", 0)
        yield
    finally:
        # The lock goes with the descriptor, also when this process is killed.
        os.close(fd)


def require_vacant(root: Path) -> None:
    """Check that no simulator is in ``root``, which may be missing. Raises SettingsError as :func:`occupy` does."""
    if root.is_dir():
        with occupy(root, ""):
            pass


def remove(root: Path) -> None:
    """Remove a simulated machine with its folder; fine if it is gone. Raises SettingsError as :func:`occupy` does.

    The marker goes last, so that what a killed removal leaves is still known as a simulated machine.
    """
    if not root.is_dir():
        return
    with occupy(root, ""):
        for path in root.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != MARKER:
                path.unlink()
        (root / MARKER).unlink()
        root.rmdir()


def _open_marker(root: Path) -> int:
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()) and not (root / MARKER).is_file():
        raise SettingsError(
            f"{root} holds files that are not a simulated machine", cure="give an empty or a new folder"
        )
    return os.open(root / MARKER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _lock(fd: int, root: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EAGAIN, errno.EACCES}:
            raise SettingsError(f"cannot lock {root / MARKER}: {error.strerror}") from None
        who = _owner(fd)
        raise SettingsError(
            f"a simulator is running in {root}{who}", cure="stop it first or give another folder"
        ) from None


def _owner(fd: int) -> str:
    try:
        return f" (process {json.loads(os.pread(fd, 4096, 0))['pid']})"
    except (ValueError, KeyError, TypeError):
        return ""
