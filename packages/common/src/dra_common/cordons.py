"""Which devices get no new claims, on an operator's word: ``<state>/cordoned/<device>``, a file that says why.

Files, and not memory: a cordon outlasts the driver, its updates and reboots. A running driver reads them at each look.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dra_common.errors import StateError
from dra_common.files import TEMPORARY_SUFFIX, explained, make_folder, read_own, remove_durably, write_durably
from dra_common.flock import try_lock
from dra_common.inventory import Taints, cordoned_taint

_log = logging.getLogger(__name__)

_LOCK = ".lock"
_LONGEST_REASON = 200
"""Characters; it is there for people, who read it in a line of a table."""


class FileCordons:
    """The cordons of one driver on one node; the folder is made with the first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> Mapping[str, str]:
        """Device -> why, in the order of the names; "" where nobody said. Raises StateError.

        A file that cannot be understood still is a cordon: what somebody took out of use stays out of use.
        """
        with explained("list", self._folder):
            try:
                names = sorted(path.name for path in self._folder.iterdir())
            except FileNotFoundError:
                return {}
        return {
            name: self._why(name) for name in names if name != _LOCK and not name.endswith(TEMPORARY_SUFFIX)
        }

    def add(self, device: str, why: str) -> None:
        """Cordon a device, or say anew why. Durable when it returns. Raises StateError."""
        make_folder(self._folder)
        with self._alone():
            write_durably(self._folder / device, f"{one_line(why)}\n".encode())

    def remove(self, device: str) -> bool:
        """End a cordon; returns whether there was one. Raises StateError."""
        if device not in self.all():
            return False
        with self._alone():
            return remove_durably(self._folder / device)

    def _why(self, device: str) -> str:
        return one_line((read_own(self._folder / device) or b"").decode(errors="replace"))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other commands away; the driver itself only reads."""
        path = self._folder / _LOCK
        descriptor = try_lock(path)
        if descriptor is None:
            raise StateError(f"{path} is locked: another command changes the cordons now", cure="try again")
        try:
            yield
        finally:
            os.close(descriptor)


class CordonTaints:
    """The taints of cordoned devices, a source of the reconciler's; logs what changed since its last look."""

    def __init__(self, cordons: FileCordons, driver: str) -> None:
        self._cordons, self._driver = cordons, driver
        self._told: Mapping[str, str] = {}

    def __call__(self, _hardware: Mapping[str, Any]) -> Taints:
        """Return device -> taint. Raises StateError."""
        cordoned = self._cordons.all()
        self._tell(cordoned)
        return {device: (cordoned_taint(self._driver, why),) for device, why in cordoned.items()}

    def _tell(self, cordoned: Mapping[str, str]) -> None:
        for device, why in cordoned.items():
            if self._told.get(device) != why:
                _log.info("%s is cordoned: no new claim gets it%s", device, f": {why}" if why else "")
        for device in sorted(self._told.keys() - cordoned.keys()):
            _log.info("%s is no longer cordoned", device)
        self._told = cordoned


def one_line(text: str) -> str:
    """Return what people typed as one short line that can be printed."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:_LONGEST_REASON]
