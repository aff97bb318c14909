"""A sysfs and a devfs made by hand: what the simulated kernel would never make, too."""

from __future__ import annotations

import struct

from gpu_driver.device import Gpu
from gpu_driver.driver import GpuDriver
from gpu_driver.policy import GpuPolicy
from trees import Tree

MIB = 1024 * 1024


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


class SysTree(Tree):
    """One with GPUs."""

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
        super().bind(bdf, driver)
        folder = self.folders[bdf]
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
