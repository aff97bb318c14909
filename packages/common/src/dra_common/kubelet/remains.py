"""What a driver has in the folders that it shares with the kubelet: who serves there, and what nobody serves any more.

For a node that the driver leaves for good. While it stays, the start of the next instance removes what a dead one left.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dra_common.errors import KubeletError
from dra_common.files import explained
from dra_common.flock import share_lock
from dra_common.kubelet.marks import Marks
from dra_common.kubelet.rivals import find_rival
from dra_common.kubelet.sockets import SocketPaths, is_dead
from dra_common.model import is_uid

_HIDDEN: Final = re.compile(r"\.[0-9a-f]{7}")


class Remains:
    """One driver's part of the kubelet's folders.

    Args:
        driver_name: of the DRA driver.
        plugin_dir: its own folder, which may be missing.
        registry_dir: the kubelet's folder of registration sockets.
    """

    def __init__(self, driver_name: str, plugin_dir: Path, registry_dir: Path) -> None:
        self._driver, self._plugin_dir, self._registry = driver_name, plugin_dir, registry_dir

    def why_in_use(self) -> KubeletError | None:
        """Return what says that a driver of this name serves the node, this one or another; None if none does.

        Raises StateError if the folders cannot be read.
        """
        instances = self._plugin_dir / "instances"
        for uid in self._instances():
            with share_lock(instances / uid) as undisturbed:
                if not undisturbed() and (instances / uid).exists():
                    return self._running(f"pod {uid}")
        for path in self._sockets():
            if _is_socket(path) and not is_dead(path) and Marks(self._plugin_dir).is_ours(path):
                return self._running(f"its socket {path} answers")
        return find_rival(self._driver, self._plugin_dir, self._registry)

    def sockets(self) -> tuple[Path, ...]:
        """Sockets outside of the driver's own folder of which nobody listens any more. Raises StateError."""
        return tuple(path for path in self._sockets() if path.parent == self._registry and is_dead(path))

    def _running(self, how: str) -> KubeletError:
        return KubeletError(
            f"{self._driver} runs on this node: {how}",
            cure="end it first: helm uninstall, or delete its DaemonSet",
        )

    def _instances(self) -> list[str]:
        return [name for name in _names(self._plugin_dir / "instances") if is_uid(name)]

    def _sockets(self) -> Iterator[Path]:
        """Where instances of this driver listen or listened, under the names that the kubelet sees and others."""
        for uid in ("", *self._instances()):
            paths = SocketPaths.of(self._driver, self._plugin_dir, self._registry, uid)
            yield paths.dra
            yield paths.registration
        for name in _names(self._registry):
            path = self._registry / name
            if _HIDDEN.fullmatch(name) and _is_socket(path) and self._has_mark(path):
                yield path

    def _has_mark(self, path: Path) -> bool:
        """Whether it was an instance of ours that made the socket and had no time to give it its name."""
        with explained("look at", path):
            found = path.lstat()
        return (self._plugin_dir / "sockets" / f"{found.st_dev}-{found.st_ino}.lock").exists()


def _names(folder: Path) -> list[str]:
    with explained("list", folder):
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False
