"""The file in which the driver that this one replaces kept its claims: the ``CheckpointFile`` port."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dra_common.files import explained, keep_aside, read_own
from dra_common.ports import Found

_LONGEST = 16 << 20
"""Bytes. A claim with its 32 devices has some 20 KiB, indented."""


class PreparedClaims:
    """``<the driver's own folder>/preparedClaims.json``, where both drivers look, since they share their name."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "preparedClaims.json"

    @property
    def name(self) -> str:
        """Its path."""
        return str(self._path)

    def read(self) -> Found | None:
        """Return the file, None if there is none; no bytes if it is no regular file or too long. Raises StateError."""
        with explained("read", self._path):
            try:
                modified = self._path.lstat().st_mtime
            except FileNotFoundError:
                return None
        data = read_own(self._path, longest=_LONGEST)
        return None if data is None else Found(data, modified)

    def set_aside(self, why: Literal["adopted", "corrupt"]) -> str:
        """Rename it to ``preparedClaims.json.<why>-<n>``; returns the new path. Raises StateError."""
        return str(keep_aside(self._path, why))
