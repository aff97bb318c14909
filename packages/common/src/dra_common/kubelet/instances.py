"""Which instances of a driver live on this node, and what dead ones left.

During an upgrade two run side by side, each known by the UID of its pod. For as long as it lives an instance holds the
lock of ``<plugin folder>/instances/<pod UID>``; the names of its sockets follow from that UID. So nobody has to guess
from the names in the kubelet's registry, which all drivers share, what is whose.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from dra_common.deadline import Deadline
from dra_common.errors import DraError, KubeletError
from dra_common.files import explained, make_folder, unlink
from dra_common.flock import try_lock
from dra_common.kubelet.sockets import SocketPaths, is_dead
from dra_common.model import is_uid

log = logging.getLogger(__name__)

_SWEPT_BY_ANOTHER: Final = 5.0
"""Seconds to wait for an instance that looks at what is left of our pod's earlier container."""

_HIDDEN: Final = re.compile(r"\.[0-9a-f]{7}")
_ABANDONED: Final = 60.0
"""Seconds after which a socket that was never renamed into place, and of which nobody listens, is nobody's."""


class Instances:
    """The instances of one driver on one node, seen from one of them.

    Args:
        folder: where their locks are, below the driver's plugin folder.
        pod_uid: ours; without one there is one instance at a time, which has no lock.
        paths: where the instance with a UID listens.
    """

    def __init__(self, folder: Path, pod_uid: str, paths: Callable[[str], SocketPaths]) -> None:
        self._folder, self._pod_uid, self._paths = folder, pod_uid, paths
        self._descriptor: int | None = None

    def enter(self) -> None:
        """Be one of them from now on. Raises KubeletError (our UID is taken), StateError."""
        if not self._pod_uid:
            return
        make_folder(self._folder)
        deadline = Deadline.after(_SWEPT_BY_ANOTHER)
        while (descriptor := try_lock(self._folder / self._pod_uid)) is None:
            if deadline.passed:
                raise KubeletError(
                    f"another process of this driver runs as pod {self._pod_uid}",
                    cure="give each its own --pod-uid: the UID of the pod that it runs in",
                )
            time.sleep(0.05)
        self._descriptor = descriptor

    def leave(self) -> None:
        """Be none of them any more; again, or before :meth:`enter`: nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):  # the next one to start removes it
                unlink(self._folder / self._pod_uid)
            os.close(descriptor)

    def sweep(self) -> tuple[Path, ...]:
        """Remove the sockets of instances that are dead, and return them; raises nothing.

        A kubelet would go on trying to reach them. Sockets that answer, or whose process is frozen, stay.
        """
        removed = []
        try:
            for uid in self._others():
                removed += self._sweep(uid)
            if self._pod_uid:
                removed += _remove_dead(self._paths(""))
            removed += self._sweep_hidden()
        except DraError as error:
            log.warning("what dead instances left behind stays: %s", error)
        if removed:
            log.info("removed the sockets of dead instances: %s", ", ".join(map(str, removed)))
        return tuple(removed)

    def _others(self) -> list[str]:
        with explained("list", self._folder):
            names = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
        return sorted(name for name in names if is_uid(name) and name != self._pod_uid)

    def _sweep(self, uid: str) -> list[Path]:
        marker = self._folder / uid
        descriptor = try_lock(marker)
        if descriptor is None:
            return []  # it lives
        try:
            removed = _remove_dead(self._paths(uid))
            with explained("remove", marker), suppress(FileNotFoundError):
                unlink(marker)
            return removed
        finally:
            os.close(descriptor)

    def _sweep_hidden(self) -> list[Path]:
        """Sockets that a kill kept from being renamed into place.

        The registry has other drivers' too, made by this code or not: an old one of which nobody listens is no use to
        anyone.
        """
        removed: list[Path] = []
        for folder in {path.parent for path in (self._paths("").dra, self._paths("").registration)}:
            with explained("list", folder):
                old = [path for path in folder.iterdir() if _HIDDEN.fullmatch(path.name) and _is_old(path)]
            removed += _unlinked(old)
        return removed


def _remove_dead(paths: SocketPaths) -> list[Path]:
    """The registration first, as in a stop: a kubelet then asks no more where nobody is."""
    return list(_unlinked([paths.registration, paths.dra]))


def _unlinked(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if is_dead(path):
            with explained("remove", path), suppress(FileNotFoundError):
                unlink(path)
                yield path


def _is_old(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and time.time() - found.st_mtime > _ABANDONED
