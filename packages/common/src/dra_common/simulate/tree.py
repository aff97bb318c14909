"""One pseudo file system on disk: folders, text files that end with a newline, relative links.

Readers may look at any moment, so a file is replaced in one step and never seen half written.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path, PurePosixPath


class DiskTree:
    """Files below ``root``; paths are relative to it, without a leading ``/``.

    Files lose their write permission on disk: a write that does not go through the simulated kernel would have no
    consequences, so it should fail where permissions count.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def make_folder(self, path: str) -> None:
        """Make a folder and those above."""
        self._at(path).mkdir(parents=True, exist_ok=True)

    def write(self, path: str, text: str, mode: int = 0o444) -> None:
        """Make or replace a text file; a missing final newline is added."""
        target = self._place(path)
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")
        fresh.chmod(mode & 0o555)
        fresh.replace(target)

    def sparse(self, path: str, size: int) -> None:
        """Make a file of ``size`` bytes that takes no space."""
        target = self._place(path)
        with target.open("wb") as file:
            file.truncate(size)

    def link(self, path: str, target: str) -> None:
        """Make a link to another path of this tree: one ``..`` for each folder up to the root, as the kernel does.

        Targets in the same parent folder are named by the shortest way (``../0000:4d:00.1``).
        """
        place = self._place(path)
        place.symlink_to(_relative(PurePosixPath(path).parent, PurePosixPath(target)))

    def link_text(self, path: str, text: str) -> None:
        """Make a link with exactly this text."""
        place = self._place(path)
        place.symlink_to(text)

    def file_for_node(self, path: str, mode: int) -> None:
        """Make a plain empty file that stands for a device node."""
        place = self._place(path)
        place.touch()
        place.chmod(mode)

    def device_node(self, path: str, major: int, minor: int, mode: int) -> None:
        """Make a character device; needs CAP_MKNOD."""
        place = self._place(path)
        os.mknod(place, mode=stat.S_IFCHR | mode, device=os.makedev(major, minor))
        place.chmod(mode)

    def read(self, path: str) -> str:
        """Return the text of a file without its last newline."""
        return self._at(path).read_text(encoding="utf-8").removesuffix("\n")

    def exists(self, path: str) -> bool:
        """Whether something is there; a link counts by itself."""
        return os.path.lexists(self._at(path))

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a folder; none if there is no such folder."""
        try:
            return sorted(os.listdir(self._at(path)))  # noqa: PTH208 - names only
        except FileNotFoundError:
            return []

    def remove(self, path: str) -> None:
        """Remove a file, link or folder with all below; fine if it is gone."""
        place = self._at(path)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything below the root; the root stays, as somebody may have it mounted."""
        for name in self.names(""):
            self.remove(name)

    def prune(self, path: str) -> None:
        """Remove this folder and those above as long as they are empty."""
        place = self._at(path)
        while place != self.root:
            try:
                place.rmdir()
            except OSError:
                return
            place = place.parent

    def resolve(self, path: str) -> str:
        """Follow all links; return the path relative to the root. Raises OSError: ENOENT (also outside), ELOOP."""
        top = self.root.resolve()
        try:
            found = (top / path).resolve(strict=True)
        except RuntimeError as loop:  # how pathlib reports a loop before Python 3.13
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from loop
        if not found.is_relative_to(top):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return found.relative_to(top).as_posix()

    def _place(self, path: str) -> Path:
        place = self._at(path)
        # Asking is cheaper than making what is there: a large machine has thousands of files.
        if not place.parent.is_dir():
            place.parent.mkdir(parents=True)
        return place

    def _at(self, path: str) -> Path:
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"{path!r} is not a path below the root of a tree")
        return self.root / path


def _relative(folder: PurePosixPath, target: PurePosixPath) -> str:
    # A sibling's folder is `../name` in the kernel, everything else climbs to where the two paths meet.
    common = 0
    while common < min(len(folder.parts), len(target.parts)) and folder.parts[common] == target.parts[common]:
        common += 1
    common = min(common, len(target.parts) - 1)
    up = [".."] * (len(folder.parts) - common)
    return "/".join([*up, *target.parts[common:]])
