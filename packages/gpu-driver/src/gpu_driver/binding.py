"""Which kernel driver a GPU needs for what a claim asks, and whether it may be given that one.

DRM needs the GPU's native driver, VFIO one of the VFIO family. Pure: what is read for it is in :class:`Surroundings`,
what is written goes through :mod:`dra_common.pci`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from dra_common.errors import DeviceRefused, HostError, HostNotFound
from dra_common.pci import DRIVERS, PCI_DEVICES, Binding, Bus, device_name, group_members, look, split_name
from dra_common.ports import Host

from gpu_driver.device import DRM_DRIVERS, VFIO_DRIVERS, Gpu, Surroundings

_BRIDGE = "0x06"
"""PCI base class of bridges, which may be in a group with anything (kernel document vfio)."""
FLR = "flr"
"""Function level reset, as ``reset_method`` calls it (ABI document sysfs-bus-pci)."""
_STOP = "end the virtual machine"
_MANAGE = "allow it to change kernel drivers (--manage-binding), or bind it to {driver} by hand"


def is_bound(gpu: Gpu, *, vfio: bool) -> bool:
    """Whether the kernel driver that is bound is one for this use."""
    return gpu.driver in (VFIO_DRIVERS if vfio else DRM_DRIVERS)


def survey(host: Host, gpu: Gpu) -> Gpu:
    """Read what has to be known before its kernel driver is changed. Raises HostError, HardwareBusy."""
    with Bus(host) as bus:
        override = bus.override(gpu.bdf)
    candidates = (*DRM_DRIVERS, *VFIO_DRIVERS)
    loaded = frozenset(name for name in candidates if host.sysfs.exists(f"{DRIVERS}/{name}"))
    found = look(host.sysfs, gpu.bdf)
    around = Surroundings(
        override,
        neighbours(host, gpu),
        loaded,
        len(found.vfs),
        resets=_resets(host, gpu),
        autoprobe=found.autoprobe,
    )
    return replace(gpu, around=around)


def _resets(host: Host, gpu: Gpu) -> tuple[str, ...]:
    """Return the methods that are on; the file is there since Linux 5.15, and if there is any method."""
    with suppress(HostNotFound):
        return tuple(host.sysfs.read(f"{PCI_DEVICES}/{gpu.bdf}/reset_method").split())
    return ()


def neighbours(host: Host, gpu: Gpu) -> tuple[str, ...]:
    """Return the other functions of its IOMMU group that somebody could use: all but bridges."""
    if not gpu.iommu_group:
        return ()
    members = group_members(host.sysfs, gpu.iommu_group)
    return tuple(bdf for bdf in members if bdf != gpu.bdf and not _is_bridge(host, bdf))


def _is_bridge(host: Host, bdf: str) -> bool:
    return host.sysfs.read(f"{PCI_DEVICES}/{bdf}/class").startswith(_BRIDGE)


def check_vfio(gpu: Gpu, *, shared: bool) -> None:
    """Raise DeviceRefused if a virtual machine that gets the GPU could reach the devices of others."""
    if not gpu.iommu_group:
        raise DeviceRefused(
            f"device {gpu.name} cannot be prepared for VFIO: it is in no IOMMU group",
            cure="enable the IOMMU in the firmware and on the kernel's command line (intel_iommu=on)",
        )
    others = gpu.around.neighbours if gpu.around else ()
    if others and not shared:
        raise DeviceRefused(
            f"device {gpu.name} cannot be prepared for VFIO: in its IOMMU group {gpu.iommu_group} are also "
            + ", ".join(others),
            cure="use a slot whose ports isolate their devices (ACS); allowSharedGroup in the DeviceClass allows it",
        )


def check_reset(gpu: Gpu, *, manage: bool) -> None:
    """Raise DeviceRefused if a GPU could not, or may not, be reset when its claim is gone."""
    around = gpu.around or Surroundings()
    if FLR not in around.resets:
        raise _no_reset(
            gpu, "it has no function level reset", "leave `reset` out; see its reset_method in sysfs"
        )
    if around.vfs:
        why = f"it has {around.vfs} virtual functions, which a reset would end"
        raise _no_reset(gpu, why, "remove them: write 0 to its sriov_numvfs")
    if not manage:
        cure = "allow it to change kernel drivers (--manage-binding), or leave `reset` out"
        raise _no_reset(gpu, "its kernel driver would have to let go of it for that", cure)


def _no_reset(gpu: Gpu, why: str, cure: str) -> DeviceRefused:
    return DeviceRefused(f"device {gpu.name} cannot be prepared with a reset afterwards: {why}", cure=cure)


def check_share(gpu: Gpu, *, vfio: bool, reset: bool) -> None:
    """Raise DeviceRefused for a share of a GPU that would change what others have of it."""
    if vfio:
        cure = "its DeviceClass should not select shared GPUs: those with the capacity `clients`"
        raise refused(
            gpu, vfio=True, why="other claims can share it, and a machine takes all of it", cure=cure
        )
    if reset:
        cure = "its DeviceClass should not select shared GPUs, those with the capacity `clients`, or say `reset: none`"
        raise refused(gpu, vfio=False, why="a reset would take it from others that share it", cure=cure)
    if not is_bound(gpu, vfio=False):
        cure = f"bind it to {gpu.native_driver or 'i915 or xe'} by hand, or do not share it"
        raise refused(
            gpu, vfio=False, why=f"{_is(gpu)}, which is not changed for one of its sharers", cure=cure
        )


def check_ready(gpu: Gpu, *, vfio: bool) -> None:
    """Raise DeviceRefused if a GPU with the right kernel driver cannot be used all the same."""
    if vfio and gpu.in_use:
        raise refused(gpu, vfio=vfio, why=_in_use(gpu), cure=_STOP)
    if not vfio and not gpu.card:
        raise no_drm(gpu)


def no_drm(gpu: Gpu) -> DeviceRefused:
    """Explain why a device has nothing to be given through DRM."""
    if gpu.driver not in DRM_DRIVERS:
        cure = f"bind it to {gpu.native_driver or 'the kernel driver that supports it (i915 or xe)'}"
        return refused(gpu, vfio=False, why=f"{_is(gpu)} and has no DRM nodes", cure=cure)
    why = f"{gpu.driver} is bound to it, but made no DRM card"
    cure = "see the kernel log for why the GPU did not start; a cold boot or a firmware update may be needed"
    return refused(gpu, vfio=False, why=why, cure=cure)


def wanted(gpu: Gpu, *, vfio: bool, manage: bool) -> Binding:
    """Return how a GPU is to be bound that is not bound so. Raises DeviceRefused if it cannot, or may not."""
    around = gpu.around
    if around is None:
        raise ValueError(f"{gpu.bdf} was not surveyed")
    driver = vfio_driver(gpu, around.drivers) if vfio else gpu.native_driver
    no = partial(refused, gpu, vfio=vfio)
    if not driver:
        raise no("no kernel driver is known for this product", "bind one by hand")
    if not manage:
        raise no(_is(gpu), _MANAGE.format(driver=driver))
    if gpu.in_use:
        raise no(_in_use(gpu), _STOP)
    if gpu.driver not in ("", *DRM_DRIVERS, *VFIO_DRIVERS):
        raise no(
            f"{_is(gpu)}, which somebody has a reason for", f"unbind it, or bind it to {driver}, by hand"
        )
    if driver not in around.drivers:
        raise no(f"the kernel driver {driver} is not loaded", f"load the kernel module {driver}")
    if around.vfs:
        why = f"it has {around.vfs} virtual functions, which would go with its kernel driver"
        raise no(why, "remove them: write 0 to its sriov_numvfs")
    return Binding(driver, driver if vfio else "")


def vfio_driver(gpu: Gpu, loaded: Collection[str]) -> str:
    """Prefer the variant that can migrate a running machine, where the kernel has it (Linux 6.19)."""
    return "xe-vfio-pci" if gpu.product.native_driver == "xe" and "xe-vfio-pci" in loaded else "vfio-pci"


def _is(gpu: Gpu) -> str:
    return f"it is bound to {gpu.driver}" if gpu.driver else "it is not bound to any kernel driver"


def _in_use(gpu: Gpu) -> str:
    return f"{_is(gpu)}, and a virtual machine that is not of a claim has it open"


def refused(gpu: Gpu, why: str, cure: str, *, vfio: bool) -> DeviceRefused:
    """Name device, use, cause and cure."""
    use = "VFIO" if vfio else "DRM"
    return DeviceRefused(f"device {gpu.name} cannot be prepared for {use}: {why}", cure=cure)


def bind(host: Host, changes: Mapping[str, Binding]) -> None:
    """Bind GPUs, by name, and wait for what containers will be given. Raises HostError and its kinds."""
    with Bus(host) as bus:
        for name, binding in changes.items():
            bdf = _place(name)
            bind_one(host, bus, bdf, binding)


def bind_one(host: Host, bus: Bus, bdf: str, binding: Binding) -> None:
    """Bind one function, and wait for what a container will be given of it. Raises HostError and its kinds."""
    bus.rebind(bdf, binding)
    if binding.driver in VFIO_DRIVERS:
        bus.wait_group_node(bdf)
    else:
        bus.wait(bdf, "its DRM card", partial(_has_card, host, bdf))


def give_back(host: Host, changes: Mapping[str, Binding], resets: Collection[str] = ()) -> None:
    """Bind GPUs, by name, as they were found. One that has gone, or whose place another one has, is left alone.

    Those named in ``resets`` are reset before. Raises HostError and its kinds.
    """
    with Bus(host) as bus:
        for name, binding in changes.items():
            with suppress(HostNotFound):
                if device_name(_place(name), host.sysfs.read(f"{PCI_DEVICES}/{_place(name)}/device")) == name:
                    if name in resets:
                        _reset(bus, name, binding)
                    bus.rebind(_place(name), binding)


def _reset(bus: Bus, name: str, after: Binding) -> None:
    """Reset a GPU while no kernel driver has it: not every one lets a reset return, or outlives it.

    It may be done again, wherever a crash left off. Raises HostError and its kinds.
    """
    bdf = _place(name)
    found = bus.look(bdf)
    if found.vfs:
        cure = "remove them: write 0 to its sriov_numvfs; it is tried again"
        raise HostError(f"device {name} cannot be reset: it has virtual functions, which would go", cure=cure)
    if found.driver:
        bus.set_override(bdf, after.driver)  # nobody else may bind it meanwhile
        bus.unbind(bdf, found.driver)
    bus.reset(bdf)


def _place(name: str) -> str:
    """Return the address in a device's name."""
    place = split_name(name)
    if place is None:
        raise ValueError(f"{name!r} is not a device of this driver")
    return place[0]


def _has_card(host: Host, bdf: str) -> bool:
    try:
        names = host.sysfs.listdir(f"{PCI_DEVICES}/{bdf}/drm")
    except HostError:
        return False
    return any(name.startswith("card") and host.devfs.exists(f"dri/{name}") for name in names)
