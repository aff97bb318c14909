"""The standard files of a PCI function, in the kernel's formats (ABI document sysfs-bus-pci)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from dra_common.simulate import aer, resources, sriov, synthetic
from dra_common.simulate.errnos import parse_bool, parse_unsigned, refuse
from dra_common.simulate.function import Function
from dra_common.simulate.profile import FunctionSpec

if TYPE_CHECKING:
    from dra_common.simulate.machine import Machine

_PAGE_SIZE = 4096
_RESET_METHODS = frozenset({"device_specific", "acpi", "flr", "af_flr", "pm", "bus", "cxl_bus"})


def make(machine: Machine, function: Function) -> None:
    """Make the folder of a function that just appeared, and the links to it.

    The bus lists it when it has its files, as ``bus_add_device`` (``drivers/base/bus.c``) does.
    """
    spec = function.spec
    machine.sys.make_folder(spec.folder)
    machine.add_link(f"{spec.folder}/subsystem", "bus/pci")
    for name, text in {**_texts(machine, spec), **spec.attributes}.items():
        machine.add_file(f"{spec.folder}/{name}", text)
    for name, size in {**resources.sizes(spec), **spec.sizes}.items():
        machine.add_sparse(f"{spec.folder}/{name}", size)
    aer.make(machine, function)
    _add_group(machine, spec)
    _add_writable(machine, function)
    if spec.sriov:
        _add_sriov(machine, function)
    write_uevent(machine, function)
    machine.add_link(f"bus/pci/devices/{spec.bdf}", spec.folder)


def unmake(machine: Machine, function: Function) -> None:
    """Remove the folder and what points to it."""
    spec = function.spec
    machine.sys.remove(f"bus/pci/devices/{spec.bdf}")
    if spec.iommu_group is not None:
        members = f"kernel/iommu_groups/{spec.iommu_group}/devices"
        machine.sys.remove(f"{members}/{spec.bdf}")
        if not machine.sys.names(members):
            machine.sys.remove(f"kernel/iommu_groups/{spec.iommu_group}")
    machine.remove(spec.folder)


def properties(function: Function) -> dict[str, str]:
    """Return the keys of a function's uevents; ``DRIVER`` only while bound, ``PCI_CLASS`` without leading zeros."""
    spec = function.spec
    driver = {"DRIVER": function.driver.name} if function.driver else {}
    return {
        **driver,
        "PCI_CLASS": f"{int(spec.class_, 16):04X}",
        "PCI_ID": f"{spec.vendor[2:].upper()}:{spec.device[2:].upper()}",
        "PCI_SUBSYS_ID": f"{spec.subsystem_vendor[2:].upper()}:{spec.subsystem_device[2:].upper()}",
        "PCI_SLOT_NAME": spec.bdf,
        "MODALIAS": modalias(spec),
    }


def modalias(spec: FunctionSpec) -> str:
    """Return the text by which modules are found: ``pci:v00008086d…``, hexadecimal digits in upper case."""
    ids = [spec.vendor, spec.device, spec.subsystem_vendor, spec.subsystem_device]
    vendor, device, subvendor, subdevice = (f"{int(value, 16):08X}" for value in ids)
    base, sub, interface = spec.class_[2:4].upper(), spec.class_[4:6].upper(), spec.class_[6:8].upper()
    return f"pci:v{vendor}d{device}sv{subvendor}sd{subdevice}bc{base}sc{sub}i{interface}"


def write_uevent(machine: Machine, function: Function) -> None:
    """Write the ``uevent`` file anew after a driver came or went."""
    text = "\n".join(f"{key}={value}" for key, value in properties(function).items())
    path = f"{function.folder}/uevent"
    machine.add_file(path, text, store=partial(_store_uevent, machine, function))


def show_enabled(machine: Machine, function: Function) -> None:
    """Let ``enable`` say how often the function was enabled: by its driver, or by VFIO while somebody has it open."""
    driver = function.driver
    count = machine.in_use[function.bdf] if driver is None or driver.waits_to_enable else 1
    machine.set_file(f"{function.folder}/enable", str(count))


def _texts(machine: Machine, spec: FunctionSpec) -> dict[str, str]:
    return {
        "vendor": spec.vendor,
        "device": spec.device,
        "class": spec.class_,
        "revision": spec.revision,
        "subsystem_vendor": spec.subsystem_vendor,
        "subsystem_device": spec.subsystem_device,
        "numa_node": str(spec.numa_node),
        "local_cpulist": _cpus(machine, spec.numa_node),
        "modalias": modalias(spec),
        "enable": "0",
        "power_state": "D0",
        "resource": resources.text(spec),
    }


def _cpus(machine: Machine, node: int) -> str:
    numa = machine.profile.numa
    return numa[node] if node >= 0 else ",".join(numa.values())


def _add_group(machine: Machine, spec: FunctionSpec) -> None:
    if spec.iommu_group is None:
        return
    group = f"kernel/iommu_groups/{spec.iommu_group}"
    machine.add_link(f"{group}/devices/{spec.bdf}", spec.folder)
    if not machine.sys.exists(f"{group}/type"):
        machine.add_file(f"{group}/type", "DMA")
    machine.add_link(f"{spec.folder}/iommu_group", group)


def _add_writable(machine: Machine, function: Function) -> None:
    folder = function.folder
    override = partial(_store_override, machine, function)
    machine.add_file(f"{folder}/driver_override", "(null)", store=override)
    if not function.is_vf:
        # VFs come and go by sriov_numvfs alone.
        machine.add_file(f"{folder}/remove", "", store=partial(_store_remove, machine, function), mode=0o200)
        machine.add_file(f"{folder}/rescan", "", store=machine.rescan, mode=0o200)
    if function.spec.reset_methods:
        methods = " ".join(function.spec.reset_methods)
        machine.add_file(
            f"{folder}/reset_method", methods, store=partial(_store_reset_method, machine, function)
        )
        machine.add_file(f"{folder}/reset", "", store=partial(_store_reset, machine, function), mode=0o200)
    if function.is_vf:
        machine.add_file(f"{folder}/sriov_vf_msix_count", "", store=_store_msix_count, mode=0o200)


def _add_sriov(machine: Machine, function: Function) -> None:
    capability = function.spec.sriov
    if capability is None:
        return
    function.total_vfs, function.autoprobe = capability.total, capability.autoprobe
    texts = {
        "sriov_totalvfs": str(capability.total),
        "sriov_offset": str(capability.offset),
        "sriov_stride": str(capability.stride),
        "sriov_vf_device": f"{int(capability.vf_device, 16):x}",
        "sriov_vf_total_msix": "0",
    }
    stores: dict[str, tuple[str, Callable[[str], None]]] = {
        "sriov_numvfs": ("0", partial(sriov.store_numvfs, machine, function)),
        "sriov_drivers_autoprobe": (
            str(int(capability.autoprobe)),
            partial(_store_autoprobe, machine, function),
        ),
    }
    for name, text in texts.items():
        machine.add_file(f"{function.folder}/{name}", text)
    for name, (text, store) in stores.items():
        machine.add_file(f"{function.folder}/{name}", text, store=store)


def _store_override(machine: Machine, function: Function, text: str) -> None:
    if len(text.encode()) >= _PAGE_SIZE - 1:
        raise refuse(errno.EINVAL, "driver_override")
    name = text.partition("\n")[0]
    with machine.device_lock(function):
        function.driver_override = name or None
        machine.set_file(f"{function.folder}/driver_override", name or "(null)")


def _store_autoprobe(machine: Machine, function: Function, text: str) -> None:
    function.autoprobe = parse_bool(text)
    machine.set_file(f"{function.folder}/sriov_drivers_autoprobe", str(int(function.autoprobe)))


def _store_uevent(machine: Machine, function: Function, text: str) -> None:
    action, more = synthetic.parse(text)
    machine.emit(action, function.folder, "pci", {**properties(function), **more})


def _store_remove(machine: Machine, function: Function, text: str) -> None:
    if parse_unsigned(text, 64):
        machine.remove_below(function)


def _store_reset(machine: Machine, function: Function, text: str) -> None:
    if parse_unsigned(text, 64) != 1:
        raise refuse(errno.EINVAL, "reset takes 1")
    with machine.device_lock(function):
        if not machine.sys.read(f"{function.folder}/reset_method"):
            raise refuse(errno.ENOTTY, "no reset method")


def _store_reset_method(machine: Machine, function: Function, text: str) -> None:
    names = text.split()
    if names == ["default"]:
        names = list(function.spec.reset_methods)
    supported = set(function.spec.reset_methods) & _RESET_METHODS
    if not set(names) <= supported:
        raise refuse(errno.EINVAL, f"reset_method {text!r}")
    machine.set_file(f"{function.folder}/reset_method", " ".join(names))


def _store_msix_count(text: str) -> None:
    parse_unsigned(text, 31)
    raise refuse(errno.EOPNOTSUPP, "the PF's driver cannot change MSI-X counts")
