"""Claim records as files: ``<state>/claims/<uid>.json``."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dra_common.codec import decode, encode
from dra_common.effects import effect
from dra_common.errors import CorruptRecord
from dra_common.files import (
    TEMPORARY_SUFFIX,
    explained,
    make_folder,
    named_after,
    read_own,
    remove_durably,
    sync_folder,
    unlink,
    write_durably,
)
from dra_common.model import ClaimRecord, is_uid

__all__ = ["FileRecords", "claims_folder", "decode", "encode"]

_SUFFIX = ".json"
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
        path = self._path(uid)
        data = read_own(path)
        if data is None:
            return None
        record = decode(data, name=str(path))
        if record.ref.uid != uid:
            msg = f"record {path} belongs to another claim, {record.ref.uid}"
            raise CorruptRecord(msg)
        return record

    def save(self, record: ClaimRecord) -> None:
        """Write durably. Raises StateError."""
        write_durably(self._path(record.ref.uid), encode(record))

    def exists(self, uid: str) -> bool:
        """Whether there is a record, readable or not."""
        return os.path.lexists(self._path(uid))

    def delete(self, uid: str) -> None:
        """Remove durably, with what an interrupted save left; fine if there is none. Raises StateError."""
        path = self._path(uid)
        remove_durably(path)
        with suppress(OSError):  # what cannot be removed now is an orphan to the next recovery
            unlink(path.with_name(path.name + TEMPORARY_SUFFIX))

    def uids(self) -> tuple[str, ...]:
        """UIDs that have a record, sorted. Raises StateError."""
        return tuple(sorted(self._uids(_SUFFIX)))

    def set_aside(self, uid: str) -> str:
        """Rename a bad record, keeping its bytes; returns the new file name. Raises StateError."""
        path = self._path(uid)
        names = (_set_aside(path, number) for number in itertools.count(1))
        target = next(name for name in names if not os.path.lexists(name))
        with explained("set aside", path):
            with effect("rename", target):
                path.rename(target)
            sync_folder(self._folder)
        return target.name

    def set_aside_uids(self) -> frozenset[str]:
        """UIDs of which a bad record was set aside and whose claim was not unprepared since."""
        matches = (_SET_ASIDE.fullmatch(name) for name in self._names())
        return frozenset(match["uid"] for match in matches if match)

    def forget_set_aside(self, uid: str) -> None:
        """Remove what was set aside for a claim that is now unprepared."""
        path = self._path(uid)
        number = 1
        # Numbered without gaps: looking at the next is cheaper than looking at everybody's.
        while os.path.lexists(kept := _set_aside(path, number)):
            if not kept.is_dir():  # we never make one
                remove_durably(kept)
            number += 1

    def unfinished_uids(self) -> frozenset[str]:
        """UIDs of which a save was interrupted. Raises StateError."""
        return frozenset(self._uids(_SUFFIX + TEMPORARY_SUFFIX))

    def _path(self, uid: str) -> Path:
        return self._folder / named_after(uid, _SUFFIX)

    def _uids(self, suffix: str) -> Iterator[str]:
        """UIDs that have a file with this suffix; files with strange names are not ours."""
        uids = (name.removesuffix(suffix) for name in self._names() if name.endswith(suffix))
        return (uid for uid in uids if is_uid(uid))

    def _names(self) -> tuple[str, ...]:
        with explained("list", self._folder):
            return tuple(entry.name for entry in self._folder.iterdir())


def _set_aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.corrupt-{number}")
