"""The static CDI file of one kind, for docker and podman users without Kubernetes (``cdi generate``).

The ids are those of Intel's Go driver (``intel.com/gpu=<device name>``), which keeps its file under the same stem as
YAML. A runtime that finds one id in two files of the same folder can use neither, so the two must never stand side by
side: without ``replace`` nothing is written; with it, the YAML file goes once ours is there.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dra_common.cdi.encode import encode_spec
from dra_common.cdi.folder import cured, ensure_folder
from dra_common.cdi.names import check_class, check_vendor, stem
from dra_common.effects import effect
from dra_common.errors import StateError
from dra_common.files import explained, read_own, remove_durably, write_durably
from dra_common.model import ContainerEdits

SETTING = "--cdi-root"

_MODE = 0o644
"""World-readable: rootless podman reads it as its user."""


def render_static(vendor: str, class_name: str, devices: Mapping[str, ContainerEdits]) -> str:
    """Return what :func:`write_static` would write. Raises SpecInvalid."""
    return encode_spec(vendor, class_name, devices, file=_file(vendor, class_name)).decode()


def write_static(
    folder: Path,
    vendor: str,
    class_name: str,
    devices: Mapping[str, ContainerEdits],
    *,
    replace: bool = False,
) -> Path:
    """Write ``<folder>/<vendor>-<class>.json`` for everybody to read; returns its path.

    Args:
        folder: the static CDI folder (``/etc/cdi``); made if it is missing.
        vendor: first part of the kind.
        class_name: second part of the kind.
        devices: device name -> edits, at least one.
        replace: whether a YAML file of the same stem is removed; without it such a file is a StateError.

    Raises SpecInvalid, StateError.
    """
    text = render_static(vendor, class_name, devices)
    path = folder / _file(vendor, class_name)
    rival = path.with_suffix(".yaml")
    with cured(SETTING):
        ensure_folder(folder)
        with _alone(folder):
            if not replace:
                _refuse_rival(rival)
            if read_own(path) != text.encode():
                write_durably(path, text.encode(), mode=_MODE)
            with effect("mode", path):
                path.chmod(_MODE)
            # Ours first: a crash between the two leaves a conflict that the next run ends, not a lost file.
            remove_durably(rival)
    return path


def _refuse_rival(rival: Path) -> None:
    if rival.exists():
        msg = f"{rival} defines the same CDI kind: with both files a runtime could use the devices of neither"
        raise StateError(msg, cure="move it away, or replace it with --replace: the ids stay the same")


def _file(vendor: str, class_name: str) -> str:
    return f"{stem(check_vendor(vendor), check_class(class_name))}.json"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second ``cdi generate`` away while this one writes; the lock ends with the descriptor."""
    with explained("lock", folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
