"""A sysfs and a devfs made by hand: what the simulated kernel would never make, too."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from dra_common.errors import HostError, HostNotFound
from dra_common.host import RealHost, Roots
from dra_common.ports import DeviceQuery
from gpu_driver.device import Gpu
from gpu_driver.driver import GpuDriver
from gpu_driver.policy import GpuPolicy

MIB = 1024 * 1024

Answers = Mapping[tuple[str, str], bytes | int]
"""(node, name of the query) -> the kernel's bytes, or its errno."""


def configured(**policy: object) -> GpuDriver:
    """The driver with a policy of these fields."""
    driver = GpuDriver()
    driver.configure(GpuPolicy.model_validate(policy))
    return driver


def not_published(gpu: Gpu) -> Gpu:
    """The same without what only the scheduler wants to know: what a look for a prepare finds."""
    return Gpu(
        gpu.bdf,
        gpu.device_id,
        gpu.product,
        driver=gpu.driver,
        kind=gpu.kind,
        card=gpu.card,
        render=gpu.render,
        by_path=gpu.by_path,
        mei=gpu.mei,
        vfio=gpu.vfio,
        vfio_nodes=gpu.vfio_nodes,
        in_use=gpu.in_use,
        iommu_group=gpu.iommu_group,
        numa_node=gpu.numa_node,
        parent=gpu.parent,
        vf_index=gpu.vf_index,
    )


class TreeHost(RealHost):
    """Real files; the ioctls that plain files cannot answer come from a table. Counts what is read."""

    def __init__(self, root: Path, answers: Answers) -> None:
        roots = Roots(str(root / "sys"), str(root / "dev"), str(root / "proc"), str(root / "debug"))
        super().__init__(roots)
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    def query(self, node: str, query: DeviceQuery) -> bytes:
        self.asked.append((node, query.name))
        if not self.devfs.exists(node):
            raise HostNotFound(f"no {node}", errno=errno.ENOENT)
        answer = self.answers.get((node, query.name), errno.EACCES)
        if isinstance(answer, int):
            raise HostError(f"{query.name} of {node}: {os.strerror(answer)}", errno=answer)
        return answer


class SysTree:
    """Builds ``sys`` and ``dev`` below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers: dict[tuple[str, str], bytes | int] = {}
        self.folders: dict[str, str] = {}
        for folder in ("sys/bus/pci/devices", "sys/bus/pci/drivers", "dev", "proc"):
            (root / folder).mkdir(parents=True)

    @property
    def host(self) -> TreeHost:
        return TreeHost(self.root, self.answers)

    def file(self, path: str, text: str | bytes) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        return place

    def link(self, path: str, target: str) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)
        return place

    def to(self, path: str, target: str) -> Path:
        """A relative link between two paths below the root."""
        return self.link(path, os.path.relpath(self.root / target, (self.root / path).parent))

    def function(self, bdf: str, *, below: str = "pci0000:4a/0000:4a:02.0", **files: str) -> str:
        """A PCI function with these files; returns its folder (``sys/devices/…``)."""
        folder = f"sys/devices/{below}/{bdf}"
        for name, text in files.items():
            self.file(f"{folder}/{name.rstrip('_')}", f"{text}\n")
        self.to(f"sys/bus/pci/devices/{bdf}", folder)
        self.folders[bdf] = folder
        return folder

    def gpu(
        self,
        bdf: str,
        device: str,
        *,
        below: str = "pci0000:4a/0000:4a:02.0",
        class_: str = "0x038000",
        **more: str,
    ) -> str:
        """An unbound Intel GPU."""
        files = {"vendor": "0x8086", "class": class_, "device": device, "numa_node": "0"} | more
        return self.function(bdf, below=below, **files)

    def bind(self, bdf: str, driver: str, *, card: int | None = None, render: int | None = None) -> None:
        """Bind to a driver, with these DRM nodes and their by-path links."""
        folder = self.folders[bdf]
        self.to(f"{folder}/driver", f"sys/bus/pci/drivers/{driver}")
        names = {
            "card": f"card{card}" if card is not None else "",
            "render": f"renderD{render}" if render else "",
        }
        for kind, name in names.items():
            if name:
                self.file(f"{folder}/drm/{name}/dev", "226:1\n")
                self.file(f"dev/dri/{name}", "")
                self.link(f"dev/dri/by-path/pci-{bdf}-{kind}", f"../{name}")

    def vf(self, pf: str, bdf: str, index: int) -> str:
        """An unbound VF of a function made earlier."""
        folder = self.folders[pf]
        device = (self.root / folder / "device").read_text().strip()
        below = folder.removeprefix("sys/devices/").rpartition("/")[0]
        made = self.gpu(bdf, device, below=below)
        self.link(f"{made}/physfn", f"../{pf}")
        self.link(f"{folder}/virtfn{index}", f"../{bdf}")
        return made


def xe_blob(*regions: tuple[int, int]) -> bytes:
    """Struct drm_xe_query_mem_regions: (class, bytes) for each region."""
    blob = struct.pack("<II", len(regions), 0)
    for instance, (kind, size) in enumerate(regions):
        blob += struct.pack("<HHIQQQQ6Q", kind, instance, 4096, size, 0, size, 0, *[0] * 6)
    return blob


def i915_blob(*regions: tuple[int, int]) -> bytes:
    """Struct drm_i915_query_memory_regions."""
    blob = struct.pack("<IIII", len(regions), 0, 0, 0)
    for instance, (kind, size) in enumerate(regions):
        blob += struct.pack("<HHIQQ8Q", kind, instance, 0, size, size, size, size, *[0] * 6)
    return blob


def topology_blob(*masks: tuple[int, int, int]) -> bytes:
    """A struct drm_xe_query_topology_mask of eight bytes for each (GT, type, mask)."""
    return b"".join(struct.pack("<HHIQ", gt, kind, 8, mask) for gt, kind, mask in masks)


def firmware_blob(*version: int, kind: int = 0) -> bytes:
    """Struct drm_xe_query_uc_fw_version."""
    return struct.pack("<HHIIIIIQ", kind, 0, 0, *version, 0, 0)
