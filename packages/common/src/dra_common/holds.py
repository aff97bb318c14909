"""Who has which device: ``<state>/held/<device>[@<share id>]``, a symbolic link to the claim's UID.

symlink(2) is atomic and fails if the link exists: taking a device needs no lock, no scan and no second look.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dra_common.effects import effect
from dra_common.files import explained, make_folder, unlink

_SHARE = "@"


class FileHolds:
    """Implements :class:`~dra_common.ports.Holds` in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def take(self, device: str, share_id: str | None, uid: str) -> str:
        """Hold for ``uid``; returns the UID that holds it now. Raises StateError."""
        link = self._link(device, share_id)
        with explained("hold", link):
            while True:
                try:
                    with effect("link", link):
                        link.symlink_to(uid)
                except FileExistsError:
                    holder = _target(link)
                    if holder is not None:
                        return holder
                else:
                    return uid

    def release(self, device: str, share_id: str | None, uid: str) -> None:
        """Let go, if and only if the link names ``uid``. Raises StateError.

        Only the holder removes its link and it does so under its claim's lock, so nothing can come between the look
        and the removal.
        """
        link = self._link(device, share_id)
        with explained("release", link):
            if _target(link) == uid:
                with suppress(FileNotFoundError):
                    unlink(link)

    def release_all(self, uid: str) -> tuple[str, ...]:
        """Let go of everything that names ``uid``; returns the keys. Raises StateError."""
        mine = [(device, share) for (device, share), holder in self.holders().items() if holder == uid]
        for device, share in mine:
            self.release(device, share, uid)
        return tuple(self._link(device, share).name for device, share in mine)

    def holders(self) -> Mapping[tuple[str, str | None], str]:
        """All holds: (device, share id) -> UID. Raises StateError."""
        with explained("list", self._folder):
            links = {path.name: _target(path) for path in self._folder.iterdir() if path.is_symlink()}
        return {_key(name): uid for name, uid in links.items() if uid is not None}

    def strays(self) -> tuple[str, ...]:
        """Paths in the folder that are no holds. Raises StateError."""
        # By the folder's own entries: a hold that goes meanwhile would look like no link at all.
        with explained("list", self._folder), os.scandir(self._folder) as entries:
            return tuple(sorted(entry.path for entry in entries if not entry.is_symlink()))

    def _link(self, device: str, share_id: str | None) -> Path:
        return self._folder / (f"{device}{_SHARE}{share_id}" if share_id else device)


def _key(name: str) -> tuple[str, str | None]:
    device, _, share = name.partition(_SHARE)
    return device, share or None


def _target(link: Path) -> str | None:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return None
