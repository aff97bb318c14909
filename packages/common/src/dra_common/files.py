"""Durable changes to the files this driver keeps; every error says which file, which step and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dra_common.errors import StateError

TEMPORARY_SUFFIX = ".tmp"
"""Ends the name of a file that is not finished; such a file may be removed whenever its owner's lock is held."""


@contextmanager
def explained(step: str, path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a StateError that names ``step`` and ``path``."""
    try:
        yield
    except OSError as error:
        msg = f"cannot {step} {path}: {error.strerror or error}"
        raise StateError(msg, cure=_cure(error)) from error


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` with ``data`` so that a crash leaves the old or the new content, never a part.

    Temporary file in the same folder, fsync, rename, fsync of the folder. The caller holds a lock that keeps other
    writers of the same path away. Raises StateError.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    with explained("write", path):
        try:
            _write_synced(temporary, data, mode)
            temporary.rename(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


def remove_durably(path: Path) -> bool:
    """Remove ``path``; returns whether it was there. Raises StateError."""
    with explained("remove", path):
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        sync_folder(path.parent)
        return True


def make_folder(path: Path, *, mode: int = 0o700) -> None:
    """Create ``path`` and its parents if missing. Raises StateError."""
    with explained("create the folder", path):
        path.mkdir(mode=mode, parents=True, exist_ok=True)


def sync_folder(path: Path) -> None:
    """Make renames and removals in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _cure(error: OSError) -> str:
    cures = {
        errno.EROFS: "mount the file system read-write",
        errno.ENOSPC: "free space on its file system",
        errno.EDQUOT: "raise the quota of its file system",
        errno.EACCES: "run the driver as root or give it access to this folder",
        errno.EPERM: "run the driver as root or give it access to this folder",
        errno.EEXIST: "something else stands in its place: move it away",
        errno.ENOTDIR: "a file stands where a folder must be: move it away",
        errno.EIO: "check the disk: the kernel reports an input/output error",
        errno.ENOENT: "its folder was removed: restart the driver",
    }
    return cures.get(error.errno or 0, "")
