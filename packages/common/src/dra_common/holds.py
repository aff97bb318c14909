"""Who has which device, as links to claims' UIDs whose making is atomic and fails if the name is taken.

.. code-block:: text

    held/<device>              a symbolic link: one claim has the device for itself
    held/<device>/<share id>   a symbolic link in a folder: several claims share the device

A device is a link or a folder, never both: what keeps the two apart is that they have one name. Taking it needs no
lock, no scan and no second look. A folder goes with its last share, by rmdir(2), which fails if somebody has come
meanwhile; one that a crash left empty keeps nobody away.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from dra_common.effects import effect
from dra_common.errors import StateError
from dra_common.files import explained, make_folder, unlink

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = 60.0
"""Seconds after which an empty folder is none that somebody has just made, or is just removing."""


class FileHolds:
    """Implements :class:`~dra_common.ports.Holds` in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def take(self, device: str, share_id: str | None, uid: str) -> str:
        """Hold for ``uid``; returns the UID that holds it now, or one of those that share it. Raises StateError."""
        place = self._folder / device
        with explained("hold", place):
            while True:
                holder = self._take_share(place, share_id, uid) if share_id else self._take_whole(place, uid)
                if holder is not None:
                    return holder

    def release(self, device: str, share_id: str | None, uid: str) -> None:
        """Let go, if and only if the link names ``uid``. Raises StateError.

        Only the holder removes its link and it does so under its claim's lock, so nothing can come between the look
        and the removal.
        """
        place = self._folder / device
        with explained("release", place):
            if share_id:
                self._release_share(place, share_id, uid)
            elif _whom(place) == uid:
                with suppress(FileNotFoundError):
                    unlink(place)

    def release_all(self, uid: str) -> tuple[str, ...]:
        """Let go of everything that names ``uid``; returns the keys. Raises StateError."""
        mine = [(device, share) for (device, share), holder in self.holders().items() if holder == uid]
        for device, share in mine:
            self.release(device, share, uid)
        return tuple(f"{device}@{share}" if share else device for device, share in mine)

    def holders(self) -> Mapping[tuple[str, str | None], str]:
        """All holds: (device, share id) -> UID. Raises StateError."""
        with explained("list", self._folder):
            return {key: uid for key, link in self._links() if (uid := link())}

    def strays(self) -> tuple[str, ...]:
        """Paths in the folder that are no holds. Raises StateError."""
        # By the folder's own entries: a hold that goes meanwhile would look like no link at all.
        with explained("list", self._folder):
            entries = _listed(self._folder)
            strays = [each.path for each in entries if not each.is_symlink() and not _is_folder(each)]
            for place in _folders(entries):
                with _inside(place) as folder:
                    inside = _listed(folder) if folder is not None else []
                    strays += [str(place / each.name) for each in inside if not each.is_symlink()]
        return tuple(sorted(strays))

    def emptied(self) -> tuple[str, ...]:
        """Devices whose last share is long gone, but not its folder: a crash came between. Raises StateError."""
        with explained("list", self._folder):
            return tuple(
                sorted(place.name for place in _folders(_listed(self._folder)) if _is_long_empty(place))
            )

    def tidy(self) -> None:
        """Remove folders without shares; at any time, since who is about to put a share there makes its anew.

        Raises StateError.
        """
        with explained("tidy up", self._folder):
            for place in _folders(_listed(self._folder)):
                _drop(place)

    def _links(self) -> Iterator[tuple[tuple[str, str | None], Callable[[], str | None]]]:
        """Yield the keys of all links, each with what reads it. Raises OSError."""
        entries = _listed(self._folder)
        for entry in entries:
            if entry.is_symlink():
                yield (entry.name, None), partial(_whom, entry.path)
        for place in _folders(entries):
            with _inside(place) as folder:
                for entry in _listed(folder) if folder is not None else ():
                    if entry.is_symlink():
                        yield (place.name, entry.name), partial(_whom, entry.name, folder)

    # ------------------------------------------------------------------ whole devices

    def _take_whole(self, place: Path, uid: str) -> str | None:
        """Return who has the device, None if that changed meanwhile. Raises OSError, StateError."""
        try:
            with effect("link", place):
                place.symlink_to(uid)
        except FileExistsError:
            return self._sharer(place, uid) if _is_place_of_shares(place) else _whom(place)
        return uid

    def _sharer(self, place: Path, uid: str) -> str | None:
        """Return one that shares the device, None if nobody does (any more): then its folder goes."""
        if _drop(place):
            return None
        with _inside(place) as folder:
            names = sorted(each.name for each in _listed(folder)) if folder is not None else []
            holders = [holder for name in names if (holder := _target(name, folder))]
        return _other(holders, uid, place)

    # ------------------------------------------------------------------ shares

    def _take_share(self, place: Path, share_id: str, uid: str) -> str | None:
        """Return who has this share, or the whole device; None if that changed meanwhile. Raises as above."""
        with suppress(FileExistsError), effect("folder", place):
            place.mkdir(0o700)
        with _inside(place) as folder:
            if folder is None:
                holder = None if _is_place_of_shares(place) else _whom(place)
                return _other([holder], uid, place) if holder else None
            try:
                with effect("link", place / share_id):
                    os.symlink(uid, share_id, dir_fd=folder)
            except FileExistsError:
                return _target(share_id, folder)
            except FileNotFoundError:
                return None  # somebody found the folder empty
        return uid

    def _release_share(self, place: Path, share_id: str, uid: str) -> None:
        with _inside(place) as folder:
            if folder is None:
                return
            if _target(share_id, folder) == uid:
                with suppress(FileNotFoundError), effect("remove", place / share_id):
                    os.unlink(share_id, dir_fd=folder)
        with suppress(OSError):  # an empty folder keeps nobody away, and the next start removes it
            _drop(place)


@contextmanager
def _inside(place: Path) -> Iterator[int | None]:
    """Open the folder of a device's shares, and nothing else that stands in its place: a link is never followed."""
    try:
        folder = os.open(place, _FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield folder
    finally:
        os.close(folder)


def _listed(folder: Path | int) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _folders(entries: Iterable[os.DirEntry[str]]) -> Iterator[Path]:
    return (Path(entry.path) for entry in entries if _is_folder(entry))


def _is_place_of_shares(place: Path) -> bool:
    """Whether a folder stands there, and no link or nothing (any more). Raises OSError for anything else."""
    try:
        mode = os.lstat(place).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISLNK(mode) and not stat.S_ISDIR(mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    return stat.S_ISDIR(mode)


def _target(link: Path | str, folder: int | None = None) -> str | None:
    """Return whom a link names, None if it is gone. Raises OSError for what is no link."""
    try:
        return os.readlink(link, dir_fd=folder)
    except FileNotFoundError:
        return None


def _whom(link: Path | str, folder: int | None = None) -> str | None:
    """Return whom a link names, None if it is gone, even if a folder has come in its place."""
    try:
        return _target(link, folder)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def _other(holders: Sequence[str], uid: str, place: Path) -> str | None:
    """Return who stands in the way of ``uid``, None for nobody (any more). Raises StateError if it is itself."""
    others = [holder for holder in holders if holder != uid]
    if holders and not others:
        msg = f"claim with uid {uid} cannot have a share of {place.name} and all of it"
        raise StateError(msg, cure="re-create the claim")
    return others[0] if others else None


def _drop(place: Path) -> bool:
    """Remove a folder without shares; whether it has gone. Raises OSError."""
    try:
        with effect("remove", place):
            place.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True


def _is_long_empty(place: Path) -> bool:
    try:
        return not any(place.iterdir()) and time.time() - os.lstat(place).st_mtime > _OLD
    except (FileNotFoundError, NotADirectoryError):
        return False
