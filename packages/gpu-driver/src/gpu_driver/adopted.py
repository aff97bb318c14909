"""Claims that were prepared by Intel's Go driver for GPUs: what the CDI ids stand for that it gave to their containers.

``intel.com/gpu=<device>`` is the GPU as it is bound now: adopting changes no binding, so it has the nodes of DRM or
those of VFIO. ``intel.com/gpu-mei=<mei node>`` is the GPU's MEI node, which only claims with adminAccess were given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dra_common.model import ContainerEdits, DeviceNode, PreparedDevice

from gpu_driver.device import Gpu
from gpu_driver.prepare import CLASS_GPU, CLASS_MEI, drm_edits, vfio_edits

_GPU, _MEI = f"intel.com/{CLASS_GPU}=", f"intel.com/{CLASS_MEI}="


def edits(
    answer: Sequence[PreparedDevice], hardware: Mapping[str, Gpu], dev_root: str
) -> Mapping[str, ContainerEdits]:
    """CDI id -> what a container gets for it now; ids whose GPU or node is not there are left out."""
    found = {
        name: _edits(name, hardware[device.device], dev_root)
        for device in answer
        if device.device in hardware
        for name in device.cdi_ids
    }
    return {name: made for name, made in found.items() if made}


def is_admin(device: PreparedDevice) -> bool:
    """Whether the answer shows adminAccess, of which older files of that driver say nothing."""
    return any(name.startswith(_MEI) for name in device.cdi_ids)


def _edits(name: str, gpu: Gpu, dev_root: str) -> ContainerEdits:
    if name.startswith(_MEI):
        return _mei_edits(name.removeprefix(_MEI), gpu, dev_root)
    if name != f"{_GPU}{gpu.name}":
        return ContainerEdits()
    return drm_edits(gpu, dev_root) if gpu.drm else _vfio_edits(gpu, dev_root)


def _vfio_edits(gpu: Gpu, dev_root: str) -> ContainerEdits:
    """The nodes of VFIO that there are; nothing if there is no group to isolate the device."""
    return vfio_edits(gpu, dev_root) if gpu.vfio_nodes and gpu.iommu_group else ContainerEdits()


def _mei_edits(node: str, gpu: Gpu, dev_root: str) -> ContainerEdits:
    # The numbers of MEI nodes change with each boot: the id stays, and means this GPU's.
    names = (node,) if node in gpu.mei else gpu.mei[:1]
    return ContainerEdits(device_nodes=_nodes(names, dev_root))


def _nodes(names: Sequence[str], dev_root: str) -> tuple[DeviceNode, ...]:
    return tuple(DeviceNode.below_dev(name, dev_root) for name in names)
