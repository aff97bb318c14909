"""One life of the management library, from init to shutdown: devices are looked at, and events waited for."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Self, TypeVar

from dra_common.pci import is_bdf

from gaudi_driver.hlml.incidents import EVENTS
from gaudi_driver.hlml.library import (
    ALREADY_INITIALIZED,
    CRITICAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    NOT_SUPPORTED,
    TIMEOUT,
    HlmlError,
    Library,
)

_log = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_DEVICES: Final = 128
_LONGEST: Final = 64
"""Characters that an attribute may have."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found of one device; what is not known is empty, or 0.

    Args:
        trouble: why its events are not heard, empty if they are.
    """

    serial: str = ""
    uuid: str = ""
    module_id: int | None = None
    memory: int = 0
    trouble: str = ""

    @property
    def where(self) -> str:
        """What a person finds the device by on its server."""
        parts = [f"serial {self.serial}"] if self.serial else []
        return ", ".join(parts if self.module_id is None else [*parts, f"module {self.module_id}"])


class Session:
    """A context manager around the library; entered, it is initialized. Used by one thread.

    What fails for one device is said of that device. What concerns all raises HlmlError: init, the number of devices,
    and waiting for events.

    Args:
        library: used by nobody else.
        at: is told of every step before it begins, since it may never end.
    """

    def __init__(self, library: Library, at: Callable[[str], None]) -> None:
        self._library, self._at = library, at
        self._events: int | None = None
        self._deaf: HlmlError | None = None
        self._watched: dict[str, int] = {}
        self._strays: set[int] = set()

    def __enter__(self) -> Self:
        self._at("hlml_init")
        try:
            self._library.init()
        except HlmlError as error:
            if error.code != ALREADY_INITIALIZED:
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._events is not None:
            self._at("hlml_event_set_free")
            with contextlib.suppress(HlmlError):
                self._library.event_set_free(self._events)
        self._at("hlml_shutdown")
        with contextlib.suppress(HlmlError):
            self._library.shutdown()

    @property
    def hears(self) -> bool:
        """Whether there is anything to be waited for: an event of a device, or an error."""
        return bool(self._watched or self._deaf)

    def look(self, bound: Collection[str], before: Mapping[str, Seen]) -> dict[str, Seen]:
        """Return what is found, by PCI address; of what cannot be read now, what was read before. Raises HlmlError.

        That there is no set of events is raised by :meth:`wait`: who a device is can be told without.

        Args:
            bound: devices that are asked for by their address if they have no number.
            before: what the last look found.
        """
        handles, failed = self._handles(bound)
        self._create()
        found = {address: self._seen(address, handle, before) for address, handle in handles.items()}
        return found | {address: Seen(trouble=why) for address, why in failed.items() if address not in found}

    def wait(self, milliseconds: int) -> tuple[str, int] | None:
        """Return the next event, by the device's address, and its bits; None if there is none. Raises HlmlError.

        Only after a look.
        """
        if self._deaf is not None or self._events is None:
            raise self._deaf or HlmlError("nobody has looked at the devices yet")
        self._at("hlml_event_set_wait")
        try:
            happened = self._library.event_set_wait(self._events, milliseconds)
        except HlmlError as error:
            if error.code == TIMEOUT:
                return None
            raise
        if address := self._address(happened.handle):
            return address, happened.mask
        if happened.mask not in self._strays:
            self._strays.add(happened.mask)
            _log.warning("HLML: an event (bits %#x) of a device that it does not name", happened.mask)
        return None

    def _create(self) -> None:
        if self._events is None:
            self._at("hlml_event_set_create")
            try:
                self._events = self._library.event_set_create()
            except HlmlError as error:
                self._deaf = error

    # ------------------------------------------------------------------ one device

    def _handles(self, bound: Collection[str]) -> tuple[dict[str, int], dict[str, str]]:
        """Return handles by address, and what is wrong with bound devices that have none."""
        self._at("hlml_device_get_count")
        count = min(self._library.device_get_count(), _MOST_DEVICES)
        handles: dict[str, int] = {}
        for index in range(count):
            self._at(f"the look at device {index}")
            with contextlib.suppress(HlmlError):
                handle = self._library.device_get_handle_by_index(index)
                handles[_as_sysfs(self._library.device_get_pci_info(handle))] = handle
        handles.pop("", None)
        failed: dict[str, str] = {}
        for address in sorted(set(bound) - set(handles)):
            self._at(f"the look at {address}")
            try:
                handles[address] = self._library.device_get_handle_by_pci_bus_id(address)
            except HlmlError as error:
                # Not all that the kernel driver is bound to has to be the library's business.
                if error.code != NOT_FOUND:
                    failed[address] = error.message
        return handles, failed

    def _seen(self, address: str, handle: int, before: Mapping[str, Seen]) -> Seen:
        self._at(f"the look at {address}")
        library, known = self._library, before.get(address, Seen())
        return Seen(
            _tidy(_ask(library.device_get_serial, handle, "")) or known.serial,
            _tidy(_ask(library.device_get_uuid, handle, "")) or known.uuid,
            _ask(library.device_get_module_id, handle, known.module_id),
            _ask(library.device_get_memory_info, handle, 0) or known.memory,
            self._watch(address, handle),
        )

    def _watch(self, address: str, handle: int) -> str:
        """Hear of a device's events, once; returns why not."""
        if self._events is None:
            return self._deaf.message if self._deaf else ""
        if address not in self._watched:
            try:
                self._register(handle, self._events)
            except HlmlError as error:
                return error.message
        self._watched[address] = handle
        return ""

    def _register(self, handle: int, events: int) -> None:
        try:
            self._library.device_register_events(handle, EVENTS, events)
        except HlmlError as error:
            if error.code not in {INVALID_ARGUMENT, NOT_SUPPORTED}:
                raise
            # An older library knows fewer events.
            self._library.device_register_events(handle, CRITICAL, events)

    def _address(self, handle: int) -> str:
        """Return whose handle it is, "" if nobody can tell."""
        for address, known in self._watched.items():
            if known == handle:
                return address
        return _as_sysfs(_ask(self._library.device_get_pci_info, handle, "")) if handle else ""


def _ask(question: Callable[[int], T], handle: int, otherwise: T) -> T:
    try:
        return question(handle)
    except HlmlError:
        return otherwise


def _tidy(text: str) -> str:
    """Return a text that may be published, "" if it is none."""
    text = text.strip()
    return text if text.isascii() and text.isprintable() and len(text) <= _LONGEST else ""


def _as_sysfs(text: str) -> str:
    """Return a PCI address as sysfs writes it, "" if it is none; the domain may be missing."""
    address = text.strip().lower()
    address = f"0000:{address}" if address.count(":") == 1 else address
    return address if is_bdf(address) else ""
