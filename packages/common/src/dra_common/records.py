"""Claim records as files: ``<state>/claims/<uid>.json``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from dra_common.codec import decode, encode
from dra_common.effects import effect
from dra_common.errors import CorruptRecord, StateError
from dra_common.files import (
    TEMPORARY_SUFFIX,
    Durability,
    aside,
    explained,
    forget_aside,
    keep_aside,
    make_folder,
    named_after,
    read_own,
    remove_durably,
    sync_folder,
    unfinished,
    unlink,
    write_durably,
)
from dra_common.model import ClaimRecord, Phase, is_uid

__all__ = ["FileRecords", "claims_folder", "decode", "encode"]

_SUFFIX = ".json"
_BAD = "corrupt"
_UNDER_WAY = frozenset({Phase.PREPARING, Phase.UNPREPARING})
_OURS = re.compile(r"[A-Za-z0-9-]+\.(lock|json(\.tmp|\.corrupt-\d+)?)")
_SET_ASIDE = re.compile(r"(?P<uid>[^.]+)\.json\.corrupt-\d+")


def claims_folder(data_dir: Path) -> Path:
    """Return where the records of a driver with this plugin data folder are."""
    return data_dir / "claims"


class FileRecords:
    """Implements :class:`~dra_common.ports.Records` in one folder. The caller holds the claim's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def load(self, uid: str) -> ClaimRecord | None:
        """Return the record or None. Raises CorruptRecord, NewerRecord, StateError (unreadable)."""
        return self._read(self._path(uid), uid)

    def save(self, record: ClaimRecord) -> None:
        """Write so that a crash leaves this record or the one before, whole. Raises StateError.

        What a claim has come to outlives a power cut too. A step under way need not: a power cut takes it back, with
        all else that the kernel was told. Only the record that it replaces must not be lost by that.
        """
        path = self._path(record.ref.uid)
        write_durably(path, encode(record), durability=self._durability(record))

    def _durability(self, record: ClaimRecord) -> Durability:
        if record.phase not in _UNDER_WAY:
            return "whole"
        return "data" if self.exists(record.ref.uid) else "none"

    def exists(self, uid: str) -> bool:
        """Whether there is a record, readable or not."""
        return os.path.lexists(self._path(uid))

    def version(self, uid: str) -> object | None:
        """Return what is another whenever the record was written anew, cheaply; None if there is no record."""
        try:
            status = self._path(uid).stat(follow_symlinks=False)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size

    def delete(self, uid: str) -> None:
        """Remove durably, with what an interrupted save left; fine if there is none. Raises StateError."""
        path = self._path(uid)
        remove_durably(path)
        with suppress(OSError):  # what cannot be removed now is an orphan to the next recovery
            unlink(unfinished(path))

    def uids(self) -> tuple[str, ...]:
        """UIDs that have a record, sorted. Raises StateError."""
        return tuple(sorted(self._uids(_SUFFIX)))

    def set_aside(self, uid: str) -> str:
        """Rename a bad record, keeping its bytes; returns the new file name. Raises StateError."""
        return keep_aside(self._path(uid), _BAD).name

    def set_aside_uids(self) -> frozenset[str]:
        """UIDs of which a bad record was set aside and whose claim was not unprepared since."""
        matches = (_SET_ASIDE.fullmatch(name) for name in self._names())
        return frozenset(match["uid"] for match in matches if match)

    def forget_set_aside(self, uid: str) -> None:
        """Remove what was set aside for a claim that is now unprepared."""
        forget_aside(self._path(uid), _BAD)

    def read_set_aside(self, uid: str) -> Mapping[str, ClaimRecord | StateError]:
        """What was set aside for a claim, by file name, and whether it can be read (now). Raises StateError."""
        found: dict[str, ClaimRecord | StateError] = {}
        for kept in aside(self._path(uid), _BAD):
            try:
                if record := self._read(kept, uid):
                    found[kept.name] = record
            except StateError as error:
                found[kept.name] = error
        return found

    def restore(self, uid: str, name: str) -> None:
        """Make what was set aside under this name the claim's record again. Raises StateError."""
        path = self._path(uid)
        kept = path.with_name(name)
        with explained("restore", path):
            with effect("rename", path):
                kept.rename(path)
            sync_folder(self._folder)

    def drop_unfinished(self, uid: str) -> None:
        """Remove what an interrupted save left. Raises StateError."""
        path = self._path(uid)
        remove_durably(unfinished(path))

    def strays(self) -> tuple[str, ...]:
        """Paths in the folder that are no files of ours. Raises StateError."""
        return tuple(str(self._folder / name) for name in sorted(self._names()) if not _OURS.fullmatch(name))

    def unfinished_uids(self) -> frozenset[str]:
        """UIDs of which a save was interrupted. Raises StateError."""
        return frozenset(self._uids(_SUFFIX + TEMPORARY_SUFFIX))

    def _read(self, path: Path, uid: str) -> ClaimRecord | None:
        """Read one file of this claim, None if there is none. Raises CorruptRecord, NewerRecord, StateError."""
        data = read_own(path)
        if data is None:
            return None
        record = decode(data, name=str(path))
        if record.ref.uid != uid:
            msg = f"record {path} belongs to another claim, {record.ref.uid}"
            raise CorruptRecord(msg)
        return record

    def _path(self, uid: str) -> Path:
        return self._folder / named_after(uid, _SUFFIX)

    def _uids(self, suffix: str) -> Iterator[str]:
        """UIDs that have a file with this suffix; files with strange names are not ours."""
        uids = (name.removesuffix(suffix) for name in self._names() if name.endswith(suffix))
        return (uid for uid in uids if is_uid(uid))

    def _names(self) -> tuple[str, ...]:
        with explained("list", self._folder):
            return tuple(entry.name for entry in self._folder.iterdir())
