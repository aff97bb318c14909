"""What the library HLML answers on a simulated machine: a folder ``hlml`` beside ``sys``, one file for each fact.

=============================================  ==========================================================
file                                           what the library answers
=============================================  ==========================================================
``devices/<bdf>/index``, ``minor``             number of the device's nodes
``devices/<bdf>/serial``, ``uuid``             text; no file = the library has no data
``devices/<bdf>/module_id``, ``name``          place on the board, product
``devices/<bdf>/memory_total``                 bytes
``devices/<bdf>/events``                       masks of events, a line each; who adds one makes it happen
``fail/<function>``                            what that function returns, of any device
``fail/<function>@<bdf>``                      what it returns of one device
=============================================  ==========================================================

All of it may be changed at any time. A device is there while its kernel driver is bound; what was injected goes when
the machine starts again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dra_common.simulate import Function, Machine

from gaudi_driver.products import product
from gaudi_driver.simulation.board import Board
from gaudi_driver.simulation.details import details_of

FOLDER = "hlml"
_DEVICES = "devices"
_PARTS = ".parts"
"""Where folders are made and unmade, so that a reader sees a device whole or not at all."""


def clear(machine: Machine) -> None:
    """Begin with no devices and no failures."""
    folder = machine.root / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    (folder / _DEVICES).mkdir(parents=True)
    (folder / _PARTS).mkdir()


def add(machine: Machine, function: Function, board: Board, index: int) -> None:
    """Let the library know a device that has a serial number, until the function loses its driver."""
    if not details_of(function).serial:
        return
    folder = machine.root / FOLDER
    part, place = folder / _PARTS / function.bdf, folder / _DEVICES / function.bdf
    part.mkdir()
    for name, text in _facts(function, board, index).items():
        (part / name).write_text(text and f"{text}\n", encoding="utf-8")
    part.rename(place)
    machine.on_release(function, lambda: _remove(place, part))


def _facts(function: Function, board: Board, index: int) -> Mapping[str, str]:
    details = details_of(function)
    memory = details.memory
    if memory is None:
        memory = (product(function.spec.device).memory_mib or 0) << 20
    known = {
        "index": str(index),
        "minor": str(index),
        "serial": details.serial,
        "uuid": details.uuid,
        "module_id": str(details.module_id),
        "name": board.card,
        "memory_total": str(memory or ""),
    }
    return {name: text for name, text in known.items() if text} | {"events": ""}


def _remove(place: Path, part: Path) -> None:
    # Whoever changes files here may have removed it.
    with suppress(FileNotFoundError):
        place.rename(part)
    shutil.rmtree(part, ignore_errors=True)
