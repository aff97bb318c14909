"""Whether another driver of the same name serves this node: its sockets are where ours would be, and answer."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from dra_common.errors import KubeletError
from dra_common.files import explained
from dra_common.kubelet.marks import Marks

_NOBODY = frozenset({errno.ECONNREFUSED, errno.ENOENT, errno.ENOTSOCK, errno.EPROTOTYPE})
"""connect(2): a file without a server, no file, no socket, a socket of another type."""


def find_rival(driver_name: str, plugin_dir: Path, registry_dir: Path) -> KubeletError | None:
    """Return what says that another driver serves this node, and how to end that; None if nobody or we do.

    Raises StateError if the folders cannot be read.
    """
    marks = Marks(plugin_dir)
    for path in _sockets(driver_name, plugin_dir, registry_dir):
        # Asked again at the end: an instance of ours may have stopped meanwhile, and its mark with it.
        if _answers(path) and not marks.is_ours(path) and _answers(path):
            return KubeletError(
                f"another driver serves {driver_name} on this node: its socket {path} answers",
                cure="remove its DaemonSet (helm uninstall, or kubectl delete daemonset); then this driver "
                "takes over its claims and goes on by itself",
            )
    return None


def _sockets(driver_name: str, plugin_dir: Path, registry_dir: Path) -> Iterator[Path]:
    """Where kubelet plugins of this name listen, alone on a node or two at a time; hidden names do not answer yet."""
    for name in _names(plugin_dir):
        if name.endswith(".sock") and not name.startswith("."):
            yield plugin_dir / name
    for name in _names(registry_dir):
        if name == f"{driver_name}-reg.sock" or (
            name.startswith(f"{driver_name}-") and name.endswith("-reg.sock")
        ):
            yield registry_dir / name


def _names(folder: Path) -> list[str]:
    with explained("list", folder):
        return sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - names are what is compared


def _answers(path: Path) -> bool:
    """Whether somebody listens; who may not be asked, or has too many callers, does."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(0)
        try:
            caller.connect(os.fspath(path))
        except OSError as error:
            # Without a number: a path too long for a socket, where nobody can listen.
            return error.errno is not None and error.errno not in _NOBODY
    return True
