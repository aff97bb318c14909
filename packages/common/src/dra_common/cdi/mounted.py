"""Files that containers of a claim see: ``<folder>/<claim UID>/<name>``, mounted read-only by the claim's CDI files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from dra_common.cdi.folder import make_file, names, remove_file
from dra_common.effects import effect
from dra_common.files import TEMPORARY_SUFFIX, explained, make_folder, read_own, remove_durably
from dra_common.model import ContainerEdits, Mount, is_uid
from dra_common.ports import SpecDevices

_MODE = 0o644
"""Whatever user a container's process is. Nobody gets to the file through our folders, only by the mount."""


class MountedFiles:
    """The files of all claims. Like CDI files they are made anew after a boot; callers hold the claim's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mounted(self, uid: str, edits: ContainerEdits) -> ContainerEdits:
        """Return the edits with a mount for each of their files."""
        mounts = tuple(
            Mount(str(self._folder / uid / file.name), file.container_path, options=("ro", "bind"))
            for file in edits.files
        )
        return ContainerEdits(edits.env, edits.device_nodes, (*edits.mounts, *mounts), edits.hooks)

    def write(self, uid: str, devices: SpecDevices) -> None:
        """Make the claim's folder hold exactly the files of these edits. Raises StateError."""
        wanted = _files(devices)
        mine = self._folder / uid
        if not wanted:
            self.delete(uid)
            return
        make_folder(self._folder)
        make_folder(mine)
        for name, data in wanted.items():
            make_file(mine / name, data, mode=_MODE)
        for name in names(mine):
            if name not in wanted:
                remove_file(mine / name)

    def delete(self, uid: str) -> None:
        """Remove all files of a claim, finished or not; fine if there are none. Raises StateError."""
        mine = self._folder / uid
        for name in names(mine):
            remove_file(mine / name)
        with explained("remove", mine), suppress(FileNotFoundError):
            if mine.is_dir():
                with effect("remove", mine):
                    mine.rmdir()

    def uids(self) -> frozenset[str]:
        """UIDs of claims that have a folder here. Raises StateError."""
        return frozenset(name for name in names(self._folder) if is_uid(name))

    def unfinished(self) -> Iterator[Path]:
        """Yield the unfinished files of all claims. Raises StateError."""
        for uid in sorted(self.uids()):
            yield from self.unfinished_of(uid)

    def unfinished_of(self, uid: str) -> Iterator[Path]:
        """Yield the unfinished files of one claim. Raises StateError."""
        mine = self._folder / uid
        yield from (mine / name for name in names(mine) if name.endswith(TEMPORARY_SUFFIX))

    def drop_unfinished(self, uid: str) -> None:
        """Remove the unfinished files of a claim. Raises StateError."""
        for path in self.unfinished_of(uid):
            remove_durably(path)

    def compare(self, uid: str, devices: SpecDevices) -> tuple[list[str], list[str]]:
        """Return the files that are missing, and those that do not say exactly this. Raises StateError."""
        missing, wrong = [], []
        for name, data in _files(devices).items():
            path = self._folder / uid / name
            found = read_own(path)
            if found is None:
                missing.append(str(path))
            elif found != data:
                wrong.append(str(path))
        return missing, wrong


def _files(devices: SpecDevices) -> Mapping[str, bytes]:
    every = (edits for of_class in devices.values() for edits in of_class.values())
    return {file.name: file.content.encode() for edits in every for file in edits.files}
