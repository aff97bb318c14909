"""How much memory of its own a GPU has.

No kernel has one place for it. In order: the dmem cgroup controller (``Documentation/admin-guide/cgroup-v2.rst``; since
6.14, xe only, readable without opening a device), the ioctl of the driver on a node that permits it, and the file
``lmem_total_bytes`` of the out-of-tree i915. The size of a PCI BAR is not used: it is an upper bound at best, 256 MiB
at worst. Nothing is cached: one look is one small file, and a rebound device or a resized VF must not keep old numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dra_common.errors import HostError, HostNotFound
from dra_common.pci import number
from dra_common.ports import Host

from gpu_driver.device import DRM_DRIVERS, Gpu
from gpu_driver.queries import HUGE, QUERIES, local_bytes

_MIB = 1024 * 1024
_CAPACITY = "fs/cgroup/dmem.capacity"


@dataclass(frozen=True, slots=True)
class Memory:
    """The answer: ``mib`` of local memory, or None and ``why`` (one line; empty where nobody expects an answer)."""

    mib: int | None
    why: str = ""


class DmemCapacity:
    """``dmem.capacity`` of the root cgroup, read at most once: bytes of local memory by PCI address."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._regions: Mapping[str, int] | None = None

    def get(self, bdf: str) -> int | None:
        """Return the sum of the device's VRAM regions, None if the controller or the device is not there."""
        if self._regions is None:
            self._regions = self._read()
        return self._regions.get(bdf)

    def _read(self) -> Mapping[str, int]:
        try:
            return parse_dmem(self._host.sysfs.read(_CAPACITY))
        except HostError:
            return {}


def parse_dmem(text: str) -> Mapping[str, int]:
    """Return bytes by PCI address of lines such as ``drm/0000:03:00.0/vram0 12809404416``.

    A device one of whose lines does not read so is left out whole: a part of its memory would be a wrong number.
    """
    found: dict[str, int] = {}
    broken: set[str] = set()
    for line in text.splitlines():
        region, _, size = line.strip().partition(" ")
        kind, _, rest = region.partition("/")
        bdf, _, name = rest.partition("/")
        if kind != "drm" or not name.startswith("vram"):
            continue
        if (value := _bytes(size)) is None:
            broken.add(bdf)
            continue
        found[bdf] = found.get(bdf, 0) + value
    return {bdf: size for bdf, size in found.items() if bdf not in broken}


def local_memory(host: Host, dmem: DmemCapacity, gpu: Gpu) -> Memory:
    """Find out how much local memory ``gpu`` has. Never raises for what the machine may hold.

    Integrated graphics have none, whatever they are bound to. Otherwise only a bound DRM driver knows, and 0 from a
    card that must have some counts as unknown.
    """
    if gpu.product.integrated:
        return Memory(0)
    if gpu.driver not in DRM_DRIVERS:
        return Memory(vf_quota(host, gpu.parent, gpu.vf_index))
    if (size := dmem.get(gpu.bdf)) is not None:
        return Memory(size // _MIB)
    return _asked(host, gpu)


def _asked(host: Host, gpu: Gpu) -> Memory:
    reasons = []
    for node in _nodes(gpu):
        try:
            size = _query(host, node, gpu.driver)
        except HostError as error:
            reasons.append(error.message)
            continue
        if size or gpu.product.integrated is None:
            return Memory(size // _MIB)
        reasons.append(f"{node} knows no local memory")
    try:
        return Memory(_lmem_total_bytes(host, gpu) // _MIB)
    except HostNotFound:
        pass
    except HostError as error:
        reasons.append(error.message)
    if (mib := vf_quota(host, gpu.parent, gpu.vf_index)) is not None:
        return Memory(mib)
    return Memory(None, "; ".join(reasons) or "no DRM node to ask")


def vf_quota(host: Host, pf: str, index: int | None) -> int | None:
    """Return the MiB of local memory that a PF's driver has given to a VF; None if it does not say.

    xe: ``sriov_admin`` (ABI document sysfs-driver-intel-xe-sriov; ``vram_quota`` since Linux 7.1). i915, out-of-tree:
    ``prelim_iov`` below the card, one quota for each GT. In both VFs count from 1.
    """
    if not pf or index is None:
        return None
    place = f"bus/pci/devices/{pf}"
    try:
        sizes = [_size(host, path) for path in _quotas(host, place, index + 1)]
    except HostError:
        return None
    return sum(sizes) // _MIB if sizes and all(sizes) else None


def _quotas(host: Host, place: str, number: int) -> Iterator[str]:
    if host.sysfs.exists(path := f"{place}/sriov_admin/vf{number}/profile/vram_quota"):
        yield path
        return
    for card in host.sysfs.listdir(f"{place}/drm"):
        folder = f"{place}/drm/{card}/prelim_iov/vf{number}"
        if host.sysfs.exists(folder):
            for gt in host.sysfs.listdir(folder):
                if host.sysfs.exists(path := f"{folder}/{gt}/lmem_quota"):
                    yield path


def _size(host: Host, path: str) -> int:
    return _bytes(host.sysfs.read(path).strip()) or 0


def _nodes(gpu: Gpu) -> Iterator[str]:
    """Render node first: it is open to more, and to open it takes nothing from a display server."""
    yield from (f"dri/{node}" for node in (gpu.render, gpu.card) if node)


def _query(host: Host, node: str, driver: str) -> int:
    query = QUERIES[driver]
    return local_bytes(query, host.query(node, query))


def _lmem_total_bytes(host: Host, gpu: Gpu) -> int:
    path = f"bus/pci/devices/{gpu.bdf}/drm/{gpu.card}/lmem_total_bytes"
    if not gpu.card:
        raise HostNotFound(f"{gpu.bdf} has no card")
    text = host.sysfs.read(path).strip()
    if (value := _bytes(text)) is None:
        raise HostError(f"{path} holds {text[:40]!r}, not a number of bytes")
    return value


def _bytes(text: str) -> int | None:
    value = number(text)
    return value if value and value < HUGE else None
