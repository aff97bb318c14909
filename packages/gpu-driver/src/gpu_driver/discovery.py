"""Finding Intel GPUs in sysfs.

All functions on the PCI bus are looked at, bound or not. Vendor, class and device id must be readable; whatever else
cannot be read is unknown. One bad device costs one line of text, never another device.

``sriov_numvfs`` is not read: the kernel keeps a reader waiting while a write is in progress, which may be for ever.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from dra_common.driver import Discovery
from dra_common.errors import HostError, HostNotFound
from dra_common.pci import group_node
from dra_common.ports import Host

from gpu_driver import physfn, scheduling
from gpu_driver.device import DRM_DRIVERS, VFIO_DRIVERS, Gpu, is_bdf, split_name
from gpu_driver.facts import DRIVERS, PCI_DEVICES, Facts, MeiIndex, first
from gpu_driver.inside import Inside, Insides
from gpu_driver.memory import DmemCapacity, local_memory
from gpu_driver.products import product

VENDOR = "0x8086"

_TRIES = 3
_HEX4 = re.compile(r"0x[0-9a-f]{4}", re.ASCII)
_HEX6 = re.compile(r"0x[0-9a-f]{6}", re.ASCII)
_DISPLAY = ("0x0300", "0x0380")
"""PCI base class and subclass: VGA controller, other display controller. Audio and bridges of a card have others."""

_ROOT = re.compile(r"pci[0-9a-f]{4,8}:[0-9a-f]{2}", re.ASCII)
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
    look = _Look(host, MeiIndex(host), DmemCapacity(host), inside)
    found = look.named(only) if only is not None else look.all()
    gpus = sorted(found, key=lambda gpu: gpu.order)
    if inside:
        inside.end()
    return Discovery({gpu.name: gpu for gpu in gpus}, tuple(look.problems))


def at(host: Host, addresses: Collection[str]) -> tuple[Gpu, ...]:
    """Read the GPUs at these addresses as :func:`discover` with ``only``; what is not there is left out."""
    look = _Look(host, MeiIndex(host), DmemCapacity(host), None)
    return tuple(gpu for bdf in addresses for gpu in look.one(bdf))


@dataclass(slots=True)
class _Look:
    """One look at the machine: what is shared by its devices is read once."""

    host: Host
    mei: MeiIndex
    dmem: DmemCapacity
    inside: Inside | None
    problems: list[str] = field(default_factory=list)

    def all(self) -> Iterator[Gpu]:
        for bdf in self.host.sysfs.listdir(PCI_DEVICES):
            if is_bdf(bdf):
                try:
                    yield from self._at(bdf)
                except HostError as error:
                    if not self._has_gone(bdf, error):
                        self._left_out(bdf, error)

    def _has_gone(self, bdf: str, error: HostError) -> bool:
        """Whether it was pulled since it was listed: the kernel takes it out of the bus's list first."""
        return isinstance(error, HostNotFound) and bdf not in self.host.sysfs.listdir(PCI_DEVICES)

    def named(self, names: Collection[str]) -> Iterator[Gpu]:
        for name in sorted(set(names)):
            place = split_name(name)
            if place is None:
                continue
            yield from (gpu for gpu in self.one(place[0]) if gpu.name == name)

    def one(self, bdf: str) -> tuple[Gpu, ...]:
        """Return the GPU at an address, if there is one."""
        try:
            return tuple(self._at(bdf))
        except HostNotFound:
            return ()
        except HostError as error:
            self._left_out(bdf, error)
            return ()

    def _left_out(self, bdf: str, error: HostError) -> None:
        self.problems.append(f"{bdf}: left out: {error}")

    def _at(self, bdf: str) -> Iterator[Gpu]:
        """Yield the GPU at this address, or nothing. Raises HostError if one of the three essential files is bad."""
        if self._essential(bdf, "vendor", _HEX4) != VENDOR:
            return
        if not self._essential(bdf, "class", _HEX6).startswith(_DISPLAY):
            return
        device_id = self._essential(bdf, "device", _HEX4)
        yield self._settled(bdf, device_id)

    def _settled(self, bdf: str, device_id: str) -> Gpu:
        """Read a GPU, again if anything is wrong with it, and tell what two reads on end have found.

        Half a truth is no problem: its kernel driver may go, or come, or do both, while it is read.
        """
        gpu, found = self._heard(bdf, device_id)
        for _ in range(_TRIES):
            if not found:
                break
            before = found
            gpu, found = self._heard(bdf, device_id)
            if found == before and self._driver(bdf) == gpu.driver:
                self.problems += found
                break
        return gpu

    def _heard(self, bdf: str, device_id: str) -> tuple[Gpu, list[str]]:
        """Read a GPU; return it with what is wrong, which is told to nobody yet."""
        told = len(self.problems)
        try:
            return self._gpu(bdf, device_id), self.problems[told:]
        finally:
            del self.problems[told:]

    def _driver(self, bdf: str) -> str:
        return Facts(self.host, bdf, lambda _: None).link("driver", "drivers")

    def _essential(self, bdf: str, name: str, form: re.Pattern[str]) -> str:
        path = f"{PCI_DEVICES}/{bdf}/{name}"
        text = self.host.sysfs.read(path).strip()
        if not form.fullmatch(text):
            raise HostError(f"{path} holds {text[:40]!r}, not a hexadecimal number such as {VENDOR}")
        return text

    def _gpu(self, bdf: str, device_id: str) -> Gpu:
        real_path = self._real_path(bdf)
        facts = Facts(self.host, bdf, lambda line: self.problems.append(f"{bdf}: {line}"))
        gpu = Gpu(
            bdf,
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
                gpu = replace(gpu, mei=facts.mei(real_path, self.mei))
        return self._to_publish(self.inside.add(gpu, facts), real_path, facts) if self.inside else gpu

    def _real_path(self, bdf: str) -> str:
        """Resolve the device. A link to another device would be that device a second time, under a wrong name."""
        real_path = self.host.sysfs.realpath(f"{PCI_DEVICES}/{bdf}")
        if real_path.rpartition("/")[2] != bdf:
            raise HostError(f"{PCI_DEVICES}/{bdf} leads to another device, {real_path}")
        return real_path

    def _to_publish(self, gpu: Gpu, real_path: str, facts: Facts) -> Gpu:
        gpu = _with_sriov(gpu, facts)
        memory = local_memory(self.host, self.dmem, gpu)
        if memory.why:
            facts.note(f"local memory is unknown, the capacity is not published: {memory.why}")
        return replace(
            gpu,
            pcie_root=_pcie_root(real_path, facts),
            bindable=self.host.sysfs.exists(f"{DRIVERS}/{gpu.native_driver}") if gpu.native_driver else False,
            memory_mib=memory.mib,
        )


def _pcie_root(real_path: str, facts: Facts) -> str:
    top, _, rest = real_path.partition("/")
    root = rest.partition("/")[0]
    if top == "devices" and _ROOT.fullmatch(root):
        return root
    facts.note(f"the PCIe root is unknown: the device is at {real_path}, not below devices/pci…")
    return ""


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
