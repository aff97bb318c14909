"""The ways in which a PF can be used as so many equal VFs, each offered as a device that several claims share.

Exclusive, which the scheduler knows by a counter; see :mod:`gpu_driver.vfs` for what a claim has made of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from dra_common.driver import Discovery
from dra_common.model import Attribute, Capacity, Device, ParentMode, Quantity, RequestPolicy
from dra_common.pci import dashed, look
from dra_common.ports import Host

from gpu_driver import discovery
from gpu_driver.device import Gpu, split_mode, to_device
from gpu_driver.inside import Insides
from gpu_driver.policy import GpuPolicy

MODE = "mode"
"""Attribute of a device that is a mode, and the counter of which each mode and the whole GPU take all."""

_MIB = 1 << 20
_SPARE_MIB = 128 + 128
"""What the PF keeps: what xe leaves out when it divides, and about as much for what its driver has taken itself."""
_STEP_MIB = 64
_FIRST, _OLD, _PROFILES = (6, 8), (6, 17), (7, 1)
_OLD_MOST_MIB = 2048
_WHOLE_ONLY = frozenset(
    ("driver", "sriov", "pciAddress", "resource.kubernetes.io/pciBusID", "tiles", "xeCores", "executionUnits")
)
"""Attributes of a GPU that a VF of it does not have, or another value of."""


def kind(count: int) -> str:
    """Return the name of a mode: ``vf4``."""
    return f"vf{count}"


def lock(gpu: Gpu) -> str:
    """Name what is in one mode at a time, and has one lock: the PF."""
    return dashed(gpu.parent or gpu.bdf)


def is_divisible(gpu: Gpu, policy: GpuPolicy) -> bool:
    """Whether claims may have it divided."""
    return bool(allowed(gpu, policy))


def allowed(gpu: Gpu, policy: GpuPolicy) -> tuple[int, ...]:
    """Return into how many VFs the operator lets claims divide it; one that is shared as a whole is not divided."""
    mine = policy.of(gpu)
    divided = gpu.kind != "vf" and policy.manage_binding and mine.sharing is None
    return mine.sriov.modes if divided else ()


def pf_of(gpu: Gpu) -> Gpu:
    """Return the PF that a mode is of."""
    return replace(gpu, mode=0, vfs=())


# --------------------------------------------------------------------------- finding


def discover(host: Host, only: Collection[str] | None, insides: Insides, policy: GpuPolicy) -> Discovery[Gpu]:
    """Read the machine as :func:`gpu_driver.discovery.discover`, and add the modes.

    In a whole look those that the policy wants and the kernel can make; with ``only`` those that are named, since a
    claim may have one that is not wanted any more.
    """
    if only is not None:
        return _named(host, only, insides)
    found = discovery.discover(host, None, insides)
    vfs = [gpu for gpu in found.hardware.values() if gpu.kind == "vf"]
    modes = (mode for gpu in found.hardware.values() for mode in _modes(gpu, vfs, policy))
    return replace(found, hardware={**found.hardware, **{mode.name: mode for mode in modes}})


def _named(host: Host, only: Collection[str], insides: Insides) -> Discovery[Gpu]:
    asked = {name: mode for name in only if (mode := split_mode(name))}
    pfs = {pf for pf, _ in asked.values()}
    found = discovery.discover(host, {*only, *pfs} - asked.keys(), insides)
    modes = {}
    for name, (pf, count) in asked.items():
        gpu = found.hardware.get(pf)
        if gpu and gpu.kind != "vf":
            modes[name] = replace(gpu, mode=count, vfs=_vfs(host, gpu))
    plain = {name: gpu for name, gpu in found.hardware.items() if name in only}
    return replace(found, hardware={**plain, **modes})


def _modes(gpu: Gpu, vfs: Iterable[Gpu], policy: GpuPolicy) -> Iterator[Gpu]:
    if not gpu.makes_vfs:
        return
    mine = tuple(vf for vf in vfs if vf.parent == gpu.bdf)
    for count in allowed(gpu, policy):
        if count <= (gpu.max_vfs or 0):
            yield replace(gpu, mode=count, vfs=mine)


def _vfs(host: Host, pf: Gpu) -> tuple[Gpu, ...]:
    numbers = {bdf: index for index, bdf in look(host.sysfs, pf.bdf).vfs.items()}
    return tuple(replace(vf, vf_index=numbers[vf.bdf]) for vf in discovery.at(host, numbers))


# --------------------------------------------------------------------------- publishing


def offered(gpus: Collection[Gpu], modes: Mapping[str, ParentMode]) -> list[Gpu]:
    """Return what is published: without the VFs that are there for a mode, and without modes that cannot be now.

    While a PF is in a mode, all its modes stay: the counter says that they are taken. The one that it is in is there
    even if it is not wanted any more. VFs that are there for it change nothing of the PF, not even its place: all is
    published as before, and nothing has to be written.
    """
    found = [
        replace(gpu, num_vfs=0) if _is_divided(gpu, modes) else gpu
        for gpu in gpus
        if (_can_be(gpu, modes) if gpu.mode else gpu.kind != "vf" or not _is_divided(gpu, modes))
    ]
    names = {gpu.name for gpu in found}
    return [*found, *(mode for mode in _used(gpus, modes) if mode.name not in names)]


def _used(gpus: Iterable[Gpu], modes: Mapping[str, ParentMode]) -> Iterator[Gpu]:
    """Yield the modes that PFs are in."""
    for gpu in gpus:
        mode = modes.get(lock(gpu)) if gpu.kind != "vf" and not gpu.mode else None
        if mode and isinstance(mode.after, dict) and isinstance(count := mode.after.get("vfs"), int):
            yield replace(gpu, mode=count)


def is_wanted(gpu: Gpu, policy: GpuPolicy) -> bool:
    """Whether the operator wants it to be offered."""
    return policy.of(gpu).publish and (not gpu.mode or gpu.mode in allowed(gpu, policy))


def parts(gpus: Collection[Gpu]) -> dict[str, str]:
    """Return of each mode and each VF the name of its PF."""
    wholes = {gpu.bdf: gpu.name for gpu in gpus if gpu.kind != "vf" and not gpu.mode}
    each = ((gpu.name, gpu.bdf if gpu.mode else gpu.parent) for gpu in gpus if gpu.mode or gpu.kind == "vf")
    return {name: wholes[pf] for name, pf in each if pf in wholes}


def unscheduled(gpus: Iterable[Gpu], policy: GpuPolicy) -> Iterator[str]:
    """Yield which GPUs are divided without the profile that the operator wants, and why."""
    divided = {gpu.bdf: gpu for gpu in gpus if gpu.mode and gpu.mode in allowed(gpu, policy)}
    for gpu in divided.values():
        wanted = policy.of(gpu).sriov.settings()
        if wanted and not gpu.schedules_vfs:
            yield (
                f"device {pf_of(gpu).name} is divided without `sriov.profile` ({', '.join(wanted)}): this kernel's "
                f"{gpu.driver} does not let it be set, which xe does since Linux 6.19"
            )


def _can_be(gpu: Gpu, modes: Mapping[str, ParentMode]) -> bool:
    return lock(gpu) in modes or (gpu.sriov and not gpu.vfs)


def _is_divided(gpu: Gpu, modes: Mapping[str, ParentMode]) -> bool:
    """Whether its PF, or it itself, has VFs made for claims."""
    mode = modes.get(lock(gpu))
    return mode is not None and mode.after is not None


def device_of(gpu: Gpu) -> Device:
    """Return a mode as the scheduler sees it: a device with one share for each VF."""
    whole = to_device(pf_of(gpu))
    kept = {name: value for name, value in whole.attributes.items() if name not in _WHOLE_ONLY}
    share = share_mib(gpu)
    mine: dict[str, Attribute] = {"type": "vf", MODE: kind(gpu.mode), "parent": gpu.bdf}
    capacity = {"vfs": _shared(Quantity(1), gpu.mode)}
    if share:
        mine["vfMemoryMiB"] = share
        capacity["memory"] = _shared(Quantity.mebibytes(share), gpu.mode)
    return Device(gpu.name, {**kept, **mine}, capacity, whole.taints, allow_multiple_allocations=True)


def _shared(share: Quantity, count: int) -> Capacity:
    """Return a capacity of which each claim has one share, whatever it asks for."""
    return Capacity(replace(share, value=share.value * count), RequestPolicy(share, (share,)))


def share_mib(gpu: Gpu) -> int | None:
    """Return the MiB of local memory that each VF of a mode has at least; None where the kernel's rule is not known.

    xe divides what is free. Linux 7.1 and newer give a power of two, and the only VF of a card with a display half of
    the memory at most; before that an equal part, which up to 6.16 was a power of two and no more than 2 GiB
    (``xe_gt_sriov_pf_config.c``). How much is free is not known beforehand: this leaves some room.
    """
    if gpu.driver != "xe" or not gpu.memory_mib or not gpu.driver_version:
        return None
    kernel = tuple(int(part) for part in gpu.driver_version.split("."))[:2]
    if kernel < _FIRST:  # the version of a module of its own
        return None
    part = max(0, gpu.memory_mib - _SPARE_MIB) // gpu.mode
    if kernel >= _PROFILES:
        share = _power_of_two(min(part, gpu.memory_mib // 2))
    elif kernel < _OLD:
        share = min(_power_of_two(part), _OLD_MOST_MIB)
    else:
        share = part // _STEP_MIB * _STEP_MIB
    return share or None


def _power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1) if number else 0
