"""Giving GPUs to claims: what is decided, and what a container gets.

A container gets its GPU through DRM, as the kernel driver made it, or whole through VFIO. If another kernel driver is
bound than that needs, it is changed for the claim; see :mod:`gpu_driver.binding`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from dra_common.driver import Wanted
from dra_common.errors import DeviceRefused, HostError
from dra_common.model import (
    Attribute,
    ContainerEdits,
    DeviceNode,
    Edits,
    Mount,
    ParentMode,
    Plan,
    PlannedDevice,
    Taint,
)
from dra_common.pci import Binding
from dra_common.pci.place import standard
from dra_common.ports import Host
from pydantic import JsonValue

from gpu_driver import binding, modes, vfs
from gpu_driver.config import GpuConfig, config_of, wants_vfio
from gpu_driver.device import VFIO_DRIVERS, Gpu, unexpected_driver
from gpu_driver.policy import GpuPolicy

CLASS_GPU = "gpu"
CLASS_MEI = "gpu-mei"

_IOMMU = "iommu"
"""Of a planned device's options: which nodes of VFIO it gets. Without it, it gets those of DRM."""

_RESET = "reset"
"""Of what undoes a planned device: how it is reset when the claim is gone."""

_ALL_NODES = frozenset({"card", "render"})
_NODES, _RENDER_NODE = "nodes", "renderNode"
"""Of a planned device's options, with DRM: which nodes it gets, if not all, and what the render node is called."""


def locks(wanted: Wanted, gpu: Gpu, policy: GpuPolicy) -> tuple[str, ...]:
    """Name the lock of the GPU's kernel driver and VFs, if it changes now or later, or must not.

    It must not while a machine has it whole, or if it could be divided meanwhile.
    """
    if wanted.allocated.admin_access:
        return ()
    if modes.is_divisible(gpu, policy) or _may_change(wanted, gpu):
        return (modes.lock(gpu),)
    return ()


def _may_change(wanted: Wanted, gpu: Gpu) -> bool:
    leave = binding.is_bound(gpu, vfio=False) and not wants_vfio(wanted) and not _resets(wanted)
    return bool(gpu.mode) or not leave


def _resets(wanted: Wanted) -> bool:
    return config_of(wanted).reset == binding.FLR


def parent(gpu: Gpu) -> str:
    """Name the lock of a GPU's kernel driver: that of the PF, which its VFs share."""
    return modes.lock(gpu)


def estranged(device: PlannedDevice, gpu: Gpu) -> tuple[Taint, ...]:
    """Say that an outsider has taken away the kernel driver that a prepared claim needs."""
    has = vfs.given(device, gpu)
    if has and binding.is_bound(has, vfio=_is_vfio(device)):
        return ()
    return (unexpected_driver(has or replace(gpu, driver="")),)


def examine(
    wanted: Sequence[Wanted], hardware: Mapping[str, Gpu], host: Host, policy: GpuPolicy
) -> Mapping[str, Gpu]:
    """Look around those GPUs that may have to be changed. Raises HostError."""
    each = ((item, hardware[item.allocated.device]) for item in wanted if not item.allocated.admin_access)
    looked = {gpu.name: gpu for item, gpu in each if _may_change(item, gpu)}
    surveys = {
        name: vfs.survey(host, gpu, policy) if gpu.mode else binding.survey(host, gpu)
        for name, gpu in looked.items()
    }
    return {**hardware, **surveys}


def plan(
    wanted: Sequence[Wanted],
    hardware: Mapping[str, Gpu],
    parents: Mapping[str, ParentMode],
    policy: GpuPolicy,
) -> Plan:
    """Decide for a whole claim. Raises DeviceRefused for a device that cannot be used as was asked.

    An adminAccess result is never refused, and changes nothing: it watches what others use, and what is bound to VFIO
    gives it no id. ``parents`` has the modes of those that are locked.
    """
    _check_names(wanted)
    planner = vfs.Planner(parents, policy)
    return Plan(tuple(_planned(item, hardware[item.allocated.device], planner) for item in wanted))


def _check_names(wanted: Sequence[Wanted]) -> None:
    """Raise DeviceRefused where two GPUs of a container would have one name."""
    taken: dict[tuple[str, str], str] = {}
    for item in wanted:
        name, device = config_of(item).render_node, item.allocated.device
        if name is None or wants_vfio(item) or item.allocated.admin_access:
            continue
        share = f"{device} {item.allocated.share_id or ''}".rstrip()
        other = taken.setdefault((item.allocated.base_request, name), share)
        if other != share:
            raise DeviceRefused(
                f"device {share} cannot be prepared as {name}: in the same request {other} has this name",
                cure="ask for one GPU a request, or leave renderNode out",
            )


def _planned(wanted: Wanted, gpu: Gpu, planner: vfs.Planner) -> PlannedDevice:
    if wanted.allocated.admin_access:
        return PlannedDevice(wanted.allocated)
    vfio, config, manage = wants_vfio(wanted), config_of(wanted), planner.policy.manage_binding
    if wanted.allocated.share_id and not gpu.mode:
        binding.check_share(gpu, vfio=vfio, reset=_resets(wanted))
    options: dict[str, JsonValue] | None = {_IOMMU: config.iommu} if vfio else _drm_options(gpu, config)
    if gpu.mode:
        return planner.part(wanted, gpu, options)
    if vfio:
        binding.check_vfio(gpu, shared=config.allow_shared_group)
    use, parents = planner.whole(gpu), locks(wanted, gpu, planner.policy)
    before = after = Binding(gpu.driver, gpu.around.override if gpu.around else "")
    if binding.is_bound(gpu, vfio=vfio):
        binding.check_ready(gpu, vfio=vfio)
        if not _resets(wanted):
            return PlannedDevice(wanted.allocated, parents, use=use, options=options)
    else:
        after = binding.wanted(gpu, vfio=vfio, manage=manage)
    undo: dict[str, JsonValue] = {
        "before": before.to_json(),
        "after": after.to_json(),
        "keep": config.keep_binding,
    }
    if _resets(wanted):
        binding.check_reset(gpu, manage=manage)
        undo[_RESET] = config.reset
    return PlannedDevice(wanted.allocated, parents, undo, use, options)


def _drm_options(gpu: Gpu, config: GpuConfig) -> dict[str, JsonValue] | None:
    """Return what differs from the default. Raises DeviceRefused for a name of a node that is not wanted."""
    found: dict[str, JsonValue] = {}
    if set(config.nodes) != _ALL_NODES:
        found[_NODES] = [str(node) for node in sorted(set(config.nodes))]
    if config.render_node:
        if "render" not in config.nodes:
            raise DeviceRefused(
                f"device {gpu.name} cannot be prepared as {config.render_node}: `nodes` leaves its render node out",
                cure="add `render` to nodes, or leave renderNode out",
            )
        found[_RENDER_NODE] = config.render_node
    return found or None


def apply(plan: Plan, host: Host) -> None:
    """Make the VFs of a plan, and change kernel drivers. Raises HostError, DeviceRefused."""
    changes = _bindings(plan, "after")
    vfs.apply(plan, host)
    binding.bind(host, changes)


def revert(plan: Plan, host: Host, vacated: Collection[str]) -> None:
    """Reset what is to be reset, and give back the kernel drivers that were found, and the VFs. Raises HostError.

    A GPU that has gone has none to give back.
    """
    whole = [planned for planned in plan.devices if planned.undo and not vfs.is_part(planned)]
    resets = [planned.allocated.device for planned in whole if planned.undo and _RESET in planned.undo]
    kept = {name: found for name, found in _bindings(plan, "after").items() if name in resets}
    changes = kept | _bindings(plan, "before")
    vfs.revert(plan, host, vacated)
    binding.give_back(host, changes, resets)


def _bindings(plan: Plan, when: Literal["before", "after"]) -> dict[str, Binding]:
    """Device name -> what is to be bound to it. Raises HostError for what a later version has written."""
    found = {}
    for planned in plan.devices:
        if planned.undo is None or vfs.is_part(planned):
            continue
        if planned.undo.keys() - {_RESET} != {"before", "after", "keep"}:
            device = planned.allocated.device
            raise HostError(
                f"device {device}: its record has a change of hardware that this version does not know",
                cure="run the version of the driver that wrote the claim's record, let it unprepare the claim",
            )
        if when == "after" or not planned.undo["keep"]:
            value = planned.undo[when]
            assert isinstance(value, dict)  # noqa: S101 - the keys say so
            found[planned.allocated.device] = Binding.from_json(value)
    return found


def edits(device: PlannedDevice, gpu: Gpu, dev_root: str) -> Edits:
    """What a container gets: the DRM nodes of its GPU or those of VFIO, and with adminAccess the MEI nodes too.

    MEI gives access to the card's firmware: it is for those who watch, never for a workload.
    Raises DeviceRefused if the device lost its nodes after it was planned.
    """
    admin = device.allocated.admin_access
    if gpu.mode:
        return {} if admin else _part_edits(device, gpu, dev_root)
    if device.options and _is_vfio(device):
        return {CLASS_GPU: vfio_edits(gpu, dev_root, str(device.options[_IOMMU]))}
    if not gpu.drm:
        if admin:
            return {}
        raise binding.no_drm(gpu)
    found = {CLASS_GPU: drm_edits(gpu, dev_root, _wanted_nodes(device), _alias(device))}
    if admin and gpu.mei:
        found[CLASS_MEI] = mei_edits(gpu, dev_root)
    return found


def _part_edits(device: PlannedDevice, gpu: Gpu, dev_root: str) -> Edits:
    vf = vfs.given(device, gpu)
    if vf is None:
        why = (
            f"device {gpu.name}: virtual function {device.use.part if device.use else 0} of {gpu.bdf} is gone"
        )
        raise DeviceRefused(why, cure="delete the pods that use the device, so that it is set again")
    return edits(device, vf, dev_root)


def metadata(device: PlannedDevice, gpu: Gpu) -> Mapping[str, Attribute]:
    """What a container is told of its GPU: where it is, and with DRM its render node as the container sees it."""
    gpu = vfs.given(device, gpu) or gpu
    given = gpu.drm and not _is_vfio(device) and "render" in _wanted_nodes(device)
    render = (_alias(device) or gpu.render) if given and gpu.render else ""
    return {**standard(gpu.bdf, gpu.numa_node), **({"renderNode": f"/dev/dri/{render}"} if render else {})}


def _wanted_nodes(device: PlannedDevice) -> frozenset[str]:
    nodes = (device.options or {}).get(_NODES)
    return frozenset(map(str, nodes)) if isinstance(nodes, list) else _ALL_NODES


def _alias(device: PlannedDevice) -> str:
    return str((device.options or {}).get(_RENDER_NODE, ""))


def _is_vfio(device: PlannedDevice) -> bool:
    return device.options is not None and _IOMMU in device.options


def static_edits(gpu: Gpu, dev_root: str) -> Edits:
    """What users of CDI without Kubernetes get by name; empty for a device without DRM nodes."""
    if not gpu.drm or gpu.mode:
        return {}
    found = {CLASS_GPU: drm_edits(gpu, dev_root)}
    if gpu.mei:
        found[CLASS_MEI] = mei_edits(gpu, dev_root)
    return found


def drm_edits(
    gpu: Gpu, dev_root: str, wanted: Collection[str] = _ALL_NODES, alias: str = ""
) -> ContainerEdits:
    """Card, render node, and the by-path links that exist, those that are wanted, under their usual names.

    ``alias`` is what the render node is called instead. The links are mounted because some media stacks look for a GPU
    by its PCI address; a bind mount of a link mounts the node it leads to. Raises DeviceRefused if there is no render
    node although nothing else was wanted, or it was given a name.
    """
    if not gpu.render and "render" in wanted and (alias or "card" not in wanted):
        why = f"{gpu.driver} made no render node for it"
        cure = "leave `nodes` and `renderNode` out, or ask for a GPU that has one"
        raise DeviceRefused(f"device {gpu.name} cannot be given by its render node: {why}", cure=cure)
    names = {"card": gpu.card, "render": gpu.render}
    nodes = tuple(
        DeviceNode.below_dev(f"dri/{name}", dev_root, f"dri/{alias}" if alias and kind == "render" else "")
        for kind, name in names.items()
        if name and kind in wanted
    )
    links = (kind for kind in gpu.by_path if kind in wanted)
    mounts = tuple(_mount(f"dri/by-path/pci-{gpu.bdf}-{kind}", dev_root) for kind in links)
    return ContainerEdits(device_nodes=nodes, mounts=mounts)


def vfio_edits(gpu: Gpu, dev_root: str, iommu: str = "both") -> ContainerEdits:
    """The nodes with which a virtual machine opens the function: by its IOMMU group, by IOMMUFD, or both.

    Raises DeviceRefused if the kernel has none of those asked for.
    """
    kinds = {"legacy": (False,), "iommufd": (True,), "both": (False, True)}[iommu]
    given: list[str] = []
    for node in gpu.vfio_nodes:
        if (iommufd := node.startswith("vfio/devices/")) in kinds:
            given += [node, "iommu" if iommufd else "vfio/vfio"]
    if gpu.driver not in VFIO_DRIVERS or not given:
        why = (
            f"it is bound to {gpu.driver or 'no kernel driver'} and has no node of VFIO of the kind {iommu!r}"
        )
        cure = "see the kernel log; IOMMUFD needs a kernel with CONFIG_VFIO_DEVICE_CDEV"
        raise DeviceRefused(f"device {gpu.name} cannot be given to a virtual machine: {why}", cure=cure)
    return ContainerEdits(device_nodes=tuple(DeviceNode.below_dev(node, dev_root) for node in given))


def mei_edits(gpu: Gpu, dev_root: str) -> ContainerEdits:
    """The MEI nodes of the card."""
    return ContainerEdits(device_nodes=tuple(DeviceNode.below_dev(name, dev_root) for name in gpu.mei))


def _mount(name: str, dev_root: str) -> Mount:
    return Mount(f"{dev_root.rstrip('/')}/{name}", f"/dev/{name}", type="none", options=("bind", "rw"))
