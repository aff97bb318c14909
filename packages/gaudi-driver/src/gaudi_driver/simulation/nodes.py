"""Class devices and nodes, which kernels and packages have put in three places.

================  ===================================  =======================================
layout            device of computing                  its attributes
================  ===================================  =======================================
``accel``         ``<PCI function>/accel/accelN``      in the folder of the PCI function
``virtual``       ``devices/virtual/accel/accelN``     in a folder ``device`` below that
``habanalabs``    ``devices/virtual/habanalabs/hlN``   right below that
================  ===================================  =======================================

The first is what the kernel's accelerators give to mainline and to out-of-tree modules alike; without them the module
has one major for both devices, two numbers each. The control device has no parent in any of them, so there is no link
``device`` in its folder.
"""

from __future__ import annotations

from dataclasses import dataclass

from dra_common.simulate import VIRTUAL, Function, Machine

from gaudi_driver.simulation.details import details_of

ACCEL_MAJOR = 261
"""Of the kernel's accelerators (``drm_accel.h``)."""
_OWN_MAJOR = 508
"""One of those that Linux gives to whoever asks for any, as the module does for itself."""

Numbers = tuple[int, int]
"""Major and minor."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What was added: the number of the nodes, and the folder for attributes."""

    index: int
    folder: str


def add(machine: Machine, function: Function) -> Devices:
    """Add both devices and their nodes, as the layout of the profile says."""
    details = details_of(function)
    index, layout = machine.allocate("accel", details.index or 0, owner=function), details.layout
    if layout == "accel":
        _add(machine, function, "accel", f"accel{index}", (ACCEL_MAJOR, index), function.folder)
        _add(machine, function, "accel", f"accel_controlD{index}", (_OWN_MAJOR, index))
        return Devices(index, function.folder)
    subsystem, prefix = ("accel", "accel") if layout == "virtual" else ("habanalabs", "hl")
    folder = _add(machine, function, subsystem, f"{prefix}{index}", (_OWN_MAJOR, 2 * index))
    _add(machine, function, subsystem, f"{prefix}_controlD{index}", (_OWN_MAJOR, 2 * index + 1))
    return Devices(index, f"{folder}/device" if layout == "virtual" else folder)


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
