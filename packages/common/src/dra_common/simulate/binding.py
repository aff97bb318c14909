"""Which driver gets which function: the rules of the driver core and of ``pci_bus_match``.

Order of links, driver callbacks and uevents is that of ``really_probe`` and ``__device_release_driver``: the
``driver`` link comes before the probe and goes before the removal; ``bind`` and ``unbind`` are sent last, and
``unbind`` no longer says ``DRIVER``.
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from dra_common.simulate import attributes
from dra_common.simulate.errnos import refuse
from dra_common.simulate.function import Function
from dra_common.simulate.kernel_driver import KernelDriver

if TYPE_CHECKING:
    from dra_common.simulate.machine import Machine

_log = logging.getLogger(__name__)


def matches(machine: Machine, driver: KernelDriver, function: Function) -> bool:
    """Whether the PCI bus would let ``driver`` probe ``function`` (``pci_match_device``)."""
    if function.driver_override is not None:
        return function.driver_override == driver.name
    if any(dynamic.matches(function) for dynamic in machine.dynamic_ids[driver.name]):
        return True
    return not driver.override_only and driver.matches(function)


def bind(machine: Machine, driver: KernelDriver, function: Function) -> None:
    """Bind, as a write to ``drivers/<d>/bind`` does. Raises ENODEV, EBUSY, or what the probe says."""
    if not matches(machine, driver, function):
        raise refuse(errno.ENODEV, f"{function.bdf}: {driver.name} does not match")
    with machine.device_lock(function):
        if function.driver is not None:
            raise refuse(errno.EBUSY, f"{function.bdf} is bound to {function.driver.name}")
        if not _may_probe(function):
            raise refuse(errno.ENODEV, f"{function.bdf}: VFs of {_pf_name(function)} are not to be probed")
        _probe(machine, driver, function)


def force(machine: Machine, driver: KernelDriver, function: Function) -> None:
    """Bind as :func:`bind`, but as if ``sriov_drivers_autoprobe`` were on: what somebody did at an earlier time."""
    if not matches(machine, driver, function):
        raise refuse(errno.ENODEV, f"{function.bdf}: {driver.name} does not match")
    _probe(machine, driver, function)


def attach(machine: Machine, function: Function) -> None:
    """Offer the function to all loaded drivers; nothing happens when none takes it (``device_attach``)."""
    with machine.device_lock(function):
        for driver in machine.drivers.values():
            if function.driver is not None or not _may_probe(function):
                return
            attach_one(machine, driver, function)


def attach_one(machine: Machine, driver: KernelDriver, function: Function) -> None:
    """Offer the function to one driver; a probe that fails is logged by the kernel and leaves it unbound."""
    if _may_probe(function) and matches(machine, driver, function):
        try:
            _probe(machine, driver, function)
        except OSError as error:
            _log.warning("%s: probe of %s failed: %s", driver.name, function.bdf, error)


def unbind(machine: Machine, function: Function) -> None:
    """Take the driver away; its VFs go first. Nothing happens when no driver is bound.

    It returns when the driver lets go, which one of the VFIO family does when nobody uses the device any more.
    """
    with machine.device_lock(function):
        if function.driver is not None:
            _release(machine, function.driver, function)


def _release(machine: Machine, driver: KernelDriver, function: Function) -> None:
    # Order of the kernel: the link goes at once, the event comes when the driver is done.
    machine.remove(f"{function.folder}/driver")
    machine.sys.remove(f"bus/pci/drivers/{driver.name}/{function.bdf}")
    if function.num_vfs:
        machine.disable_vfs(function)
    driver.remove(machine, function)
    machine.release(function)
    function.driver = None
    if function.spec.sriov:
        machine.set_total_vfs(function, function.spec.sriov.total)
    _refresh(machine, function)
    machine.emit("unbind", function.folder, "pci", attributes.properties(function))


def _probe(machine: Machine, driver: KernelDriver, function: Function) -> None:
    machine.add_link(f"{function.folder}/driver", f"bus/pci/drivers/{driver.name}")
    machine.add_link(f"bus/pci/drivers/{driver.name}/{function.bdf}", function.folder)
    function.driver = driver
    # The `uevent` file says DRIVER from here on: class devices of the probe may make listeners look.
    attributes.write_uevent(machine, function)
    try:
        driver.probe(machine, function)
    except Exception:
        _undo_probe(machine, driver, function)
        raise
    _refresh(machine, function)
    machine.emit("bind", function.folder, "pci", attributes.properties(function))


def _undo_probe(machine: Machine, driver: KernelDriver, function: Function) -> None:
    machine.release(function)
    function.driver = None
    machine.remove(f"{function.folder}/driver")
    machine.sys.remove(f"bus/pci/drivers/{driver.name}/{function.bdf}")
    _refresh(machine, function)


def _refresh(machine: Machine, function: Function) -> None:
    attributes.write_uevent(machine, function)
    attributes.show_enabled(machine, function)
    machine.refresh_dmem()


def _may_probe(function: Function) -> bool:
    if function.pf is None:
        return True
    return function.pf.autoprobe or function.driver_override is not None


def _pf_name(function: Function) -> str:
    return function.pf.bdf if function.pf else function.bdf
