"""The management library itself, called by ctypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes import (
    CDLL,
    POINTER,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_uint,
    c_ulonglong,
    c_void_p,
    create_string_buffer,
)
from pathlib import Path
from typing import Any, ClassVar, Final

from gaudi_driver.hlml.library import SUCCESS, UPDATE, HlmlError, Occurrence, refused

NAME: Final = "libhlml.so"
FOLDERS: Final = ("/usr/lib/habanalabs", "/usr/local/lib/habanalabs", "/host/usr/lib/habanalabs")
"""Where the library is looked for, first of all; then where the system's loader knows it."""

_TEXT: Final = 256
"""Bytes for a text; the header's own limit is 32, and may grow."""
_ADDRESS: Final = 19
"""Bytes of a PCI address with its zero byte: 19 in newer headers, 15 in older ones, which nothing shorter follows."""

ABSENT_CURE: Final = (
    "install Habana's firmware tools on the host, or mount its /usr/lib/habanalabs into the driver's container in the"
    " same place, or do without them: --health-sources sysfs"
)


class _PciInfo(Structure):
    """The beginning is the same in all releases; what follows has grown, for which there is room."""

    bus_id: bytes
    _fields_: ClassVar = [("bus", c_uint), ("bus_id", c_char * _ADDRESS), ("more", c_char * 233)]


class _Memory(Structure):
    """In bytes, with room for what later releases may add."""

    total: int
    _fields_: ClassVar = [
        ("free", c_ulonglong),
        ("total", c_ulonglong),
        ("used", c_ulonglong),
        ("more", c_ulonglong * 13),
    ]


class _EventData(Structure):
    """A device's handle and one or more bits, with room for what later releases may add."""

    device: int | None
    event_type: int
    _fields_: ClassVar = [("device", c_void_p), ("event_type", c_ulonglong), ("more", c_ulonglong * 14)]


_ARGUMENTS: Final[Mapping[str, tuple[Any, ...]]] = {
    "init": (),
    "shutdown": (),
    "device_get_count": (POINTER(c_uint),),
    "device_get_handle_by_index": (c_uint, POINTER(c_void_p)),
    "device_get_handle_by_pci_bus_id": (c_char_p, POINTER(c_void_p)),
    "device_get_pci_info": (c_void_p, POINTER(_PciInfo)),
    "device_get_serial": (c_void_p, c_char_p, c_uint),
    "device_get_uuid": (c_void_p, c_char_p, c_uint),
    "device_get_module_id": (c_void_p, POINTER(c_uint)),
    "device_get_memory_info": (c_void_p, POINTER(_Memory)),
    "event_set_create": (POINTER(c_void_p),),
    "device_register_events": (c_void_p, c_ulonglong, c_void_p),
    "event_set_wait": (c_void_p, POINTER(_EventData), c_uint),
    "event_set_free": (c_void_p,),
}
"""Of every function that is used; each returns a number."""


def open_library(folders: Sequence[str] = FOLDERS, name: str = NAME) -> CtypesLibrary:
    """Return the library of the first folder that has it, else the one that the loader knows. Raises HlmlError."""
    for folder in folders:
        path = Path(folder, name)
        if _is_there(path):
            return CtypesLibrary(str(path))
    try:
        return CtypesLibrary(name)
    except HlmlError:
        where = ", ".join(folders)
        raise HlmlError(
            f"there is no {name} in {where}, nor where the loader looks", cure=ABSENT_CURE
        ) from None


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # The loader tells what is wrong with it.
        pass
    return True


class CtypesLibrary:
    """:class:`~gaudi_driver.hlml.library.Library` of a file, loaded into this process.

    Args:
        path: of the file, or a name that the system's loader finds.

    Raises HlmlError if it cannot be loaded. A function that it lacks is an error of the calls of that function alone.
    """

    def __init__(self, path: str) -> None:
        try:
            self._library = CDLL(path)
        except OSError as error:
            cure = "mount the whole folder: libraries that it needs have to be there, too, for this kind of processor"
            raise HlmlError(f"{path} cannot be loaded: {error}", cure=cure) from None
        self._path = path
        self._names: dict[int, str] = {}

    def init(self) -> None:
        """Begin."""
        self._names.clear()
        self._call("init")

    def shutdown(self) -> None:
        """End."""
        self._call("shutdown")

    def device_get_count(self) -> int:
        """Return how many devices there are."""
        count = c_uint()
        self._call("device_get_count", byref(count))
        return count.value

    def device_get_handle_by_index(self, index: int) -> int:
        """Return a handle by number."""
        handle, name = c_void_p(), f"device {index}"
        self._call("device_get_handle_by_index", index, byref(handle), device=name)
        return self._known("device_get_handle_by_index", handle, name)

    def device_get_handle_by_pci_bus_id(self, address: str) -> int:
        """Return a handle by PCI address."""
        handle = c_void_p()
        self._call("device_get_handle_by_pci_bus_id", address.encode(), byref(handle), device=address)
        return self._known("device_get_handle_by_pci_bus_id", handle, address)

    def device_get_pci_info(self, handle: int) -> str:
        """Return the PCI address of a device."""
        info = _PciInfo()
        self._ask("device_get_pci_info", handle, byref(info))
        address = info.bus_id.decode(errors="replace")
        self._names[handle] = address
        return address

    def device_get_serial(self, handle: int) -> str:
        """Return the serial number of a device."""
        return self._text("device_get_serial", handle)

    def device_get_uuid(self, handle: int) -> str:
        """Return the UUID of a device."""
        return self._text("device_get_uuid", handle)

    def device_get_module_id(self, handle: int) -> int:
        """Return the place of a device on its board."""
        number = c_uint()
        self._ask("device_get_module_id", handle, byref(number))
        return number.value

    def device_get_memory_info(self, handle: int) -> int:
        """Return the memory of a device in bytes."""
        memory = _Memory()
        self._ask("device_get_memory_info", handle, byref(memory))
        return memory.total

    def event_set_create(self) -> int:
        """Return a new set of events."""
        events = c_void_p()
        self._call("event_set_create", byref(events))
        return _some("event_set_create", events)

    def device_register_events(self, handle: int, mask: int, events: int) -> None:
        """Let a set have these events of a device."""
        self._ask("device_register_events", handle, mask, events)

    def event_set_wait(self, events: int, milliseconds: int) -> Occurrence:
        """Return the next event of a set."""
        data = _EventData()
        self._call("event_set_wait", events, byref(data), milliseconds)
        return Occurrence(data.device or 0, data.event_type)

    def event_set_free(self, events: int) -> None:
        """Forget a set."""
        self._call("event_set_free", events)

    # ------------------------------------------------------------------ how a function is called

    def _known(self, function: str, handle: c_void_p, name: str) -> int:
        number = _some(function, handle)
        self._names.setdefault(number, name)
        return number

    def _text(self, function: str, handle: int) -> str:
        buffer = create_string_buffer(_TEXT)
        self._ask(function, handle, buffer, _TEXT)
        return buffer.value.decode(errors="replace")

    def _ask(self, function: str, handle: int, *arguments: Any) -> None:  # noqa: ANN401 - ctypes checks them
        self._call(function, handle, *arguments, device=self._names.get(handle, "a device"))

    def _call(self, function: str, *arguments: Any, device: str = "") -> None:  # noqa: ANN401 - ctypes checks them
        try:
            called = self._library[f"hlml_{function}"]
        except AttributeError:
            message = f"{self._path} has no function hlml_{function}"
            raise HlmlError(message, cure=UPDATE) from None
        called.argtypes, called.restype = _ARGUMENTS[function], c_int
        code = called(*arguments)
        if code != SUCCESS:
            raise refused(function, code, device)


def _some(function: str, pointer: c_void_p) -> int:
    """Return where a pointer points to; nothing that is given back to the library may be none. Raises HlmlError."""
    if not pointer.value:
        raise HlmlError(f"hlml_{function} returned 0, success, but nothing to go on with", cure=UPDATE)
    return pointer.value
