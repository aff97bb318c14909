"""What the kernel driver and the firmware say of each generation of boards.

Sources: ``habanalabs_drv.c``, ``sysfs.c`` and the files of each generation in ``drivers/accel/habanalabs``; the tools'
listing of a Gaudi2. Texts of Gaudi and Gaudi3 follow it; their clocks are made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dra_common.simulate import Function

from gaudi_driver.products import UNKNOWN, product


@dataclass(frozen=True, slots=True)
class Board:
    """One generation.

    Args:
        kind: its name in the texts of the firmware.
        card: the product's name, ``HL-225``.
        clock: most MHz.
        power: most milliwatts.
        ports: numbers of the ports that lead out of the server.
        speed: of a port in Mbit/s.
    """

    kind: str
    card: str
    clock: int
    power: int
    ports: tuple[int, ...]
    speed: int


_BOARDS: Mapping[str, Board] = {
    "Gaudi": Board("gaudi", "HL-205", 2000, 350_000, (1, 8, 9), 100_000),
    "Gaudi2": Board("gaudi2", "HL-225", 1650, 600_000, (8, 22, 23), 100_000),
    "Gaudi3": Board("gaudi3", "HL-325", 1600, 900_000, (8, 22, 23), 200_000),
}
_SECURED = frozenset({"0x1010", "0x1011"})
_REVISIONS = {"0x02": "B", "0x03": "C", "0x04": "D"}
"""Revisions of Gaudi2 that have a name of their own."""


def board_of(function: Function) -> Board | None:
    """Return what the device id stands for; None = no variant of the driver knows it."""
    model = product(function.spec.device).model
    return None if model == UNKNOWN else _BOARDS[model]


def device_type(function: Function, board: Board) -> str:
    """Return what ``device_type`` says."""
    name = board.kind.upper()
    if function.spec.device in _SECURED:
        return f"{name} SEC"
    return name + (_REVISIONS.get(function.spec.revision, "") if board.kind == "gaudi2" else "")


def firmware(board: Board, version: str) -> Mapping[str, str]:
    """Return attribute -> text for what runs on the device. Gaudi has no operating system of its own to tell of."""
    full = f"hl-{board.kind}-{version}"
    linux = f"Linux {board.kind} 5.10.18-{full} #1 SMP PREEMPT Thu Oct 12 22:23:07 IDT 2023 aarch64 GNU/Linux"
    system = "" if board.kind == "gaudi" else f"Zephyr 2.7.2-{full} (Oct 12 2023 - 22:14:47)"
    return {
        "armcp_kernel_ver": linux,
        "armcp_ver": full,
        "cpucp_kernel_ver": linux,
        "cpucp_ver": full,
        "fw_os_ver": system,
        "preboot_btl_ver": f"Preboot version {full} (Oct 12 2023 - 22:14:34)",
        "uboot_ver": f"U-Boot 2021.04-{full} (Oct 12 2023 - 22:22:29 +0300) build#: 10814",
    }
