"""Parents in a mode as files: ``<state>/hardware/<parent>.json``."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dra_common.codec import PARENTS
from dra_common.errors import CorruptRecord
from dra_common.files import (
    TEMPORARY_SUFFIX,
    aside,
    explained,
    forget_aside,
    keep_aside,
    make_folder,
    read_own,
    remove_durably,
    unfinished,
    unlink,
    write_durably,
)
from dra_common.model import ParentMode

_SUFFIX = ".json"
_BAD = "corrupt"


class FileParents:
    """Implements :class:`~dra_common.ports.Parents` in one folder. Who writes holds the parent's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def load(self, parent: str) -> ParentMode | None:
        """Return its mode, None if it is in none. Raises CorruptRecord, NewerRecord, StateError (unreadable)."""
        path = self._path(parent)
        data = read_own(path)
        if data is None:
            return None
        mode = PARENTS.decode(data, name=str(path))
        if mode.parent != parent:
            msg = f"record {path} belongs to other hardware, {mode.parent}"
            raise CorruptRecord(msg)
        return mode

    def save(self, mode: ParentMode) -> None:
        """Write durably. Raises StateError."""
        write_durably(self._path(mode.parent), PARENTS.encode(mode))

    def delete(self, parent: str) -> None:
        """Remove durably, with what an interrupted save left; fine if there is none. Raises StateError."""
        remove_durably(self._path(parent))
        self.drop_unfinished(parent)

    def drop_unfinished(self, parent: str) -> None:
        """Remove what an interrupted save left. Raises StateError."""
        path = unfinished(self._path(parent))
        with explained("remove", path), suppress(FileNotFoundError):
            unlink(path)

    def set_aside(self, parent: str) -> str:
        """Rename a bad file, keeping its bytes; returns the new file name. Raises StateError."""
        return keep_aside(self._path(parent), _BAD).name

    def is_set_aside(self, parent: str) -> bool:
        """Whether a bad file of it was set aside, and not forgotten since."""
        return bool(aside(self._path(parent), _BAD))

    def forget_set_aside(self, parent: str) -> None:
        """Remove what was set aside. Raises StateError."""
        forget_aside(self._path(parent), _BAD)

    def has(self, parent: str) -> bool:
        """Whether it has a file, readable, finished or not. Raises StateError."""
        path = self._path(parent)
        with explained("look at", path):
            return any(os.path.lexists(each) for each in (path, unfinished(path)))

    def names(self) -> tuple[str, ...]:
        """Return all parents of which that is so, sorted. Raises StateError."""
        with explained("list", self._folder):
            names = {path.name.removesuffix(TEMPORARY_SUFFIX) for path in self._folder.iterdir()}
        return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))

    def _path(self, parent: str) -> Path:
        return self._folder / f"{parent}{_SUFFIX}"
