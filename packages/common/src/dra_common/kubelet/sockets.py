"""Unix sockets at agreed places: where they are, how they appear, and whether they are still ours.

A socket is bound under a hidden name, served, and then renamed into place. So it answers from the first moment that the
kubelet can see it (the kubelet ignores names that begin with a dot), a stale file is replaced without a gap, no other
user can connect to what is there, and a server that stops never removes the file of a successor: gRPC unlinks its
listening path on stop, whoever owns what is there by then.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import secrets
import socket
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dra_common.effects import effect
from dra_common.errors import KubeletError
from dra_common.files import cure_of, unlink
from dra_common.kubelet.folders import PLUGINS_SETTING, REGISTRY_SETTING

MAX_PATH_BYTES: Final = 107
"""``sun_path`` of unix(7) has 108 bytes, the last of which is NUL."""

_MODE: Final = 0o600
_KINDS: Final = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
}


@dataclass(frozen=True, slots=True)
class SocketPaths:
    """Where one instance of a driver listens."""

    dra: Path
    registration: Path

    @classmethod
    def of(cls, driver_name: str, plugin_dir: Path, registry_dir: Path, pod_uid: str = "") -> SocketPaths:
        """Return the paths of the instance in the pod ``pod_uid``; without one, of the only instance on the node.

        The names of registration sockets are those of the Go helper ``kubeletplugin``.
        """
        plugin_dir, registry_dir = plugin_dir.absolute(), registry_dir.absolute()
        if not pod_uid:
            return cls(plugin_dir / "dra.sock", registry_dir / f"{driver_name}-reg.sock")
        return cls(
            _first_fitting(plugin_dir / name for name in _dra_names(pod_uid)),
            _first_fitting(registry_dir / name for name in _registration_names(driver_name, pod_uid)),
        )

    def check(self) -> None:
        """Check both places before anything listens. Raises KubeletError."""
        check_place(self.dra, PLUGINS_SETTING)
        check_place(self.registration, REGISTRY_SETTING)


@dataclass(frozen=True, slots=True)
class OwnSocket:
    """A socket file in place, known by its inode: the kernel keeps that number taken while the socket is open."""

    path: Path
    device: int
    inode: int

    def lost(self) -> str:
        """Return what somebody did to the file, ``""`` if it is still ours."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return f"the socket {self.path} was removed by somebody else"
        except OSError as error:
            return f"the socket {self.path} cannot be reached: {error.strerror}"
        if (found.st_dev, found.st_ino) != (self.device, self.inode):
            return f"the socket {self.path} was replaced by another process"
        return ""

    def remove(self) -> None:
        """Remove the file unless it is gone or somebody else's."""
        if not self.lost():
            with suppress(FileNotFoundError):
                unlink(self.path)


def _dra_names(pod_uid: str) -> tuple[str, ...]:
    return f"dra-{pod_uid}.sock", f"dra-{_hashed(pod_uid, 6)}.sock"


def _registration_names(driver_name: str, pod_uid: str) -> tuple[str, ...]:
    both = _hashed(f"{driver_name}\0{pod_uid}", 16)
    return (
        f"{driver_name}-{pod_uid}-reg.sock",
        f"{driver_name}-{_hashed(pod_uid, 8)}-reg.sock",
        f"dra-{both}-reg.sock",
    )


def _hashed(text: str, size: int) -> str:
    """Return the first ``size`` bytes of a hash, in letters, digits, ``-`` and ``_``."""
    start = hashlib.sha256(text.encode()).digest()[:size]
    return base64.urlsafe_b64encode(start).decode().rstrip("=")


def _first_fitting(paths: Iterable[Path]) -> Path:
    """Return the first that is short enough for a socket; the last one if none is."""
    *longer, last = paths
    return next((path for path in longer if _bytes(path) <= MAX_PATH_BYTES), last)


def _bytes(path: Path) -> int:
    return len(os.fsencode(path))


def is_dead(path: Path) -> bool:
    """Whether there is a socket of which nobody listens any more, and never will again: that takes a new one.

    One that is asked in vain because its process is frozen is not dead.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as trial:
            trial.connect(os.fspath(path))
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def hidden_path(path: Path) -> Path:
    """Return a fresh name in the same folder that the kubelet ignores, no longer than ``dra.sock``."""
    return path.with_name("." + secrets.token_hex(4)[:7])


def why_not_bound(hidden: Path) -> str:
    """Return the kernel's reason for refusing a socket here, which gRPC keeps to itself."""
    try:
        with socket.socket(socket.AF_UNIX) as trial, effect("bind", hidden):
            trial.bind(os.fspath(hidden))
        unlink(hidden)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return "unknown reason"


def put_in_place(hidden: Path, path: Path) -> OwnSocket:
    """Rename a socket that is being served to where the kubelet looks. Raises KubeletError."""
    try:
        with effect("mode", hidden):
            hidden.chmod(_MODE)
        found = hidden.lstat()
        with effect("rename", path):
            hidden.rename(path)
    except OSError as error:
        raise KubeletError(
            f"cannot put the socket {path} in place: {error.strerror}", cure=cure_of(error)
        ) from error
    return OwnSocket(path, found.st_dev, found.st_ino)


def check_place(path: Path, setting: str) -> None:
    """Check that a socket can be made at ``path``; ``setting`` moves it. Raises KubeletError."""
    _check_length(path, setting)
    _check_occupant(path)
    _check_writable(path, setting)


def _check_length(path: Path, setting: str) -> None:
    length = _bytes(path)
    if length > MAX_PATH_BYTES:
        raise KubeletError(
            f"the socket path {path} has {length} bytes, and unix sockets allow {MAX_PATH_BYTES}",
            cure=f"set {setting} to a shorter path",
        )


def _check_occupant(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no socket")
        raise KubeletError(
            f"{path}, where the driver's socket belongs, is {kind}",
            cure="remove it; the driver removes only sockets",
        )


def _check_writable(path: Path, setting: str) -> None:
    """Ask the kernel, which also knows of read-only mounts; a trial socket would be one more event for the kubelet."""
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        read_only = os.statvfs(path.parent).f_flag & os.ST_RDONLY
        raise KubeletError(
            f"cannot make the socket {path}: {os.strerror(errno.EROFS if read_only else errno.EACCES)}",
            cure=f"make its folder writable for user {os.geteuid()}, or set {setting}",
        )
