"""Durable changes to the files this driver keeps; every error says which file, which step and what to do."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias

from dra_common.effects import effect
from dra_common.errors import StateError
from dra_common.model import is_uid

TEMPORARY_SUFFIX = ".tmp"
"""Ends the name of a file that is not finished; such a file may be removed whenever its owner's lock is held."""

_LONGEST = 1 << 20
"""Bytes. A claim has at most 32 devices: its files have some ten KiB."""

_CHUNK = 1 << 16
"""Bytes read at a time: enough for any file of a claim, and no more memory than one needs."""


@contextmanager
def explained(step: str, path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a StateError that names ``step`` and ``path``."""
    try:
        yield
    except OSError as error:
        msg = f"cannot {step} {path}: {error.strerror or error}"
        raise StateError(msg, cure=cure_of(error)) from error


def named_after(uid: str, suffix: str) -> str:
    """Return the name of a claim's file. Raises StateError for what is no UID, and could be a path."""
    if not is_uid(uid):
        msg = f"{uid!r} is not a claim's UID"
        raise StateError(msg, cure="find the file of this driver that names it, and move it away")
    return uid + suffix


def read_own(path: Path, *, longest: int = _LONGEST) -> bytes | None:
    """Return the content of a file of ours, None if there is none. Never blocks. Raises StateError.

    Whatever is not such a file (a link, a pipe, a folder, something very long) reads as empty, which is no content of
    ours: the caller takes it for damaged.
    """
    with explained("read", path):
        try:
            found = os.lstat(path)
            if not stat.S_ISREG(found.st_mode) or found.st_size > longest:
                return b""
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return read_all(descriptor, longest)
        finally:
            os.close(descriptor)


def unfinished(path: Path) -> Path:
    """Return where an interrupted write of ``path`` leaves what it had."""
    return path.with_name(path.name + TEMPORARY_SUFFIX)


Durability: TypeAlias = Literal["whole", "data", "none"]
"""What of a write outlives a power cut: content and name, the content under whichever name is left, or perhaps nothing.

A crash of ours, SIGKILL among them, loses nothing in any case: what the kernel was given it keeps.
"""


def write_durably(path: Path, data: bytes, *, mode: int = 0o600, durability: Durability = "whole") -> None:
    """Replace ``path`` with ``data`` so that a crash leaves the old or the new content, never a part.

    Temporary file in the same folder, fsync, rename, fsync of the folder. With ``durability="data"`` not the last: a
    power cut may bring the old content back, or no file. With ``"none"`` no fsync: a power cut may also leave a file
    that is empty. The caller holds a lock that keeps other writers of the same path away; what an interrupted one left,
    or anything else in the temporary file's place, is replaced. Raises StateError.
    """
    temporary = unfinished(path)
    try:
        with explained("write", temporary):
            _write(temporary, data, mode, sync=durability != "none")
        with explained("replace", path):
            with effect("rename", path):
                os.rename(temporary, path)
            if durability == "whole":
                sync_folder(path.parent)
    except StateError:
        with suppress(OSError):
            unlink(temporary)
        raise


def remove_durably(path: Path) -> bool:
    """Remove ``path``; returns whether it was there. Raises StateError."""
    with explained("remove", path):
        try:
            unlink(path)
        except FileNotFoundError:
            return False
        sync_folder(path.parent)
        return True


def unlink(path: Path) -> None:
    """Remove ``path``, which a power cut may bring back. Raises OSError."""
    with effect("remove", path):
        os.unlink(path)


def rewrite(path: Path, descriptor: int, data: bytes) -> None:
    """Make an open file of ours say ``data``, without care for a crash: what people may read, and nobody relies on.

    Raises OSError.
    """
    with effect("write", path):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)


def set_modified(path: Path, seconds: float | None = None) -> None:
    """Set when a file was modified, in seconds since the epoch; None = now. Raises OSError."""
    with effect("mode", path):
        os.utime(path, times=None if seconds is None else (seconds, seconds), follow_symlinks=False)


def keep_aside(path: Path, why: str) -> Path:
    """Rename a file to ``<name>.<why>-<n>``, which nobody has yet; returns the new path. Raises StateError.

    The caller holds a lock that keeps others from doing the same. Only the owner may read what is kept.
    """
    target = next(name for name in _aside(path, why) if not os.path.lexists(name))
    with explained("set aside", path):
        if stat.S_ISREG(path.lstat().st_mode):
            with effect("mode", path):
                path.chmod(0o600)
        with effect("rename", path):
            path.rename(target)
        sync_folder(path.parent)
    return target


def aside(path: Path, why: str) -> tuple[Path, ...]:
    """Return what :func:`keep_aside` has kept of a file, without looking at everybody's: its numbers have no gaps."""
    return tuple(itertools.takewhile(os.path.lexists, _aside(path, why)))


def forget_aside(path: Path, why: str) -> None:
    """Remove what :func:`keep_aside` has kept of a file, but no folder: we never make one. Raises StateError."""
    # The last first: were it cut short, a gap would hide those behind it.
    for kept in reversed(aside(path, why)):
        if not kept.is_dir():
            remove_durably(kept)


def _aside(path: Path, why: str) -> Iterator[Path]:
    return (path.with_name(f"{path.name}.{why}-{number}") for number in itertools.count(1))


def make_folder(path: Path, *, mode: int = 0o700) -> None:
    """Create ``path`` and its parents if missing. Raises StateError."""
    with explained("create the folder", path):
        if not path.is_dir():
            with effect("folder", path):
                path.mkdir(mode=mode, parents=True, exist_ok=True)


def sync_folder(path: Path) -> None:
    """Make renames and removals in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with effect("sync", path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes, mode: int, *, sync: bool) -> None:
    descriptor = _create(path, mode)
    try:
        with effect("mode", path):
            os.fchmod(descriptor, mode)
        with effect("write", path):
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
        if sync:
            with effect("sync", path):
                os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_all(descriptor: int, longest: int) -> bytes:
    """Read an open file to its end, or to its first ``longest`` bytes. Raises OSError."""
    chunks = []
    # Never all of ``longest`` at once: files of /proc/sys allocate what is asked for, and fail with ENOMEM.
    while longest > 0 and (chunk := os.read(descriptor, min(longest, _CHUNK))):
        chunks.append(chunk)
        longest -= len(chunk)
    return b"".join(chunks)


def _create(path: Path, mode: int) -> int:
    try:
        return _create_new(path, mode)
    except FileExistsError:
        unlink(path)
        return _create_new(path, mode)


def _create_new(path: Path, mode: int) -> int:
    with effect("create", path):
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)


def cure_of(error: OSError) -> str:
    """Return what to do about an error of a file system, "" where nobody can know."""
    cures = {
        errno.EROFS: "mount the file system read-write",
        errno.ENOSPC: "free space on its file system",
        errno.EDQUOT: "raise the quota of its file system",
        errno.EACCES: "run the driver as root or give it access to this folder",
        errno.EPERM: "run the driver as root or give it access to this folder",
        errno.EEXIST: "something else stands in its place: move it away",
        errno.EISDIR: "a folder stands in its place: move it away",
        errno.ELOOP: "a link stands in its place: move it away",
        errno.EINVAL: "something else stands in its place: move it away",
        errno.ENOTDIR: "a file stands where a folder must be: move it away",
        errno.EIO: "check the disk: the kernel reports an input/output error",
        errno.ENOENT: "its folder was removed: restart the driver",
    }
    return cures.get(error.errno or 0, "")
