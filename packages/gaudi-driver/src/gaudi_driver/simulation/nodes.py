"""Class devices and nodes, which kernels and packages have put in three places.

================  ===================================  =======================================
layout            device of computing                  its attributes
================  ===================================  =======================================
``accel``         ``<PCI function>/accel/accelN``      in the folder of the PCI function
``virtual``       ``devices/virtual/accel/accelN``     in a folder ``device`` below that
``habanalabs``    ``devices/virtual/habanalabs/hlN``   right below that
================  ===================================  =======================================

The control device has no parent in any of them, so there is no link ``device`` in its folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dra_common.simulate import VIRTUAL, Function, Machine

from gaudi_driver.simulation.details import details_of

ACCEL_MAJOR = 261
"""Of the kernel's accelerators (``drm_accel.h``)."""
_OWN_MAJOR = 508
"""One of those that Linux gives to whoever asks for any."""

Numbers = tuple[int, int]
"""Major and minor."""

Pair = tuple[Numbers, Numbers]
"""Those of the device of computing and of the control device."""


def mainline(index: int) -> Pair:
    """The accelerators' major; the control devices have another one for themselves."""
    return (ACCEL_MAJOR, index), (_OWN_MAJOR, index)


def out_of_tree(index: int) -> Pair:
    """One major for both, which the kernel gives when the module is loaded."""
    return (_OWN_MAJOR, 2 * index), (_OWN_MAJOR, 2 * index + 1)


@dataclass(frozen=True, slots=True)
class Devices:
    """What was added: the number of the nodes, and the folder for attributes."""

    index: int
    folder: str


def add(machine: Machine, function: Function, numbers: Callable[[int], Pair]) -> Devices:
    """Add both devices and their nodes, as the layout of the profile says."""
    details = details_of(function)
    index, layout = machine.allocate("accel", details.index or 0, owner=function), details.layout
    dev, control = numbers(index) if layout == "accel" else out_of_tree(index)
    if layout == "habanalabs":
        folder = _add(machine, function, "habanalabs", f"hl{index}", dev)
        _add(machine, function, "habanalabs", f"hl_controlD{index}", control)
        return Devices(index, folder)
    if layout == "virtual":
        folder = f"{_add(machine, function, 'accel', f'accel{index}', dev)}/device"
    else:
        _add(machine, function, "accel", f"accel{index}", dev, function.folder)
        folder = function.folder
    _add(machine, function, "accel", f"accel_controlD{index}", control)
    return Devices(index, folder)


def _add(
    machine: Machine, function: Function, subsystem: str, name: str, dev: Numbers, parent: str = VIRTUAL
) -> str:
    return machine.add_class_device(
        parent,
        subsystem,
        name,
        dev=dev,
        devname=f"accel/{name}" if subsystem == "accel" else name,
        devtype="accel_minor" if dev[0] == ACCEL_MAJOR else "",
        node_mode=0o666,
        owner=function,
    )
