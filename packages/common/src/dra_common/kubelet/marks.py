"""Which sockets are served by an instance of this driver: for each a file beside them that its server keeps locked.

Other drivers of the same name use the same folders, and during an upgrade two instances of ours do. Asking a socket
tells nothing, since both answer alike. So a server locks ``<folder>/<device>-<inode>.lock`` before its socket appears;
device and inode are those of the socket, which nobody else can have meanwhile. The kernel lets go of the lock with the
process.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dra_common.errors import StateError
from dra_common.files import explained, make_folder, unlink
from dra_common.flock import try_lock

_SUFFIX = ".lock"
_WAIT, _PAUSE = 1.0, 0.001
"""Seconds. Who looks at a mark locks it for an instant."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark that is locked by this process."""

    path: Path
    descriptor: int

    def remove(self) -> None:
        """Let go, once the socket is gone; a file that cannot be removed is the next start's."""
        with suppress(OSError):
            unlink(self.path)
        os.close(self.descriptor)


class Marks:
    """All marks of one driver's folder."""

    def __init__(self, plugin_dir: Path) -> None:
        self._folder = plugin_dir / "sockets"

    def make(self, socket: Path) -> Mark:
        """Mark a socket, which is there but not yet where the kubelet looks. Raises StateError."""
        make_folder(self._folder)
        with explained("look at", socket):
            path = self._path(socket)
        until = time.monotonic() + _WAIT
        while (descriptor := try_lock(path)) is None:
            if time.monotonic() > until:
                raise StateError(
                    f"cannot lock {path}: another process keeps it locked", cure="restart the driver"
                )
            time.sleep(_PAUSE)
        return Mark(path, descriptor)

    def is_ours(self, socket: Path) -> bool:
        """Whether an instance of this driver serves the socket. Raises StateError; False if the socket is gone."""
        try:
            with explained("look at", socket):
                descriptor = os.open(self._path(socket), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except StateError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def sweep(self) -> None:
        """Remove marks of servers that ended without doing so. Raises StateError."""
        make_folder(self._folder)
        with explained("list", self._folder):
            found = [path for path in self._folder.iterdir() if path.suffix == _SUFFIX]
        for path in found:
            if (descriptor := try_lock(path)) is not None:
                Mark(path, descriptor).remove()

    def _path(self, socket: Path) -> Path:
        found = socket.lstat()
        return self._folder / f"{found.st_dev}-{found.st_ino}{_SUFFIX}"
