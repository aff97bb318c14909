"""The management library of a simulated machine: a folder, which other processes may change at any moment.

.. code-block:: text

    devices/<bdf>/{index,serial,uuid,module_id,minor,name,memory_total}   a file that is missing = no data
    devices/<bdf>/events           lines, each the bits of an event in decimal; appended
    fail/<function>[@<bdf>]        what hlml_<function> returns instead, for all devices or for one
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gaudi_driver.hlml.library import NOT_FOUND, TIMEOUT, HlmlError, Occurrence, refused

_UNINITIALIZED: Final = 1
_INVALID: Final = 2
_TWICE: Final = 5
_NO_DATA: Final = 21
_EVERY: Final = 0.1
"""Seconds between two looks for events."""


@dataclass(slots=True)
class _Registered:
    """What a set has of a device: which events, and how many bytes of the file were read."""

    mask: int
    read: int


@dataclass(slots=True)
class _Set:
    devices: dict[str, _Registered] = field(default_factory=dict)


class SimulatedLibrary:
    """:class:`~gaudi_driver.hlml.library.Library` of a folder. Raises HlmlError if it is not there.

    Args:
        folder: ``hlml`` of a simulated machine.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            cure = "use a simulated machine with Gaudis, or --health-sources sysfs"
            raise HlmlError(
                f"the simulated machine has no management library: {folder} is missing", cure=cure
            )
        self._folder = folder
        self._begun = False
        self._bdfs: list[str] = []
        self._sets: dict[int, _Set] = {}

    def init(self) -> None:
        """Begin."""
        self._check("init")
        if self._begun:
            raise refused("init", _TWICE)
        self._begun = True

    def shutdown(self) -> None:
        """End."""
        self._check("shutdown")
        self._begun = False
        self._sets.clear()

    def device_get_count(self) -> int:
        """Return how many devices there are."""
        self._check("device_get_count")
        return len(self._devices())

    def device_get_handle_by_index(self, index: int) -> int:
        """Return a handle by number."""
        function = "device_get_handle_by_index"
        self._check(function)
        for bdf in self._devices():
            if self._text(bdf, "index") == str(index):
                self._check(function, bdf)
                return self._handle(bdf)
        raise refused(function, NOT_FOUND, f"device {index}")

    def device_get_handle_by_pci_bus_id(self, address: str) -> int:
        """Return a handle by PCI address."""
        function = "device_get_handle_by_pci_bus_id"
        self._check(function, address)
        if address not in self._devices():
            raise refused(function, NOT_FOUND, address)
        return self._handle(address)

    def device_get_pci_info(self, handle: int) -> str:
        """Return the PCI address of a device."""
        return self._device("device_get_pci_info", handle)

    def device_get_serial(self, handle: int) -> str:
        """Return the serial number of a device."""
        return self._fact("device_get_serial", handle, "serial")

    def device_get_uuid(self, handle: int) -> str:
        """Return the UUID of a device."""
        return self._fact("device_get_uuid", handle, "uuid")

    def device_get_module_id(self, handle: int) -> int:
        """Return the place of a device on its board."""
        return self._number("device_get_module_id", handle, "module_id")

    def device_get_memory_info(self, handle: int) -> int:
        """Return the memory of a device in bytes."""
        return self._number("device_get_memory_info", handle, "memory_total")

    def event_set_create(self) -> int:
        """Return a new set of events."""
        self._check("event_set_create")
        number = len(self._sets) + 1
        self._sets[number] = _Set()
        return number

    def device_register_events(self, handle: int, mask: int, events: int) -> None:
        """Let a set have these events of a device."""
        bdf = self._device("device_register_events", handle)
        self._set("device_register_events", events).devices[bdf] = _Registered(mask, len(self._events(bdf)))

    def event_set_wait(self, events: int, milliseconds: int) -> Occurrence:
        """Return the next event of a set."""
        until = time.monotonic() + milliseconds / 1000
        while True:
            self._check("event_set_wait")
            found = self._next(self._set("event_set_wait", events))
            if found is not None:
                return found
            if (left := until - time.monotonic()) <= 0:
                raise refused("event_set_wait", TIMEOUT)
            time.sleep(min(left, _EVERY))

    def event_set_free(self, events: int) -> None:
        """Forget a set."""
        self._check("event_set_free")
        self._set("event_set_free", events)
        del self._sets[events]

    # ------------------------------------------------------------------ the folder

    def _check(self, function: str, bdf: str = "") -> None:
        """Raise what the folder says that this function returns, or that nothing was begun."""
        for name in (f"{function}@{bdf}" if bdf else function, function):
            said = _read(self._folder / "fail" / name)
            if said is not None and said.strip() not in {"", "0"}:
                raise refused(function, int(said), bdf)
        if function != "init" and not self._begun:
            raise refused(function, _UNINITIALIZED, bdf)

    def _devices(self) -> list[str]:
        try:
            names = sorted(entry.name for entry in (self._folder / "devices").iterdir())
        except FileNotFoundError:
            return []
        return [name for name in names if not name.startswith(".")]

    def _handle(self, bdf: str) -> int:
        if bdf not in self._bdfs:
            self._bdfs.append(bdf)
        return self._bdfs.index(bdf) + 1

    def _device(self, function: str, handle: int) -> str:
        """Return the address of a handle, unless the function is to fail for it."""
        bdf = self._bdfs[handle - 1] if 0 < handle <= len(self._bdfs) else ""
        self._check(function, bdf)
        if not bdf:
            raise refused(function, _INVALID)
        return bdf

    def _set(self, function: str, number: int) -> _Set:
        if number not in self._sets:
            raise refused(function, _INVALID)
        return self._sets[number]

    def _text(self, bdf: str, name: str) -> str | None:
        said = _read(self._folder / "devices" / bdf / name)
        return None if said is None else said.strip()

    def _fact(self, function: str, handle: int, name: str) -> str:
        bdf = self._device(function, handle)
        said = self._text(bdf, name)
        if said is None:
            raise refused(function, _NO_DATA, bdf)
        return said

    def _number(self, function: str, handle: int, name: str) -> int:
        return int(self._fact(function, handle, name))

    def _events(self, bdf: str) -> str:
        return _read(self._folder / "devices" / bdf / "events") or ""

    def _next(self, events: _Set) -> Occurrence | None:
        for bdf, registered in events.devices.items():
            text = self._events(bdf)
            # A shorter file is another one.
            registered.read = registered.read if registered.read <= len(text) else 0
            while (end := text.find("\n", registered.read)) >= 0:
                mask, registered.read = int(text[registered.read : end] or "0"), end + 1
                if mask & registered.mask:
                    return Occurrence(self._handle(bdf), mask)
        return None


def _read(path: Path) -> str | None:
    """Return the text of a file, None if it is not there."""
    try:
        return path.read_text(encoding="ascii")
    except (FileNotFoundError, NotADirectoryError):
        return None
