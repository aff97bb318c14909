from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from gpu_driver.device import Gpu
from gpu_driver.memory import DmemCapacity, Memory, local_memory, parse_dmem
from gpu_driver.products import product
from gpu_trees import SysTree

MIB = 1 << 20
GIB = 1 << 30
Blobs = Mapping[str, Callable[..., bytes]]

B580 = Gpu("0000:03:00.0", "0xe20b", product("0xe20b"), driver="xe", card="card0", render="renderD129")
FLEX = Gpu("0000:4d:00.0", "0x56c0", product("0x56c0"), driver="i915", card="card1", render="renderD128")
UHD = Gpu("0000:00:02.0", "0xa780", product("0xa780"), driver="i915", card="card1", render="renderD128")


def ask(tree: SysTree, gpu: Gpu) -> tuple[Memory, list[str]]:
    """The memory, and the questions that were put to nodes."""
    for node in (gpu.card, gpu.render):
        if node:
            tree.file(f"dev/dri/{node}", "")
    host = tree.host
    found = local_memory(host, DmemCapacity(host), gpu)
    return found, [f"{name} {node}" for node, name in host.asked]


def memory_of(tree: SysTree, gpu: Gpu) -> Memory:
    return ask(tree, gpu)[0]


def test_dmem_capacity_answers_without_opening_a_node(tree: SysTree) -> None:
    tree.file("sys/fs/cgroup/dmem.capacity", "drm/0000:03:00.0/vram0 12809404416\n")
    assert ask(tree, B580) == (Memory(12216), [])


def test_dmem_sums_the_tiles_of_one_card(tree: SysTree) -> None:
    lines = [
        "drm/0000:03:00.0/vram0 68719476736",
        "drm/0000:03:00.0/vram1 68719476736",
        "drm/0000:04:00.0/vram0 1048576",
    ]
    tree.file("sys/fs/cgroup/dmem.capacity", "\n".join(lines) + "\n")
    assert memory_of(tree, B580) == Memory(131072)


def test_dmem_is_read_once_for_all_devices(tree: SysTree) -> None:
    tree.file("sys/fs/cgroup/dmem.capacity", "drm/0000:03:00.0/vram0 1073741824\n")
    host = tree.host
    dmem = DmemCapacity(host)
    assert dmem.get("0000:03:00.0") == GIB
    (tree.root / "sys/fs/cgroup/dmem.capacity").unlink()
    assert dmem.get("0000:03:00.0") == GIB
    assert dmem.get("0000:04:00.0") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\n\n", {}),
        ("drm/0000:03:00.0/vram0 1048576", {"0000:03:00.0": 1048576}),
        ("drm/0000:03:00.0/vram 1048576", {"0000:03:00.0": 1048576}),
        ("drm/0000:03:00.0/stolen 1048576", {}),
        ("other/0000:03:00.0/vram0 1048576", {}),
        ("drm/0000:03:00.0/vram0", {}),
        ("drm/0000:03:00.0/vram0 max", {}),
        ("drm/0000:03:00.0/vram0 -1", {}),
        ("drm/0000:03:00.0/vram0 0", {}),
        ("drm/0000:03:00.0/vram0 ١٢", {}),
        (f"drm/0000:03:00.0/vram0 {'9' * 5000}", {}),
        ("drm/0000:03:00.0/vram0 1048576\ndrm/0000:03:00.0/vram1 garbage", {}),
        ("drm/0000:03:00.0/vram0 x\ndrm/0000:04:00.0/vram0 1048576", {"0000:04:00.0": 1048576}),
        ("\0\0\0", {}),
    ],
)
def test_parse_dmem(text: str, expected: Mapping[str, int]) -> None:
    assert parse_dmem(text) == expected


@pytest.mark.parametrize(("gpu", "driver"), [(B580, "xe"), (FLEX, "i915")], ids=["xe", "i915"])
def test_the_render_node_is_asked_first(tree: SysTree, blobs: Blobs, gpu: Gpu, driver: str) -> None:
    name = {"xe": "xe.mem_regions", "i915": "i915.memory_regions"}[driver]
    tree.answers[f"dri/{gpu.render}", name] = blobs[driver]((0, 64 * GIB), (1, 12 * GIB))
    assert ask(tree, gpu) == (Memory(12288), [f"{name} dri/{gpu.render}"])


@pytest.mark.parametrize("refusal", [errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENODEV])
def test_the_card_node_is_asked_when_the_render_node_refuses(
    tree: SysTree, blobs: Blobs, refusal: int
) -> None:
    tree.answers["dri/renderD129", "xe.mem_regions"] = refusal
    tree.answers["dri/card0", "xe.mem_regions"] = blobs["xe"]((0, 64 * GIB), (1, 12 * GIB))
    assert ask(tree, B580) == (Memory(12288), ["xe.mem_regions dri/renderD129", "xe.mem_regions dri/card0"])


def test_a_garbled_answer_is_not_believed(tree: SysTree, blobs: Blobs) -> None:
    tree.answers["dri/renderD129", "xe.mem_regions"] = blobs["xe"]((1, 12 * GIB))[:-1]
    tree.answers["dri/card0", "xe.mem_regions"] = errno.EACCES
    found = memory_of(tree, B580)
    assert found.mib is None
    assert "makes no sense" in found.why
    assert "Permission denied" in found.why


def test_the_out_of_tree_file_answers_last(tree: SysTree) -> None:
    tree.gpu("0000:4d:00.0", "0x56c0")
    tree.bind("0000:4d:00.0", "i915", card=1, render=128)
    tree.file(f"{tree.folders['0000:4d:00.0']}/drm/card1/lmem_total_bytes", "17079205888\n")
    assert memory_of(tree, FLEX) == Memory(16288)


@pytest.mark.parametrize("text", ["", "garbage", "-5", "0", "1.5", "9" * 60])
def test_the_out_of_tree_file_is_not_believed_blindly(tree: SysTree, text: str) -> None:
    tree.gpu("0000:4d:00.0", "0x56c0")
    tree.bind("0000:4d:00.0", "i915", card=1, render=128)
    tree.file(f"{tree.folders['0000:4d:00.0']}/drm/card1/lmem_total_bytes", f"{text}\n")
    found = memory_of(tree, FLEX)
    assert found.mib is None
    assert "not a number of bytes" in found.why


def test_zero_of_a_card_that_must_have_memory_is_unknown(tree: SysTree, blobs: Blobs) -> None:
    for node in ("renderD129", "card0"):
        tree.answers[f"dri/{node}", "xe.mem_regions"] = blobs["xe"]((0, 64 * GIB))
    found = memory_of(tree, B580)
    assert found.mib is None
    assert "dri/renderD129 knows no local memory" in found.why


def test_zero_of_an_unknown_product_is_what_the_kernel_knows(tree: SysTree, blobs: Blobs) -> None:
    unknown = Gpu("0000:00:02.0", "0xfffe", driver="xe", card="card0", render="renderD128")
    tree.answers["dri/renderD128", "xe.mem_regions"] = blobs["xe"]((0, 64 * GIB))
    assert memory_of(tree, unknown) == Memory(0)


@pytest.mark.parametrize("driver", ["i915", "", "vfio-pci"])
def test_integrated_graphics_have_none_and_nobody_is_asked(tree: SysTree, driver: str) -> None:
    gpu = Gpu(UHD.bdf, UHD.device_id, UHD.product, driver=driver, card="card1", render="renderD128")
    assert ask(tree, gpu) == (Memory(0), [])


@pytest.mark.parametrize("driver", ["", "vfio-pci", "xe-vfio-pci", "pci-stub"])
def test_without_its_driver_memory_is_unknown_and_nobody_wonders(tree: SysTree, driver: str) -> None:
    tree.file("sys/fs/cgroup/dmem.capacity", "drm/0000:03:00.0/vram0 1073741824\n")
    assert ask(tree, Gpu(B580.bdf, B580.device_id, B580.product, driver=driver)) == (Memory(None), [])


def test_without_nodes_there_is_a_reason(tree: SysTree) -> None:
    found = memory_of(tree, Gpu(B580.bdf, B580.device_id, B580.product, driver="xe"))
    assert found == Memory(None, "no DRM node to ask")


def test_a_change_is_seen_at_the_next_look(tree: SysTree) -> None:
    tree.file("sys/fs/cgroup/dmem.capacity", "drm/0000:03:00.0/vram0 1073741824\n")
    assert memory_of(tree, B580) == Memory(1024)
    tree.file("sys/fs/cgroup/dmem.capacity", "drm/0000:03:00.0/vram0 2147483648\n")
    assert memory_of(tree, B580) == Memory(2048)


VF = Gpu("0000:03:00.2", "0xe20b", product("0xe20b"), kind="vf", parent="0000:03:00.0", vf_index=1)


def test_the_pf_tells_what_a_virtual_function_has_whatever_it_is_bound_to(tree: SysTree) -> None:
    tree.gpu("0000:03:00.0", "0xe20b")
    path = f"{tree.folders['0000:03:00.0']}/sriov_admin/vf2/profile/vram_quota"
    tree.file(path, f"{3 * GIB}\n")
    for driver in ("", "vfio-pci", "xe"):
        assert memory_of(tree, replace(VF, driver=driver)) == Memory(3072)
    for nothing in ("0\n", "max\n", ""):
        tree.file(path, nothing)
        assert memory_of(tree, VF) == Memory(None)


def test_the_out_of_tree_i915_tells_it_for_each_gt(tree: SysTree) -> None:
    pf = tree.gpu("0000:4d:00.0", "0x56c0")
    tree.bind("0000:4d:00.0", "i915", card=1, render=128)
    for gt in (0, 1):
        tree.file(f"{pf}/drm/card1/prelim_iov/vf1/gt{gt}/lmem_quota", f"{GIB}\n")
    vf = replace(FLEX, bdf="0000:4d:00.1", kind="vf", driver="vfio-pci", parent=FLEX.bdf, vf_index=0)
    assert memory_of(tree, vf) == Memory(2048)
    assert memory_of(tree, replace(vf, vf_index=None)) == Memory(None)
    assert memory_of(tree, replace(vf, parent="")) == Memory(None)
