"""What was fetched, below one folder: the name of each part is made of all that went into it.

A part is made under a temporary name and renamed when it is whole; a lock keeps a second fetch waiting; what a killed
one left is removed by the next.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from guest.errors import GuestError
from guest.programs import SPACE

Say = Callable[[str], None]
# A part that nobody used for so long is removed by the next fetch.
FORGET = 30 * 24 * 3600.0


def cache_folder() -> Path:
    """Give the folder of all parts: in ``$XDG_CACHE_HOME``, or in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dra-drivers-kernel"


def part_name(kind: str, contents: Iterable[str]) -> str:
    """Name a part after what it is made from."""
    digest = hashlib.sha256("\0".join(sorted(contents)).encode()).hexdigest()
    return f"{kind}-{digest[:16]}"


class Cache:
    """Finished parts in a folder that may not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self, say: Say) -> Iterator[None]:
        """Be the only one who fetches. Raises ``GuestError``: the disk is full, or cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "lock").open("w") as file:
                _wait(file.fileno(), say)
                self._sweep()
                yield
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise GuestError(f"the disk of {self.folder} is full", cure=SPACE) from error
            raise GuestError(f"cannot keep QEMU and a kernel in {self.folder}: {error.strerror}") from error

    def part(self, name: str, make: Callable[[Path], None]) -> Path:
        """Give a part; ``make`` fills an empty folder if it is not there. Needs the lock."""
        folder = self.folder / name
        if not folder.exists():
            new = self.folder / f"{name}.new"
            new.mkdir()
            try:
                make(new)
                new.rename(folder)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        return folder

    def forget(self, used: Iterable[Path]) -> None:
        """Note that these parts are in use, and remove those that have not been for a month. Needs the lock."""
        kept = set(used)
        for folder in kept:
            os.utime(folder)
        for other in set(self.folder.glob("*-*")) - kept:
            if time.time() - other.stat().st_mtime > FORGET:
                shutil.rmtree(other, ignore_errors=True)

    def _sweep(self) -> None:
        for left in self.folder.glob("*.new"):
            shutil.rmtree(left)


def _wait(descriptor: int, say: Say) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another fetch is running, waiting for it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
