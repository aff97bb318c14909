"""CDI ids of another driver's making, for claims that were adopted from it: the ``SharedSpecs`` port.

Such an id names a device, not a claim (``intel.com/gpu=0000-03-00-0-0x56c0``), so two claims may need the same one, and
two files that define it would make it unusable. Hence one file for each id, and a note for each claim of what it needs:

.. code-block:: text

    <transient folder>/<vendor>-<class>.adopted.<device>.json    what the id means now; wins over the static folder
    <static folder>/<vendor>-<class>.yaml                        the other driver's file, until nobody needs its ids
    <notes>/<uid>.json                                           the ids that this claim needs

A dot follows the class: no per-claim file looks like that (a UID has none), so neither is taken for the other.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dra_common.cdi.encode import encode_spec
from dra_common.cdi.folder import cured, ensure_folder, make_file, names
from dra_common.cdi.names import check_class, check_vendor, qualified_name, stem
from dra_common.errors import StateError
from dra_common.files import (
    TEMPORARY_SUFFIX,
    explained,
    make_folder,
    named_after,
    read_own,
    remove_durably,
    write_durably,
)
from dra_common.model import ContainerEdits, is_uid

_SETTING, _STATIC_SETTING = "--cdi-dynamic-root", "--cdi-root"
_MODE = 0o600
_NOTE = ".json"
_INHERITED = ".inherited"
"""Stands among the notes while the other driver's own files are still to be removed; no UID begins with a dot."""

_WAIT, _PAUSE = 10.0, 0.005
"""Seconds. Whoever has the lock writes a few small files."""


class SharedSpecDir:
    """Implements :class:`~dra_common.ports.SharedSpecs`.

    Args:
        folder: the transient CDI folder of the runtime, ``/var/run/cdi``.
        static: the folder of static CDI files, ``/etc/cdi``; nothing is ever made in it.
        notes: where it is noted which claim needs what, below the driver's own folder.
        vendor: first part of the kinds.
        classes: second parts of the kinds that the driver has.

    Raises SpecInvalid for names that CDI does not allow.
    """

    def __init__(self, folder: Path, static: Path, notes: Path, vendor: str, classes: Sequence[str]) -> None:
        self._folder, self._static, self._notes = folder, static, notes
        self._kinds = {f"{check_vendor(vendor)}/{check_class(name)}": (vendor, name) for name in classes}

    def define(self, uid: str, ids: Sequence[str], edits: Mapping[str, ContainerEdits]) -> None:
        """Note what this claim needs, then write those ids that have edits. Raises SpecInvalid, StateError."""
        note = self._note(uid)
        files = {self._file(name): self._encode(name, made) for name, made in edits.items()}
        neighbours = self._defined_in(self._folder, _SETTING)
        with self._alone():
            said = json.dumps(sorted(set(ids))).encode()
            if read_own(note) != said:
                write_durably(note, said)
            with cured(_SETTING):
                if files:
                    ensure_folder(self._folder)
                for (path, data), name in zip(files.items(), edits, strict=True):
                    # In one folder a second definition would make the device unusable.
                    make_file(path, None if name in neighbours else data, mode=_MODE)

    def release(self, uid: str) -> None:
        """This claim needs nothing any more; what only it needed is removed. Raises StateError."""
        note = self._note(uid)
        if not os.path.lexists(note):
            return
        with self._alone():
            mine = self._needed_by(note)
            remove_durably(note)
            others = frozenset(name for other in self._all_notes() for name in self._needed_by(other))
            with cured(_SETTING):
                for name in mine - others:
                    make_file(self._file(name), None, mode=_MODE)
        self.finish()

    def unresolved(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return those of ``ids`` that no file defines, neither ours nor the other driver's. Raises StateError."""
        missing = [
            name for name in ids if name.partition("=")[0] not in self._kinds or not self._is_ours(name)
        ]
        if not missing:
            return ()
        static = self._defined_in(self._folder, _SETTING) | self._defined_in(self._static, _STATIC_SETTING)
        return tuple(name for name in missing if name not in static)

    def uids(self) -> frozenset[str]:
        """UIDs of claims that need such ids. Raises StateError."""
        return frozenset(note.name.removesuffix(_NOTE) for note in self._all_notes())

    def inherit(self) -> None:
        """From now on the other driver's own files are removed once no claim needs them. Raises StateError."""
        with self._alone():
            write_durably(self._notes / _INHERITED, b"")

    def finish(self) -> None:
        """If no claim needs such ids any more, remove our files of them, and the other driver's. Raises StateError."""
        if not names(self._notes):
            return
        with self._alone():
            if self._all_notes():
                return
            with cured(_SETTING):
                for file in self._ours():
                    remove_durably(file)
            if os.path.lexists(self._notes / _INHERITED):
                with cured(_STATIC_SETTING):
                    self._remove_inherited()
                remove_durably(self._notes / _INHERITED)

    def files(self) -> tuple[Path, ...]:
        """Return every file of ours in the transient folder, finished or not. Raises StateError."""
        with cured(_SETTING):
            return tuple(self._ours())

    # ------------------------------------------------------------------ names

    def _note(self, uid: str) -> Path:
        return self._notes / named_after(uid, _NOTE)

    def _all_notes(self) -> tuple[Path, ...]:
        found = (file for file in names(self._notes) if file.endswith(_NOTE))
        return tuple(self._notes / file for file in found if is_uid(file.removesuffix(_NOTE)))

    def _file(self, name: str) -> Path:
        kind, _, device = name.partition("=")
        return self._folder / f"{_prefix(*self._kinds[kind])}{device}.json"

    def _ours(self) -> Iterator[Path]:
        """Our files in the transient folder, finished or not."""
        prefixes = tuple(_prefix(*kind) for kind in self._kinds.values())
        for file in names(self._folder):
            if file.startswith(prefixes) and file.removesuffix(TEMPORARY_SUFFIX).endswith(".json"):
                yield self._folder / file

    # ------------------------------------------------------------------ what files say

    def _needed_by(self, note: Path) -> frozenset[str]:
        """The ids of one note; a damaged one speaks for none, and its claim's next call writes it again."""
        with suppress(ValueError):
            ids = json.loads(read_own(note) or b"")
            if isinstance(ids, list):
                return frozenset(name for name in ids if str(name).partition("=")[0] in self._kinds)
        return frozenset()

    def _encode(self, name: str, edits: ContainerEdits) -> bytes:
        kind, _, device = name.partition("=")
        return encode_spec(*self._kinds[kind], {device: edits}, file=self._file(name).name)

    def _is_ours(self, name: str) -> bool:
        with cured(_SETTING):
            return name in _ids(_parsed(self._file(name)))

    def _defined_in(self, folder: Path, setting: str) -> frozenset[str]:
        """The ids in the files of whole kinds, which other programs write: YAML as the Go drivers do, or JSON."""
        files = (
            folder / f"{stem(*kind)}{suffix}"
            for kind in self._kinds.values()
            for suffix in (".yaml", ".json")
        )
        with cured(setting):
            return frozenset(name for file in files for name in _ids(_parsed(file)))

    def _remove_inherited(self) -> None:
        for kind in self._kinds.values():
            file = self._static / f"{stem(*kind)}.yaml"
            if _is_private(file) and _parsed(file).get("kind") == "/".join(kind):
                remove_durably(file)

    # ------------------------------------------------------------------ one at a time

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads and a second instance away from notes and files. Raises StateError if they stay."""
        make_folder(self._notes)
        with explained("lock", self._notes):
            descriptor = os.open(self._notes, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._lock(descriptor, time.monotonic() + _WAIT)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int, until: float) -> None:
        while True:
            try:
                with explained("lock", self._notes):
                    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except StateError as error:
                if not isinstance(error.__cause__, BlockingIOError) or time.monotonic() > until:
                    raise
            time.sleep(_PAUSE)


def _prefix(vendor: str, class_name: str) -> str:
    return f"{stem(vendor, class_name)}.adopted."


def _parsed(file: Path) -> Mapping[str, Any]:
    """What a CDI file says; nothing if it is not there or not one."""
    data = read_own(file)
    if not data:
        return {}
    if file.suffix == ".json":
        with suppress(ValueError, RecursionError):
            return _mapping(json.loads(data))
        return {}
    import yaml  # noqa: PLC0415 - 2 MiB, for nodes that had another driver

    with suppress(yaml.YAMLError, ValueError, RecursionError):
        return _mapping(yaml.safe_load(data))
    return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _ids(spec: Mapping[str, Any]) -> Iterator[str]:
    kind, devices = spec.get("kind"), spec.get("devices")
    for device in devices if isinstance(devices, list) else ():
        vendor, _, class_name = str(kind).partition("/")
        yield qualified_name(vendor, class_name, str(_mapping(device).get("name")))


def _is_private(file: Path) -> bool:
    """Whether only its owner may read it, as the Go drivers write it; tools for all users make theirs readable."""
    with explained("look at", file):
        try:
            found = file.lstat()
        except FileNotFoundError:
            return False
    return stat.S_ISREG(found.st_mode) and not found.st_mode & 0o077
