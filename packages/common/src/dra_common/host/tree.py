"""A pseudo file system read and written through real files."""

# Text paths and os calls, no pathlib: a look at 72 devices makes some thousand of these calls.

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from dra_common.effects import effect
from dra_common.errors import HostError, HostNotFound, HostWriteError
from dra_common.files import read_all
from dra_common.ports import Hand

T = TypeVar("T")

READ_LIMIT = 64 * 1024
"""Bytes. A sysfs attribute is at most one page (Documentation/filesystems/sysfs.rst); more is not one."""

_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO})
_CURES = {
    errno.EACCES: "run the driver as root, with this folder mounted from the host",
    errno.EPERM: "run the driver in a privileged container",
    errno.EROFS: "mount this folder from the host without readOnly",
    errno.EIO: "look into the kernel log for what the device or its driver reports",
    errno.ENOSPC: "look into the kernel log for what the device or its driver has run out of",
    errno.EMFILE: "raise the limit of open files of the driver",
}
_DELETED = " (deleted)"


class FileTree:
    """:class:`dra_common.ports.Tree` on the files below ``root``.

    Args:
        root: absolute path where the file system is seen; it may appear later.
        limit: bytes; a longer file is refused, never cut.

    A path that names a place outside of the root is a HostError, whether it says so itself (``..``, a leading ``/``)
    or a link on the way does. An absolute link is taken as the kernel takes it: ``/sys/devices/x`` is inside of the
    root ``/sys`` and outside of any other.
    """

    __slots__ = ("_limit", "_prefix", "_real_root", "root")

    def __init__(self, root: str, *, limit: int = READ_LIMIT) -> None:
        self.root = os.path.abspath(root)
        self._prefix = self.root.rstrip("/")
        self._limit = limit
        self._real_root = ""

    def __repr__(self) -> str:
        return f"FileTree({self.root!r})"

    def read(self, path: str, by: Hand | None = None) -> str:
        """Return the text of a file without its last newline.

        Raises HostNotFound, HostError (unreadable, a folder, not UTF-8, longer than the limit).
        """
        data = self._try("read", path, lambda: self._content(path) if by is None else self._asked(path, by))
        if len(data) > self._limit:
            raise self._error("read", path, errno.EFBIG, f"longer than {self._limit} bytes")
        return self._text("read", path, data).removesuffix("\n")

    def listdir(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a folder. Raises HostNotFound, HostError.

        Names that are not UTF-8 are left out: no kernel interface has one, and nobody could print it.
        """
        names = self._try("list", path, lambda: os.listdir(self._resolve(path)))
        return tuple(sorted(name for name in names if _is_text(name)))

    def readlink(self, path: str) -> str:
        """Return the text of a symbolic link, unresolved. Raises HostNotFound, HostError (not a link: EINVAL)."""
        target = self._try("read the link", path, lambda: os.readlink(self._entry(path)))
        return self._text("read the link", path, os.fsencode(target))

    def realpath(self, path: str) -> str:
        """Resolve every link and return the path relative to the root; the root itself is an empty string.

        Raises HostNotFound, HostError (loop: ELOOP; escape: EXDEV).
        """
        real = self._try("resolve", path, lambda: self._resolve(path))
        return self._text("resolve", path, os.fsencode(real[len(self._real_root) :])).lstrip("/")

    def exists(self, path: str) -> bool:
        """Whether the path, links followed, is there, and inside of the root."""
        with suppress(HostError):
            self._try("resolve", path, lambda: self._resolve(path))
            return True
        return False

    def write(self, path: str, value: str, by: Hand | None = None) -> None:
        """Hand ``value`` as it is to an existing file in one system call; nothing is created, truncated or added.

        Raises HostNotFound; HostWriteError with the kernel's errno. An empty value is refused with EINVAL: a write of
        no bytes never reaches the kernel; to empty an attribute write a newline.
        """
        step = f"write {value!r} to"
        if not value:
            raise self._error(step, path, errno.EINVAL, "nothing to write", HostWriteError)
        try:
            data = value.encode()
        except UnicodeEncodeError:
            raise self._error(step, path, errno.EINVAL, "not text", HostWriteError) from None
        done = self._try(step, path, lambda: self._put(path, data, by), HostWriteError)
        if done != len(data):
            why = f"the kernel took {done} of {len(data)} bytes"
            raise self._error(step, path, errno.EIO, why, HostWriteError)

    def locate(self, path: str) -> str:
        """Return the absolute path, links resolved, for those who open it themselves. Raises as :meth:`realpath`."""
        return self._try("resolve", path, lambda: self._resolve(path))

    # ------------------------------------------------------------------ paths

    def _resolve(self, path: str) -> str:
        return self._require_inside(_kernel_path(self._join(path)))

    def _require_inside(self, real: str) -> str:
        root = self._real_root or self._find_root()
        if real == root or real.startswith(root.rstrip("/") + "/"):
            return real
        raise OSError(errno.EXDEV, f"leads out of {self.root} to {_shown(real)}")

    def _find_root(self) -> str:
        self._real_root = _kernel_path(self.root)
        return self._real_root

    def _entry(self, path: str) -> str:
        folder, _, name = path.rpartition("/")
        self._join(path)
        if name in ("", "."):
            raise OSError(errno.EINVAL, "not the name of a link")
        return os.path.join(self._resolve(folder), name)

    def _content(self, path: str) -> bytes:
        # Two walks of the path, where _file() and an open are three: most of a look at the machine is this.
        name = self._join(path)
        if not stat.S_ISREG(os.stat(name).st_mode):
            self._file(path)
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            self._require_inside(_opened(fd))
            return read_all(fd, self._limit + 1)
        finally:
            os.close(fd)

    def _asked(self, path: str, by: Hand) -> bytes:
        return by.read(self._file(path), self._limit + 1)

    def _put(self, path: str, data: bytes, by: Hand | None) -> int:
        file = self._file(path)
        if by is None:
            return _write(file, data)
        with effect("hardware", file):
            return by.write(file, data)

    def _file(self, path: str) -> str:
        # Looked at before it is opened: opening a fifo waits for ever, and opening a device node may act.
        real = self._resolve(path)
        mode = os.stat(real).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return real

    def _join(self, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise OSError(errno.EXDEV, f"not a path below {self.root}")
        return f"{self._prefix}/{path}"

    # ------------------------------------------------------------------ errors

    def _try(self, step: str, path: str, action: Callable[[], T], family: type[HostError] = HostError) -> T:
        try:
            return action()
        except OSError as error:
            raise self._error(step, path, error.errno or 0, error.strerror or str(error), family) from None
        except ValueError as error:  # a NUL or a lone surrogate: no file can have such a name
            raise self._error(step, path, errno.EINVAL, str(error), family) from None

    def _error(
        self, step: str, path: str, number: int, why: str, family: type[HostError] = HostError
    ) -> HostError:
        kind = HostNotFound if number in _GONE and family is HostError else family
        if family is HostWriteError and number == errno.ENOENT and not self.exists(path):
            kind = HostNotFound
        code = errno.errorcode.get(number, f"errno {number}")
        message = f"cannot {step} {self._prefix}/{_shown(path)}: {why} ({code})"
        return kind(message, cure=_CURES.get(number, ""), errno=number)

    def _text(self, step: str, path: str, data: bytes) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            why = f"not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start}"
            raise self._error(step, path, errno.EILSEQ, why) from None


def _kernel_path(path: str) -> str:
    """Let the kernel resolve every link in one call; a tenth of the cost of os.path.realpath on sysfs paths."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return _opened(fd)
    finally:
        os.close(fd)


def _opened(fd: int) -> str:
    """Return the path of an open file, as the kernel sees it."""
    try:
        real = os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        raise OSError(errno.EIO, "/proc is not mounted: links cannot be resolved") from None
    if real.endswith(_DELETED) and not os.path.lexists(real):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    return real


def _write(path: str, data: bytes) -> int:
    with effect("hardware", path):
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            return os.write(fd, data)
        finally:
            os.close(fd)


def _is_text(name: str) -> bool:
    return name.isascii() or not any("\udc80" <= char <= "\udcff" for char in name)


def _shown(path: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in path)
