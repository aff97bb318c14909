"""This machine, through real files and device nodes."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from dra_common.errors import HostError, HostNotFound
from dra_common.host.tree import FileTree
from dra_common.ports import DeviceQuery

_BOOT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_LONG = 4 * 1024 * 1024
"""Bytes. procfs and debugfs files may be long: a node with many mounts has a mountinfo of several 100 KiB."""


@dataclass(frozen=True, slots=True)
class Roots:
    """Where the kernel's file systems are seen by this process, and where the host has its device nodes.

    Args:
        dev_root: the host's own path of ``devfs``: what CDI files say. In a container it differs from ``devfs``.
    """

    sysfs: str = "/sys"
    devfs: str = "/dev"
    procfs: str = "/proc"
    debugfs: str = "/sys/kernel/debug"
    dev_root: str = "/dev"


class RealHost:
    """:class:`dra_common.ports.Host` on real files."""

    def __init__(self, roots: Roots) -> None:
        self.roots = roots
        self.sysfs = FileTree(roots.sysfs)
        self.devfs = FileTree(roots.devfs)
        self.procfs = FileTree(roots.procfs, limit=_LONG)
        self.debugfs = FileTree(roots.debugfs, limit=_LONG)
        self.dev_root = roots.dev_root

    def query(self, node: str, query: DeviceQuery) -> bytes:
        """Open the device node and ask. Raises HostNotFound, HostError with errno (ENOTTY: not a device node)."""
        path = self.devfs.locate(node)
        try:
            return _ask(path, query)
        except OSError as error:
            raise _refused(query.name, path, error) from None

    def boot_id(self) -> str:
        """Return the kernel's random id of this boot (proc(5)). Raises HostError if there is none."""
        text = self.procfs.read("sys/kernel/random/boot_id").strip()
        if not _BOOT_ID.fullmatch(text):
            where = f"{self.procfs.root}/sys/kernel/random/boot_id"
            cure = "point the procfs setting at the host's /proc"
            raise HostError(f"cannot read the boot id: {where} holds {text[:40]!r}, not a UUID", cure=cure)
        return text


def _ask(path: str, query: DeviceQuery) -> bytes:
    # Looked at before it is opened: opening a fifo waits for ever.
    if not stat.S_ISCHR(Path(path).stat().st_mode):
        raise OSError(errno.ENOTTY, "not a character device")
    fd = _open(path)
    try:
        return query.run(fd)
    finally:
        os.close(fd)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except PermissionError:
        # Questions need no write permission, and whoever may only read (a debug shell, a test) gets an answer too.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)


def _refused(name: str, path: str, error: OSError) -> HostError:
    number = error.errno or 0
    kind = HostNotFound if number in {errno.ENOENT, errno.ENODEV, errno.ENXIO} else HostError
    cure = (
        "give the driver read and write access to the node" if number in {errno.EACCES, errno.EPERM} else ""
    )
    code = errno.errorcode.get(number, f"errno {number}")
    return kind(f"cannot ask {name} of {path}: {error.strerror or error} ({code})", cure=cure, errno=number)
