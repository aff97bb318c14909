"""What the driver asks of Habana's management library, ``libhlml.so``, and how it says no.

Sources: the functions, types and numbers of ``hlml.h``, which Habana's firmware tools install. Of the interface only
facts are used: names of functions, order and size of arguments, meaning of numbers. Nothing of the library or of its
header is part of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from dra_common.errors import DraError

SUCCESS: Final = 0
INVALID_ARGUMENT: Final = 2
NOT_SUPPORTED: Final = 3
ALREADY_INITIALIZED: Final = 5
NOT_FOUND: Final = 6
TIMEOUT: Final = 10

ECC_DOUBLE: Final = 1 << 0
"""Event: memory bits that error correction could not put right."""
CRITICAL: Final = 1 << 1
"""Event: an error after which the device has to be reset."""
DRAM: Final = 1 << 3
"""Event: an error of the device's memory."""

CODES: Final[Mapping[int, str]] = {
    1: "uninitialized",
    INVALID_ARGUMENT: "invalid argument",
    NOT_SUPPORTED: "not supported",
    ALREADY_INITIALIZED: "already initialized",
    NOT_FOUND: "not found",
    7: "insufficient size",
    9: "driver not loaded",
    TIMEOUT: "timeout",
    15: "device lost",
    20: "memory",
    21: "no data",
    49: "unknown",
}
"""What the numbers mean that a function may return instead of 0; each function may return each."""

UPDATE: Final = "update Habana's firmware tools on the host"
"""What to do about a library that is too old."""
_CURES: Final[Mapping[int, str]] = {
    NOT_SUPPORTED: UPDATE,
    7: UPDATE,
    9: "load the kernel module habanalabs on the host",
    15: "look at the host's kernel log: the device may have to be reset or replaced",
}
_CURE = "it is tried again; if it stays, compare with hl-smi and the kernel log of the host"


class HlmlError(DraError):
    """The management library is not there, or a function of it failed; ``code`` is what it returned, None = nothing."""

    def __init__(self, message: str, *, cure: str = "", code: int | None = None) -> None:
        super().__init__(message, cure=cure)
        self.code = code


def refused(function: str, code: int, device: str = "") -> HlmlError:
    """Return the error of a function (named without ``hlml_``) that returned something else than 0."""
    of = f" of {device}" if device else ""
    meaning = CODES.get(code, "a number without a known meaning")
    return HlmlError(
        f"hlml_{function}{of} returned {code}: {meaning}", cure=_CURES.get(code, _CURE), code=code
    )


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One event: a device's handle, and what happened as bits."""

    handle: int
    mask: int


class Library(Protocol):
    """The functions that are used, by their names without ``hlml_``. Each raises HlmlError; none is called in parallel.

    A handle is a number that means nothing. Texts are as the library has them.
    """

    def init(self) -> None:
        """Begin; before all others."""

    def shutdown(self) -> None:
        """End; handles and event sets mean nothing any more."""

    def device_get_count(self) -> int:
        """Return how many devices there are."""

    def device_get_handle_by_index(self, index: int) -> int:
        """Return the handle of a device by its number, from 0."""

    def device_get_handle_by_pci_bus_id(self, address: str) -> int:
        """Return the handle of a device by its PCI address, ``0000:43:00.0``."""

    def device_get_pci_info(self, handle: int) -> str:
        """Return the PCI address of a device."""

    def device_get_serial(self, handle: int) -> str:
        """Return the serial number of a device, ``AM50016138``."""

    def device_get_uuid(self, handle: int) -> str:
        """Return the UUID of a device, ``01P0-HL2080A0-15-TF8A81-09-07-06``."""

    def device_get_module_id(self, handle: int) -> int:
        """Return the place of a device on its server's board, 0 to 7."""

    def device_get_memory_info(self, handle: int) -> int:
        """Return the memory of a device, used or not, in bytes."""

    def event_set_create(self) -> int:
        """Return a new, empty set of events."""

    def device_register_events(self, handle: int, mask: int, events: int) -> None:
        """Let a set have these events of a device from now on."""

    def event_set_wait(self, events: int, milliseconds: int) -> Occurrence:
        """Return the next event of a set; code TIMEOUT if none came in time."""

    def event_set_free(self, events: int) -> None:
        """Forget a set."""
