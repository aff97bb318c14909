"""Machines for the tests of the GPU driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from gpu_trees import MIB, SysTree, i915_blob, xe_blob


@pytest.fixture
def tree(tmp_path: Path) -> SysTree:
    return SysTree(tmp_path)


@pytest.fixture
def blobs() -> Mapping[str, Callable[..., bytes]]:
    return {"xe": xe_blob, "i915": i915_blob}


@pytest.fixture
def flex_tree(tree: SysTree) -> SysTree:
    """Two Flex 170 on the out-of-tree i915, the first with two VFs: one on vfio-pci, one unbound."""
    tree.gpu("0000:4d:00.0", "0x56c0", sriov_totalvfs="31", sriov_drivers_autoprobe="1", sriov_offset="1")
    tree.file(f"{tree.folders['0000:4d:00.0']}/sriov_stride", "1\n")
    tree.bind("0000:4d:00.0", "i915", card=1, render=128)
    tree.file(f"{tree.folders['0000:4d:00.0']}/drm/card1/lmem_total_bytes", f"{16288 * MIB}\n")
    tree.vf("0000:4d:00.0", "0000:4d:00.1", 0)
    tree.bind("0000:4d:00.1", "vfio-pci")
    tree.file(f"{tree.folders['0000:4d:00.1']}/vfio-dev/vfio0/dev", "511:0\n")
    tree.to(f"{tree.folders['0000:4d:00.1']}/iommu_group", "sys/kernel/iommu_groups/71")
    tree.vf("0000:4d:00.0", "0000:4d:00.2", 1)
    tree.gpu("0000:b3:00.0", "0x56c0", below="pci0000:b0/0000:b0:02.0", numa_node="1")
    tree.bind("0000:b3:00.0", "i915", card=10, render=129)
    tree.file(f"{tree.folders['0000:b3:00.0']}/drm/card10/lmem_total_bytes", f"{16288 * MIB}\n")
    return tree
