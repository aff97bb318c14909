"""Locks that hold between threads, processes and two instances of a driver during an upgrade.

Lock files of claims are removed with the claim, by whoever holds them; see :mod:`dra_common.flock`.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from dra_common.custody import Custody, holding
from dra_common.deadline import Deadline
from dra_common.errors import BUSY_CURE, LockTimeout
from dra_common.files import explained, make_folder, named_after, read_own, unlink
from dra_common.flock import share_lock, try_lock
from dra_common.model import is_uid

_SUFFIX = ".lock"
_LONGEST_CALL = 60.0
"""Seconds; the kubelet gives up after 45."""
_LONG = 5.0
"""Seconds. What the kernel does not return from until then is stuck, probably until somebody lets go of the device."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


class FileLocks:
    """Implements :class:`~dra_common.ports.Locks`: ``claims/<uid>.lock`` and ``hardware/<parent>.lock``."""

    def __init__(self, claims: Path, hardware: Path) -> None:
        self._claims = claims
        self._hardware = hardware
        make_folder(claims)
        make_folder(hardware)

    @contextmanager
    def claim(self, uid: str, deadline: Deadline) -> Iterator[None]:
        """Hold the claim's lock. Raises LockTimeout, StateError."""
        with _held(self._claim_path(uid), f"claim {uid}", deadline):
            yield

    @contextmanager
    def try_claim(self, uid: str) -> Iterator[bool]:
        """Try once; yields whether the lock was taken. Raises StateError."""
        descriptor = try_lock(self._claim_path(uid))
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    @contextmanager
    def try_shared(self, uid: str) -> Iterator[Callable[[], bool]]:
        """Keep others away for a look, if possible; yields a question: has nobody worked on the claim until now?

        Makes no file. Raises StateError, and so does the question.
        """
        with share_lock(self._claim_path(uid)) as undisturbed:
            yield undisturbed

    @contextmanager
    def parents(self, names: Iterable[str], deadline: Deadline) -> Iterator[None]:
        """Hold the locks of hardware parents, taken in sorted order. Raises LockTimeout, StateError."""
        wanted = tuple(sorted(set(names)))
        with ExitStack() as stack:
            held = [stack.enter_context(self._parent(name, deadline)) for name in wanted]
            with holding(Custody(wanted, tuple(held), deadline)):
                yield

    def stuck(self) -> Mapping[str, str]:
        """Hardware parent -> the change from which the kernel has not returned for long. Raises StateError."""
        with explained("list", self._hardware):
            paths = [path for path in self._hardware.iterdir() if path.suffix == _SUFFIX]
        return {path.stem: doing for path in sorted(paths) if (doing := _stuck(path))}

    def _parent(self, name: str, deadline: Deadline) -> AbstractContextManager[int]:
        return _held(self._hardware / f"{name}{_SUFFIX}", f"hardware {name}", deadline)

    def forget_claim(self, uid: str) -> None:
        """Remove the lock file of a claim that has left nothing; called while its lock is held."""
        path = self._claim_path(uid)
        with explained("remove", path), suppress(FileNotFoundError):
            unlink(path)

    def claim_uids(self) -> frozenset[str]:
        """UIDs that have a lock file, held or not."""
        with explained("list", self._claims):
            names = (path.stem for path in self._claims.iterdir() if path.suffix == _SUFFIX)
            return frozenset(name for name in names if is_uid(name))

    def abandoned_uids(self) -> frozenset[str]:
        """UIDs with a lock file that no call can be about to use: old, or not a file at all. Raises StateError."""
        return frozenset(uid for uid in self.claim_uids() if _is_abandoned(self._claim_path(uid)))

    def _claim_path(self, uid: str) -> Path:
        return self._claims / named_after(uid, _SUFFIX)


def _is_abandoned(path: Path) -> bool:
    """Whoever made the file just now may not have locked it yet, or waits for somebody who only looks."""
    with explained("look at", path):
        try:
            found = path.lstat()
        except FileNotFoundError:
            return False
    return not stat.S_ISREG(found.st_mode) or time.time() - found.st_mtime > _LONGEST_CALL


def _stuck(path: Path) -> str:
    """Return the note in a locked file that is not new; a note that was left in one that nobody has means nothing."""
    with explained("look at", path):
        try:
            found = path.lstat()
        except FileNotFoundError:
            return ""
    if not found.st_size or time.time() - found.st_mtime < _LONG:
        return ""
    doing = _doing(path)
    with share_lock(path) as undisturbed:
        return "" if undisturbed() else doing


@contextmanager
def _held(path: Path, what: str, deadline: Deadline) -> Iterator[int]:
    """Yield the locked descriptor."""
    pause = _FIRST_PAUSE
    while (descriptor := try_lock(path)) is None:
        if deadline.passed:
            raise _timeout(path, what)
        time.sleep(min(pause, deadline.remaining))
        pause = min(pause * 2, _LONGEST_PAUSE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _timeout(path: Path, what: str) -> LockTimeout:
    """Whoever may be stuck in the kernel with a lock of hardware writes into the file what it does."""
    doing = _doing(path)
    if doing:
        return LockTimeout(f"{what} is still locked: {doing}: the kernel has not returned", cure=BUSY_CURE)
    msg = f"{what} is still locked by another call at the deadline of this one"
    return LockTimeout(
        msg,
        cure="it is tried again; if it stays so, look for a blocked write in the kernel log or for a frozen "
        "instance of this driver",
    )


def _doing(path: Path) -> str:
    return (read_own(path) or b"").decode(errors="replace").strip()
