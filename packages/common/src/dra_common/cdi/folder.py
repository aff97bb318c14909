"""The folder that CDI files are in: made when missing, with errors that name the setting it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dra_common.effects import effect
from dra_common.errors import SpecInvalid, StateError
from dra_common.files import explained, read_own, unfinished, unlink, write_durably

FOLDER_MODE = 0o755
"""Anybody may look: rootless runtimes read static specifications, and look through the transient folder too."""


@contextmanager
def cured(setting: str) -> Iterator[None]:
    """Add the setting that chooses the folder to the cure of a StateError; a file's own fault has no such cure."""
    try:
        yield
    except SpecInvalid:
        raise
    except StateError as error:
        choose = f"set {setting} to a folder that can be written"
        cure = f"{error.cure}, or {choose}" if error.cure else choose
        raise StateError(f"CDI: {error.message}", cure=cure) from error


def ensure_folder(path: Path) -> None:
    """Create the folder and its parents if it is missing. Raises StateError."""
    if path.is_dir():
        return
    with explained("create the folder", path):
        with effect("folder", path):
            path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        # The umask of a service may have taken bits away.
        with effect("mode", path):
            path.chmod(FOLDER_MODE)


def names(path: Path) -> tuple[str, ...]:
    """Return the sorted names in the folder; none if it is missing. Raises StateError."""
    with explained("list", path):
        try:
            return tuple(sorted(entry.name for entry in path.iterdir()))
        except FileNotFoundError:
            return ()


def remove_file(path: Path) -> None:
    """Remove a CDI file and what an interrupted write left of it; fine if there is neither. Raises StateError."""
    for each in (path, unfinished(path)):
        with explained("remove", each), suppress(FileNotFoundError):
            unlink(each)


def make_file(path: Path, data: bytes | None, *, mode: int) -> None:
    """Make a CDI file say exactly ``data``, None for no file; one that does is not written. Raises StateError.

    It need not outlive a power cut: after a boot every claim is prepared again, which makes its files anew, and what
    belongs to no claim is removed. The folder is on a tmpfs as a rule; where it is not, this spares four fsyncs.
    """
    if data is None:
        remove_file(path)
    elif read_own(path) != data:
        write_durably(path, data, mode=mode, durability="none")
