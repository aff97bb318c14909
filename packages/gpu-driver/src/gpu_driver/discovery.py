"""Finding Intel GPUs in sysfs.

``sriov_numvfs`` is not read: the kernel keeps a reader waiting while a write is in progress, which may be for ever.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from dra_common.driver import Discovery
from dra_common.errors import HostError, HostNotFound
from dra_common.pci import DRIVERS, Facts, Scan, first, group_node
from dra_common.pci.place import pcie_root
from dra_common.ports import Host

from gpu_driver import physfn, scheduling
from gpu_driver.device import DRM_DRIVERS, VFIO_DRIVERS, Gpu
from gpu_driver.inside import Inside, Insides
from gpu_driver.mei import MeiIndex, mei_of
from gpu_driver.memory import DmemCapacity, local_memory
from gpu_driver.products import product

VENDOR = "0x8086"

_DISPLAY = ("0x0300", "0x0380")
"""PCI base class and subclass: VGA controller, other display controller. Audio and bridges of a card have others."""

_CARD = re.compile(r"card[0-9]{1,6}", re.ASCII)
_RENDER = re.compile(r"renderD[0-9]{1,6}", re.ASCII)
_VFIO = re.compile(r"(?:noiommu-)?vfio[0-9]{1,6}", re.ASCII)
_VIRTFN = re.compile(r"virtfn[0-9]{1,6}", re.ASCII)


def discover(
    host: Host, only: Collection[str] | None = None, insides: Insides | None = None
) -> Discovery[Gpu]:
    """Read all GPUs, or just those named in ``only``. Raises HostError if the PCI bus cannot be listed.

    With ``only``, nothing but these devices is read: some ten small files each. A name whose address now holds another
    device is left out, as one that is gone. What only the scheduler wants to know of them stays unknown: PCIe root,
    SR-IOV, memory, and what is inside. To ask for the last two opens the device, which wakes one that sleeps;
    ``insides`` remembers what need not be asked again.
    """
    inside = (insides or Insides()).look(host) if only is None else None
    scan = _scan(host, inside)
    found = scan.named(only) if only is not None else scan.all()
    gpus = sorted(found, key=lambda gpu: gpu.order)
    if inside:
        inside.end()
    return Discovery({gpu.name: gpu for gpu in gpus}, tuple(scan.problems))


def at(host: Host, addresses: Collection[str]) -> tuple[Gpu, ...]:
    """Read the GPUs at these addresses as :func:`discover` with ``only``; what is not there is left out."""
    scan = _scan(host, None)
    return tuple(gpu for bdf in addresses for gpu in scan.one(bdf))


def _scan(host: Host, inside: Inside | None) -> Scan[Gpu]:
    return Scan(host, VENDOR, _DISPLAY, _Look(host, MeiIndex(host), DmemCapacity(host), inside).read)


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at the machine: what is shared by its devices is read once."""

    host: Host
    mei: MeiIndex
    dmem: DmemCapacity
    inside: Inside | None

    def read(self, facts: Facts, device_id: str, real_path: str) -> Gpu:
        gpu = Gpu(
            facts.bdf,
            device_id,
            product(device_id),
            driver=facts.link("driver", "drivers"),
            iommu_group=facts.link("iommu_group", "iommu_groups"),
            vfio=first(facts.children("vfio-dev"), _VFIO),
            numa_node=facts.number("numa_node"),
        )
        gpu = physfn.told(gpu, facts)
        if gpu.driver in VFIO_DRIVERS:
            # VFIO enables a function when it is opened, and disables it when it is closed (vfio_pci_core).
            in_use = bool(facts.number("enable"))
            gpu = replace(gpu, in_use=in_use, vfio_nodes=_vfio_nodes(self.host, gpu))
        if gpu.driver in DRM_DRIVERS:
            gpu = _with_drm(gpu, facts)
            # The firmware that MEI leads to is the card's: a VF has no way to it.
            if gpu.kind != "vf":
                gpu = replace(gpu, mei=mei_of(facts, real_path, self.mei))
        return self._to_publish(self.inside.add(gpu, facts), real_path, facts) if self.inside else gpu

    def _to_publish(self, gpu: Gpu, real_path: str, facts: Facts) -> Gpu:
        gpu = _with_sriov(gpu, facts)
        memory = local_memory(self.host, self.dmem, gpu)
        if memory.why:
            facts.note(f"local memory is unknown, the capacity is not published: {memory.why}")
        return replace(
            gpu,
            pcie_root=pcie_root(real_path, facts),
            bindable=self.host.sysfs.exists(f"{DRIVERS}/{gpu.native_driver}") if gpu.native_driver else False,
            memory_mib=memory.mib,
        )


def _with_drm(gpu: Gpu, facts: Facts) -> Gpu:
    # Match names, never take "the other entry": there may be connectors, and controlD64 beside card0.
    names = facts.children("drm")
    card, render = first(names, _CARD), first(names, _RENDER)
    if not card:
        facts.note(
            f"bound to {gpu.driver}, but there is no DRM card: see the kernel log for why it did not start"
        )
    links = (("card", card), ("render", render))
    present = tuple(kind for kind, node in links if node and _leads_to(facts, kind, node))
    return replace(gpu, card=card, render=render, by_path=present)


def _vfio_nodes(host: Host, gpu: Gpu) -> tuple[str, ...]:
    """Nodes of single devices exist only in kernels with ``CONFIG_VFIO_DEVICE_CDEV``."""
    device = f"vfio/devices/{gpu.vfio}"
    nodes = (group_node(host, gpu.iommu_group), device if gpu.vfio and host.devfs.exists(device) else "")
    return tuple(node for node in nodes if node)


def _leads_to(facts: Facts, kind: str, node: str) -> bool:
    """Whether udev's by-path link is there and is this device's: after a rebind an old one may name another's node."""
    try:
        return facts.host.devfs.realpath(f"dri/by-path/pci-{facts.bdf}-{kind}") == f"dri/{node}"
    except HostNotFound:
        return False
    except HostError as error:
        facts.note(error.message)
        return False


def _with_sriov(gpu: Gpu, facts: Facts) -> Gpu:
    if gpu.kind == "vf" or gpu.driver not in DRM_DRIVERS or "sriov_totalvfs" not in facts.entries:
        # Without its driver the file shows what the hardware could do, which no driver has promised.
        return gpu
    autoprobe = facts.text("sriov_drivers_autoprobe")
    return replace(
        gpu,
        max_vfs=facts.number("sriov_totalvfs"),
        num_vfs=sum(_VIRTFN.fullmatch(entry) is not None for entry in facts.entries),
        vf_autoprobe=None if autoprobe is None else autoprobe == "1",
        makes_vfs=_makes_vfs(gpu, facts),
        schedules_vfs="sriov_admin" in facts.entries and scheduling.is_offered(facts.host, gpu.bdf),
    )


def _makes_vfs(gpu: Gpu, facts: Facts) -> bool:
    """Whether the driver supports SR-IOV on this product, which ``sriov_totalvfs`` alone does not tell.

    xe does for its own products, not for those that it was made to take (``force_probe``). i915 does out-of-tree only,
    which shows by what is below the card; mainline's refuses all VFs.
    """
    if gpu.driver == "xe":
        return gpu.product.native_driver == "xe"
    return bool(gpu.card) and any(
        facts.host.sysfs.exists(facts.path(f"drm/{gpu.card}/{name}")) for name in ("prelim_iov", "iov")
    )
