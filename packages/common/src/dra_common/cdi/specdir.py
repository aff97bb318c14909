"""The per-claim CDI files of one driver: the ``Specs`` port."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dra_common.cdi.encode import encode_spec
from dra_common.cdi.folder import cured, ensure_folder, make_file, names, remove_file
from dra_common.cdi.mounted import MountedFiles
from dra_common.cdi.names import check_class, check_uid, check_vendor, claim_file, qualified_name, uid_of
from dra_common.errors import SpecInvalid
from dra_common.files import TEMPORARY_SUFFIX, explained, read_own, remove_durably, unfinished
from dra_common.model import ContainerEdits
from dra_common.ports import SpecDevices

SETTING = "--cdi-dynamic-root"

_MODE = 0o600
"""Only the kubelet's runtime, which is root, reads per-claim files; which claim has which device is nobody else's
business. (Static files are for rootless podman too and are world-readable.)"""

_ABANDONED = 60.0
"""Seconds after which a temporary file has no writer: a call of the kubelet ends after 45."""


class SpecDir:
    """``<folder>/<vendor>-<class>_<claim UID>.json``, one file per claim and CDI class.

    A file is complete or not there: readers never see a part. Callers hold the claim's lock while they write or
    delete. The folder is made (0755) when it is missing, also if it vanishes while we run.

    Args:
        folder: the transient CDI folder of the runtime (``/var/run/cdi``); on tmpfs it is empty after a reboot.
        vendor: first part of the kinds, for example ``intel.com``.
        classes: second parts of the kinds that this driver writes; files of other classes are never touched.
        mounted: folder of the files of ours that containers see, whose path must be the host's; None = they get none.

    Raises SpecInvalid for names that CDI does not allow.
    """

    def __init__(
        self, folder: Path, vendor: str, classes: Sequence[str], mounted: Path | None = None
    ) -> None:
        self._folder = folder
        self._mounted = MountedFiles(mounted) if mounted else None
        self._vendor = check_vendor(vendor)
        self._classes = tuple(sorted({check_class(name) for name in classes}))

    def write(self, uid: str, devices: SpecDevices) -> None:
        """Make the files of this claim say exactly this; a file that says it already is not touched.

        Nothing is written unless everything is valid. Raises SpecInvalid (names or edits), StateError (files).
        """
        wanted = self._encode(check_uid(uid), devices)
        if self._mounted:
            self._mounted.write(uid, devices)
        with cured(SETTING):
            if any(wanted.values()):
                ensure_folder(self._folder)
            for file, data in wanted.items():
                make_file(self._folder / file, data, mode=_MODE)

    def delete(self, uid: str) -> None:
        """Remove all files of this claim, finished or not; fine if there are none. Raises StateError."""
        with cured(SETTING):
            for name in self._classes:
                remove_file(self._folder / claim_file(self._vendor, name, check_uid(uid)))
        if self._mounted:
            self._mounted.delete(uid)

    def unresolved(self, uid: str, ids: Sequence[str]) -> tuple[str, ...]:
        """Return those of ``ids`` that the claim's files do not define; a damaged file defines nothing.

        Raises StateError for a file that is there and cannot be read.
        """
        with cured(SETTING):
            defined = frozenset(self._defined(check_uid(uid)))
        return tuple(name for name in ids if name not in defined)

    def uids(self) -> frozenset[str]:
        """UIDs of claims that have files of our classes here. Raises StateError."""
        with cured(SETTING):
            files = names(self._folder)
        found = (uid_of(file, self._vendor, name) for file in files for name in self._classes)
        mounted = self._mounted.uids() if self._mounted else frozenset()
        return mounted | frozenset(uid for uid in found if uid is not None)

    def sweep_temporary(self, *, older_than: float = _ABANDONED) -> tuple[str, ...]:
        """Remove unfinished files that a killed process left; returns their names.

        Args:
            older_than: seconds since the last write; younger ones may belong to a second instance that is writing now.

        Raises StateError.
        """
        swept = []
        with cured(SETTING):
            for file in names(self._folder):
                if self._is_temporary(file) and _age(self._folder / file) >= older_than:
                    remove_durably(self._folder / file)
                    swept.append(file)
        for path in self._mounted.unfinished() if self._mounted else ():
            if _age(path) >= older_than:
                remove_durably(path)
                swept.append(path.name)
        return tuple(swept)

    def unfinished_uids(self) -> frozenset[str]:
        """UIDs of claims that have unfinished files of our classes here. Raises StateError."""
        with cured(SETTING):
            files = [
                file.removesuffix(TEMPORARY_SUFFIX)
                for file in names(self._folder)
                if self._is_temporary(file)
            ]
        found = (uid_of(file, self._vendor, name) for file in files for name in self._classes)
        mounted = (path.parent.name for path in self._mounted.unfinished()) if self._mounted else ()
        return frozenset(mounted) | frozenset(uid for uid in found if uid is not None)

    def files(self) -> tuple[Path, ...]:
        """Return every file of a claim that is here, finished or not. Raises StateError."""
        with cured(SETTING):
            found = names(self._folder)
        return tuple(
            self._folder / file for file in found if self._is_claims(file.removesuffix(TEMPORARY_SUFFIX))
        )

    def drop_unfinished(self, uid: str) -> None:
        """Remove this claim's unfinished files. Raises StateError."""
        with cured(SETTING):
            for name in self._classes:
                path = self._folder / claim_file(self._vendor, name, check_uid(uid))
                remove_durably(unfinished(path))
        if self._mounted:
            self._mounted.drop_unfinished(uid)

    def compare(self, uid: str, devices: SpecDevices) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the files that are missing, and those that do not say this. Raises SpecInvalid, StateError.

        An older release gave containers no files of ours: what it wrote says all else, and is in order. The next
        :meth:`write` of the claim adds them.
        """
        missing, wrong = self._compare(uid, devices)
        if (missing or wrong) and self._mounted and uid not in self._mounted.uids():
            older = self._compare(uid, _without_files(devices))
            return ((), ()) if older == ((), ()) else (missing, wrong)
        return missing, wrong

    def _compare(self, uid: str, devices: SpecDevices) -> tuple[tuple[str, ...], tuple[str, ...]]:
        missing, wrong = self._mounted.compare(uid, devices) if self._mounted else ([], [])
        with cured(SETTING):
            for file, data in self._encode(check_uid(uid), devices).items():
                found = read_own(self._folder / file)
                if found is None and data is not None:
                    missing.append(str(self._folder / file))
                elif found != data:
                    wrong.append(str(self._folder / file))
        return tuple(missing), tuple(wrong)

    def _encode(self, uid: str, devices: SpecDevices) -> dict[str, bytes | None]:
        """File name -> content, None for a class in which this claim has no device."""
        strange = sorted(set(devices) - set(self._classes))
        if strange:
            msg = f"CDI class {strange[0]!r} is not one of this driver's: {', '.join(self._classes)}"
            raise SpecInvalid(msg)
        return {
            file: encode_spec(self._vendor, name, self._with_mounts(uid, devices[name]), file=file)
            if devices.get(name)
            else None
            for name in self._classes
            for file in (claim_file(self._vendor, name, uid),)
        }

    def _with_mounts(self, uid: str, devices: Mapping[str, ContainerEdits]) -> Mapping[str, ContainerEdits]:
        if self._mounted is None:
            return devices
        return {name: self._mounted.mounted(uid, edits) for name, edits in devices.items()}

    def _defined(self, uid: str) -> Iterator[str]:
        for name in self._classes:
            data = read_own(self._folder / claim_file(self._vendor, name, uid))
            for device in _device_names(data or b"", f"{self._vendor}/{name}"):
                yield qualified_name(self._vendor, name, device)

    def _is_temporary(self, file: str) -> bool:
        finished = file.removesuffix(TEMPORARY_SUFFIX)
        return finished != file and self._is_claims(finished)

    def _is_claims(self, file: str) -> bool:
        return any(uid_of(file, self._vendor, name) for name in self._classes)


def _without_files(devices: SpecDevices) -> SpecDevices:
    return {
        name: {device: replace(edits, files=()) for device, edits in of_class.items()}
        for name, of_class in devices.items()
    }


def _device_names(data: bytes, kind: str) -> Iterator[str]:
    """Names that a file of ours defines; none if it is not the JSON that we write."""
    with suppress(ValueError, RecursionError):
        spec = json.loads(data)
        if isinstance(spec, Mapping) and spec.get("kind") == kind and isinstance(spec.get("devices"), list):
            yield from (str(device.get("name")) for device in spec["devices"] if isinstance(device, Mapping))


def _age(path: Path) -> float:
    """Seconds since the last write; 0 for a file that is gone."""
    with explained("look at", path):
        try:
            return time.time() - path.lstat().st_mtime
        except FileNotFoundError:
            return 0.0
