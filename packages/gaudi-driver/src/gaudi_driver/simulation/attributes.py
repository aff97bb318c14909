"""The attributes of a Gaudi (ABI document sysfs-driver-habanalabs, ``drivers/accel/habanalabs/common/sysfs.c``).

A real kernel refuses to read ``max_power`` and the clocks (ENODEV) while the device is not operational; here they keep
saying what they said, and only writing is refused. No change of the status sends a uevent, and no reset does.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from functools import partial

from dra_common.simulate import Function, Machine, parse_unsigned, refuse

from gaudi_driver.simulation.board import Board, device_type, firmware
from gaudi_driver.simulation.details import details_of

OPERATIONAL = "Operational"
CREATION = "In device creation"
_IN_RESET = "In reset"
_DISABLED = "Disabled"
_DEAF = frozenset({CREATION, _IN_RESET, "In reset after device release"})
"""Whoever wants a reset now is not heard, and not told so."""

_PAGE_SIZE = 4096
_EARLY = frozenset({"status", "pci_addr", "device_type", "parent_device"})
"""What needs no firmware."""


def add(
    machine: Machine, function: Function, folder: str, board: Board, more: Mapping[str, str] | None = None
) -> None:
    """Add all attributes in ``folder``, but not those that the profile leaves out.

    Args:
        machine: where.
        function: whose.
        folder: of the PCI function, or of the class device.
        board: what it is.
        more: those of a variant of the kernel driver.
    """
    details = details_of(function)
    early = details.status == CREATION

    def wanted(name: str) -> bool:
        return name not in details.silent and (not early or name in _EARLY)

    for name, text in {**_texts(function, board), **(more or {})}.items():
        if wanted(name):
            machine.add_file(f"{folder}/{name}", text, owner=function)
    for name, (text, store) in _writable(machine, function, folder, board).items():
        if wanted(name):
            machine.add_file(f"{folder}/{name}", text, store=store, owner=function)
    if wanted("hard_reset"):
        reset = partial(_store_reset, machine, function, folder)
        machine.add_file(f"{folder}/hard_reset", "", store=reset, mode=0o200, owner=function)
    if wanted("eeprom"):
        machine.add_sparse(f"{folder}/eeprom", _PAGE_SIZE, owner=function)


def _texts(function: Function, board: Board) -> Mapping[str, str]:
    details = details_of(function)
    return {
        "status": details.status,
        "pci_addr": function.bdf,
        "parent_device": function.bdf,
        "device_type": details.device_type or device_type(function, board),
        "module_id": str(details.module_id),
        "security_enabled": "1",
        "hard_reset_cnt": "0",
        "clk_cur_freq_mhz": "200",
        "cpld_ver": "0x0000000d",
        "fuse_ver": "01P0-HL2080A0-15-TF8A81",
        "thermal_ver": "",
        # Kernels before 6.3 call it after the maker.
        "infineon_ver" if details.layout == "habanalabs" else "vrm_ver": "0x10",
        **firmware(board, details.firmware),
    }


def _writable(
    machine: Machine, function: Function, folder: str, board: Board
) -> Mapping[str, tuple[str, Callable[[str], None]]]:
    texts = {"clk_max_freq_mhz": str(board.clock), "max_power": str(board.power)}
    return {
        name: (text, partial(_store_number, machine, function, folder, name)) for name, text in texts.items()
    }


def _store_number(machine: Machine, function: Function, folder: str, name: str, text: str) -> None:
    if _status(machine, folder) != OPERATIONAL:
        raise refuse(errno.ENODEV, f"{function.bdf} is not operational")
    machine.set_file(f"{folder}/{name}", str(parse_unsigned(text, 64)))


def _store_reset(machine: Machine, function: Function, folder: str, text: str) -> None:
    """Reset, whatever number is written. A real kernel's write returns first; the end of this one is the profile's."""
    parse_unsigned(text, 64)
    if _status(machine, folder) in _DEAF:
        return
    machine.set_file(f"{folder}/status", _IN_RESET)
    end = details_of(function).reset
    if end == "hangs":
        return
    count = f"{folder}/hard_reset_cnt"
    if machine.sys.exists(count):
        machine.set_file(count, str(int(machine.sys.read(count)) + 1))
    machine.set_file(f"{folder}/status", OPERATIONAL if end == "works" else _DISABLED)


def _status(machine: Machine, folder: str) -> str:
    path = f"{folder}/status"
    return machine.sys.read(path) if machine.sys.exists(path) else ""
