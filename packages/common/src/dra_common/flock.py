"""One flock(2) on a descriptor of its own: it excludes two threads of one process as it excludes two processes.

A lock counts only if its path still names the locked file, so that lock files may be removed by whoever holds them.
The kernel lets go of it with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dra_common.effects import effect
from dra_common.files import explained

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def try_lock(path: Path) -> int | None:
    """Return a locked descriptor of the file that ``path`` names now, or None if somebody else has it.

    The file is made if there is none, mode 0600. Closing the descriptor unlocks. Raises StateError.
    """
    with explained("lock", path):
        while True:
            with ExitStack() as stack:
                with effect("create", path):
                    descriptor = os.open(path, _FLAGS, 0o600)
                stack.callback(os.close, descriptor)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return None
                if still_named(path, descriptor):
                    stack.pop_all()
                    return descriptor


@contextmanager
def share_lock(path: Path) -> Iterator[Callable[[], bool]]:
    """Try to keep others from locking the file inside the block, for a look.

    Yields a question, to be asked after the look: has nobody locked the file until now? Many may look at the same
    time. A file that is not there is locked by nobody; it is not made, so that somebody else may come between.
    Raises StateError, and so does the question.
    """
    with ExitStack() as stack:
        descriptor = _open_for_look(path)
        if descriptor is None:
            yield lambda: not os.path.lexists(path)
            return
        stack.callback(os.close, descriptor)
        shared = _shared(path, descriptor)
        yield lambda: shared and still_named(path, descriptor)


def _open_for_look(path: Path) -> int | None:
    with explained("lock", path):
        try:
            return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None


def _shared(path: Path, descriptor: int) -> bool:
    with explained("lock", path):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def still_named(path: Path, descriptor: int) -> bool:
    """Whether ``path`` names the open file: if not, somebody else may have locked what it names. Raises StateError."""
    with explained("look at", path):
        try:
            now, locked = path.lstat(), os.fstat(descriptor)
        except FileNotFoundError:
            return False
    return (now.st_dev, now.st_ino) == (locked.st_dev, locked.st_ino)
