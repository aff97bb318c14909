"""The attributes of the PCI bus and of its drivers, from ``bind`` to ``drivers_probe``.

Errnos are those of ``drivers/base/bus.c`` and ``drivers/pci/pci-driver.c``.
"""

from __future__ import annotations

import errno
from functools import partial

from dra_common.simulate import binding, synthetic
from dra_common.simulate.dynamic_id import DynamicId
from dra_common.simulate.errnos import parse_unsigned, refuse
from dra_common.simulate.function import Function
from dra_common.simulate.kernel_driver import KernelDriver
from dra_common.simulate.machine import Machine, Store

_BUS = "bus/pci"


def make(machine: Machine, rescan: Store) -> None:
    """Add the bus's own files; ``rescan`` looks for functions again."""
    machine.rescan = partial(_rescan, rescan)
    machine.sys.make_folder(f"{_BUS}/devices")
    machine.sys.make_folder(f"{_BUS}/drivers")
    machine.add_file(f"{_BUS}/drivers_probe", "", store=partial(_drivers_probe, machine), mode=0o200)
    machine.add_file(f"{_BUS}/drivers_autoprobe", "1", store=partial(_drivers_autoprobe, machine))
    machine.add_file(f"{_BUS}/rescan", "", store=machine.rescan, mode=0o200)


def load(machine: Machine, driver: KernelDriver) -> None:
    """Register a kernel driver: its folder, its files, its module."""
    folder = f"{_BUS}/drivers/{driver.name}"
    machine.drivers[driver.name] = driver
    machine.dynamic_ids[driver.name] = []
    stores: dict[str, Store] = {
        "bind": partial(_bind, machine, driver),
        "unbind": partial(_unbind, machine, driver),
        "new_id": partial(_new_id, machine, driver),
        "remove_id": partial(_remove_id, machine, driver),
        "uevent": partial(_driver_uevent, machine, folder),
    }
    for name, store in stores.items():
        machine.add_file(f"{folder}/{name}", "", store=store, mode=0o200)
    machine.sys.make_folder(f"module/{driver.module}")
    machine.add_link(f"{folder}/module", f"module/{driver.module}")
    driver.load(machine)


def _find(machine: Machine, text: str) -> Function:
    bdf = text.removesuffix("\n")
    function = machine.functions.get(bdf)
    if function is None:
        raise refuse(errno.ENODEV, f"no device {bdf!r}")
    return function


def _bind(machine: Machine, driver: KernelDriver, text: str) -> None:
    binding.bind(machine, driver, _find(machine, text))


def _unbind(machine: Machine, driver: KernelDriver, text: str) -> None:
    function = _find(machine, text)
    if function.driver is not driver:
        raise refuse(errno.ENODEV, f"{function.bdf} is not bound to {driver.name}")
    binding.unbind(machine, function)


def _drivers_probe(machine: Machine, text: str) -> None:
    # Success says nothing about a driver having been found.
    binding.attach(machine, _find(machine, text))


def _drivers_autoprobe(machine: Machine, text: str) -> None:
    # Without consequences for devices: the PCI core offers a new function to the drivers whatever this says.
    machine.set_file(f"{_BUS}/drivers_autoprobe", str(int(not text.startswith("0"))))


def _rescan(rescan: Store, text: str) -> None:
    if parse_unsigned(text, 64):
        rescan(text)


def _new_id(machine: Machine, driver: KernelDriver, text: str) -> None:
    fresh = DynamicId.parse(text)
    if binding.matches(machine, driver, fresh.imagined()):
        raise refuse(errno.EEXIST, f"{driver.name} has {text!r}")
    machine.dynamic_ids[driver.name].append(fresh)
    # The driver is offered everything it matches, by whichever of its ids.
    for function in tuple(machine.functions.values()):
        if function.driver is None:
            binding.attach_one(machine, driver, function)


def _remove_id(machine: Machine, driver: KernelDriver, text: str) -> None:
    gone = DynamicId.parse(text)
    known = machine.dynamic_ids[driver.name]
    kept = [entry for entry in known if (entry.vendor, entry.device) != (gone.vendor, gone.device)]
    if len(kept) == len(known):
        raise refuse(errno.ENODEV, f"{driver.name} has no {text!r}")
    machine.dynamic_ids[driver.name] = kept


def _driver_uevent(machine: Machine, folder: str, text: str) -> None:
    action, more = synthetic.parse(text)
    machine.emit(action, folder, "drivers", more)
