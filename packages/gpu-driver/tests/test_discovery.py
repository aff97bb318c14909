from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from dra_common.errors import HostError, HostNotFound
from dra_common.host import FileTree
from dra_common.ports import DeviceQuery, Host
from gpu_driver.device import Gpu
from gpu_driver.discovery import discover
from gpu_trees import SysTree, not_published
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import Answers, TreeHost

PF, VF0, VF1, SECOND = "0000:4d:00.0", "0000:4d:00.1", "0000:4d:00.2", "0000:b3:00.0"


def look(host: Host) -> dict[str, Gpu]:
    """All GPUs by PCI address of a machine without problems."""
    found = discover(host)
    assert found.problems == ()
    return {gpu.bdf: gpu for gpu in found.hardware.values()}


def names(tree: SysTree) -> list[str]:
    return [gpu.bdf for gpu in discover(tree.host).hardware.values()]


def one(tree: SysTree, bdf: str) -> Gpu:
    return next(gpu for gpu in discover(tree.host).hardware.values() if gpu.bdf == bdf)


def problems_of(tree: SysTree, bdf: str) -> str:
    lines = discover(tree.host).problems
    assert all(line.startswith(f"{bdf}: ") for line in lines), lines
    return "\n".join(lines)


# --------------------------------------------------------------------------- what is found


class Restless(TreeHost):
    """A machine on which nobody answers the first questions: a kernel driver that went, and is back already."""

    def __init__(self, root: Path, answers: Answers, silent: int) -> None:
        super().__init__(root, answers)
        self.silent = silent

    def query(self, node: str, query: DeviceQuery) -> bytes:
        self.silent -= 1
        if self.silent >= 0:
            raise HostNotFound(f"{node} is not there")
        return super().query(node, query)


@pytest.fixture
def asked(tree: SysTree, blobs: Mapping[str, Callable[..., bytes]]) -> SysTree:
    """A GPU whose memory only its driver knows, which is asked through two nodes."""
    tree.gpu(PF, "0x56c0")
    tree.bind(PF, "i915", card=1, render=128)
    for node in ("renderD128", "card1"):
        tree.answers[f"dri/{node}", "i915.memory_regions"] = blobs["i915"]((1, 16 << 30))
    return tree


@pytest.mark.parametrize("silent", [2, 3])
def test_what_only_one_read_finds_is_no_problem(asked: SysTree, silent: int) -> None:
    """The driver is the same before and after: only a second read knows that the first one met its absence."""
    restless = Restless(asked.root, asked.answers, silent)
    assert look(restless)[PF].memory_mib == 16384
    assert restless.silent < 0


def test_what_a_second_read_finds_too_is_told_once(asked: SysTree) -> None:
    found = discover(Restless(asked.root, asked.answers, 1000))
    assert len(found.problems) == 1
    assert "local memory is unknown" in found.problems[0]
    assert list(found.hardware) == ["0000-4d-00-0-0x56c0"]


def test_every_fact_of_a_bound_gpu(flex_tree: SysTree) -> None:
    gpu = look(flex_tree.host)[PF]
    assert (gpu.name, gpu.product.model, gpu.driver, gpu.kind) == (
        "0000-4d-00-0-0x56c0",
        "Flex 170",
        "i915",
        "gpu",
    )
    assert (gpu.card, gpu.render, gpu.by_path) == ("card1", "renderD128", ("card", "render"))
    assert (gpu.max_vfs, gpu.num_vfs, gpu.vf_autoprobe, gpu.sriov) == (31, 2, True, True)
    assert (gpu.pcie_root, gpu.numa_node, gpu.memory_mib) == ("pci0000:4a", 0, 16288)
    assert (gpu.parent, gpu.vf_index, gpu.vfio, gpu.iommu_group, gpu.mei) == ("", None, "", "", ())


def test_facts_of_virtual_functions(flex_tree: SysTree) -> None:
    found = look(flex_tree.host)
    assert [(found[bdf].kind, found[bdf].parent, found[bdf].vf_index) for bdf in (VF0, VF1)] == [
        ("vf", PF, 0),
        ("vf", PF, 1),
    ]
    assert (found[VF0].driver, found[VF0].vfio, found[VF0].iommu_group) == ("vfio-pci", "vfio0", "71")
    assert (found[VF1].driver, found[VF1].vfio, found[VF1].card) == ("", "", "")
    assert [found[bdf].memory_mib for bdf in (VF0, VF1)] == [None, None]
    assert not found[VF0].sriov


def test_keys_are_names_in_scheduling_order(flex_tree: SysTree) -> None:
    hardware = discover(flex_tree.host).hardware
    assert list(hardware) == [gpu.name for gpu in hardware.values()]
    assert names(flex_tree) == [SECOND, PF, VF0, VF1]


def test_a_second_look_finds_the_same(flex_tree: SysTree) -> None:
    assert discover(flex_tree.host) == discover(flex_tree.host)
    assert list(discover(flex_tree.host).hardware) == list(discover(flex_tree.host).hardware)


def test_the_number_decides_not_the_alphabet(tree: SysTree) -> None:
    tree.gpu("0000:03:00.0", "0x56c0")
    tree.bind("0000:03:00.0", "i915", card=10, render=130)
    tree.bind("0000:03:00.0", "i915", card=9, render=129)
    assert (one(tree, "0000:03:00.0").card, one(tree, "0000:03:00.0").render) == ("card9", "renderD129")


def test_names_are_matched_never_the_other_entry(tree: SysTree) -> None:
    folder = tree.gpu("0000:03:00.0", "0xe20b", class_="0x030000")
    tree.bind("0000:03:00.0", "xe", card=2, render=129)
    for other in (
        "card2-DP-1",
        "card2-HDMI-A-1",
        "controlD66",
        "render",
        "cardX",
        "renderD",
        ".card1.new",
        "version",
    ):
        tree.file(f"{folder}/drm/{other}/status", "")
    gpu = one(tree, "0000:03:00.0")
    assert (gpu.card, gpu.render) == ("card2", "renderD129")


def test_only_intel_display_functions_are_ours(tree: SysTree) -> None:
    tree.gpu("0000:03:00.0", "0xe20b", class_="0x030000")
    tree.gpu("0000:03:00.1", "0xe20b", class_="0x038000")
    tree.gpu("0000:03:00.2", "0xe20b", class_="0x030001")
    tree.gpu("0000:04:00.0", "0xe2f7", class_="0x040300")  # its audio function
    tree.gpu("0000:05:00.0", "0x4940", class_="0x0b4000")  # QAT
    tree.gpu("0000:06:00.0", "0xe2ff", class_="0x060400")  # a bridge of the card
    tree.function("0000:07:00.0", vendor="0x1a03", device="0x2000", class_="0x030000")  # BMC
    tree.function("0000:08:00.0", vendor="0x10de", device="0x56c0", class_="0x030000")
    tree.file("sys/bus/pci/devices/not-a-function/vendor", "0x8086\n")
    assert names(tree) == ["0000:03:00.0", "0000:03:00.1", "0000:03:00.2"]
    assert discover(tree.host).problems == ()


@pytest.mark.defect(20)
@pytest.mark.parametrize("driver", ["", "xe", "i915", "vfio-pci", "pci-stub"])
def test_an_unknown_product_is_kept_whatever_it_is_bound_to(tree: SysTree, driver: str) -> None:
    tree.gpu("0000:03:00.0", "0xfffe")
    if driver:
        tree.bind("0000:03:00.0", driver, card=1, render=128)
    gpu = one(tree, "0000:03:00.0")
    assert (gpu.product.model, gpu.product.family, gpu.driver) == ("Unknown", "Unknown", driver)
    assert gpu.card == ("card1" if driver in {"xe", "i915"} else "")


def test_no_gpus_is_an_answer(tree: SysTree) -> None:
    found = discover(tree.host)
    assert (dict(found.hardware), found.problems) == ({}, ())


def test_without_a_bus_there_is_no_answer(tree: SysTree) -> None:
    shutil.rmtree(tree.root / "sys/bus")
    with pytest.raises(HostError, match="bus/pci/devices"):
        discover(tree.host)


# --------------------------------------------------------------------------- MEI


def test_mei_below_the_card(tree: SysTree) -> None:
    folder = tree.gpu("0000:03:00.0", "0x56a0")
    tree.bind("0000:03:00.0", "i915", card=1, render=128)
    tree.file(f"{folder}/i915.mei-gscfi.768/mei/mei10/dev", "")
    tree.file(f"{folder}/i915.mei-gsc.768/mei/mei2/dev", "")
    tree.file(f"{folder}/i915.mei-gsc.768/uevent", "")
    assert one(tree, "0000:03:00.0").mei == ("mei2", "mei10")


def test_mei_by_its_class(tree: SysTree) -> None:
    folder = tree.gpu("0000:03:00.0", "0x56a0")
    tree.bind("0000:03:00.0", "i915", card=1, render=128)
    tree.file(f"{folder}/auxiliary.0/deeper/mei1/dev", "")
    tree.to("sys/class/mei/mei1", f"{folder}/auxiliary.0/deeper/mei1")
    tree.file("sys/devices/pci0000:00/0000:00:16.0/mei/mei0/dev", "")
    tree.to("sys/class/mei/mei0", "sys/devices/pci0000:00/0000:00:16.0/mei/mei0")
    tree.link("sys/class/mei/mei7", "mei7")
    assert one(tree, "0000:03:00.0").mei == ("mei1",)


def test_the_chipsets_mei_belongs_to_no_gpu(tree: SysTree) -> None:
    tree.gpu("0000:00:02.0", "0xa780", below="pci0000:00", class_="0x030000")
    tree.bind("0000:00:02.0", "i915", card=0, render=128)
    tree.file("sys/devices/pci0000:00/0000:00:16.0/mei/mei0/dev", "")
    tree.to("sys/class/mei/mei0", "sys/devices/pci0000:00/0000:00:16.0/mei/mei0")
    assert one(tree, "0000:00:02.0").mei == ()


def test_mei_is_not_looked_for_without_a_drm_driver(tree: SysTree) -> None:
    folder = tree.gpu("0000:03:00.0", "0x56a0")
    tree.bind("0000:03:00.0", "vfio-pci")
    tree.file(f"{folder}/i915.mei-gsc.768/mei/mei2/dev", "")
    assert one(tree, "0000:03:00.0").mei == ()


# --------------------------------------------------------------------------- by-path links


@pytest.mark.parametrize("damage", ["missing", "stale", "dangling", "loop", "escape"])
def test_only_a_link_that_leads_to_this_gpu_counts(tree: SysTree, damage: str) -> None:
    tree.gpu("0000:03:00.0", "0x56a0")
    tree.bind("0000:03:00.0", "i915", card=1, render=128)
    tree.file("dev/dri/card0", "")
    place = "dev/dri/by-path/pci-0000:03:00.0-card"
    (tree.root / place).unlink()
    if damage != "missing":
        targets = {
            "stale": "../card0",
            "dangling": "../card7",
            "loop": "pci-0000:03:00.0-card",
            "escape": "/etc/passwd",
        }
        tree.link(place, targets[damage])
    gpu = one(tree, "0000:03:00.0")
    assert (gpu.card, gpu.by_path) == ("card1", ("render",))


# --------------------------------------------------------------------------- SR-IOV


@pytest.mark.parametrize("driver", ["", "vfio-pci"])
def test_totals_without_a_drm_driver_promise_nothing(tree: SysTree, driver: str) -> None:
    tree.gpu("0000:03:00.0", "0x56c0", sriov_totalvfs="31", sriov_drivers_autoprobe="1")
    if driver:
        tree.bind("0000:03:00.0", driver)
    gpu = one(tree, "0000:03:00.0")
    assert (gpu.max_vfs, gpu.num_vfs, gpu.sriov) == (None, None, False)


@pytest.mark.parametrize(
    ("total", "autoprobe", "sriov"),
    [("31", "1", True), ("0", "1", False), ("31", "0", False), ("31", "", False), ("31", None, False),
     ("garbage", "1", False), ("-1", "1", False), ("", "1", False)],
)  # fmt: skip
def test_sriov_by_totals_and_autoprobe(
    tree: SysTree, total: str, autoprobe: str | None, *, sriov: bool
) -> None:
    files = {} if autoprobe is None else {"sriov_drivers_autoprobe": autoprobe}
    tree.gpu("0000:03:00.0", "0x56c0", sriov_totalvfs=total, **files)
    tree.bind("0000:03:00.0", "i915", card=1, render=128)
    assert one(tree, "0000:03:00.0").sriov is sriov


def test_numvfs_is_never_read(flex_tree: SysTree) -> None:
    # The kernel keeps a reader of this file waiting while a write is in progress. A fifo would do the same.
    os.mkfifo(flex_tree.root / flex_tree.folders[PF] / "sriov_numvfs")
    assert one(flex_tree, PF).num_vfs == 2
    assert problems_of(flex_tree, PF) == ""


def test_vf_index_beyond_the_first_eight(tree: SysTree) -> None:
    tree.gpu("0000:4d:00.0", "0x56c0", sriov_offset="1", sriov_stride="1")
    tree.vf("0000:4d:00.0", "0000:4d:03.7", 30)
    assert look(tree.host)["0000:4d:03.7"].vf_index == 30


@pytest.mark.parametrize(
    ("offset", "stride"),
    [("1", "0"), ("0", "1"), ("", ""), ("garbage", "1"), ("1", "3"), ("99", "1"), ("-1", "-1")],
)
def test_a_vf_index_that_the_pf_does_not_confirm_is_unknown(tree: SysTree, offset: str, stride: str) -> None:
    tree.gpu("0000:4d:00.0", "0x56c0", sriov_offset=offset, sriov_stride=stride)
    tree.vf("0000:4d:00.0", "0000:4d:00.3", 2)
    vf = one(tree, "0000:4d:00.3")
    assert (vf.kind, vf.parent, vf.vf_index) == ("vf", "0000:4d:00.0", None)


@pytest.mark.parametrize("target", ["garbage", "../garbage", "physfn", "../0000:4d:00.1", "/etc/passwd"])
def test_a_physfn_that_makes_no_sense_is_still_a_vf(flex_tree: SysTree, target: str) -> None:
    flex_tree.link(f"{flex_tree.folders[VF0]}/physfn", target)
    vf = one(flex_tree, VF0)
    assert (vf.kind, vf.parent, vf.vf_index) == ("vf", "", None)
    assert "physfn" in problems_of(flex_tree, VF0)


# The kernel makes the link after the VF, and takes it away before it unbinds the VF's driver.


@pytest.fixture
def divided(flex_tree: SysTree) -> SysTree:
    flex_tree.file(f"{flex_tree.folders[PF]}/sriov_vf_device", "56c0\n")
    for vf in (VF0, VF1):
        (flex_tree.root / flex_tree.folders[vf] / "physfn").unlink()
    return flex_tree


def test_a_vf_that_comes_or_goes_is_one_without_its_link(divided: SysTree) -> None:
    found = look(divided.host)
    told = {gpu.bdf: (gpu.kind, gpu.parent, gpu.vf_index) for gpu in found.values()}
    vf, gpu = ("vf", PF, None), ("gpu", "", None)
    assert told == {PF: gpu, VF0: vf, VF1: vf, SECOND: gpu}
    assert problems_of(divided, VF1) == ""
    # Also where nothing else is looked at.
    named = [gpu.name for gpu in found.values() if gpu.bdf == VF1]
    (only,) = discover(divided.host, named).hardware.values()
    assert (only.kind, only.parent) == ("vf", PF)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("totalvfs", "1"),
        ("vf_device", "56c1"),
        ("vf_device", "x"),
        ("offset", "0"),
        ("stride", "0"),
    ],
)
def test_a_function_that_no_pf_can_have_made_is_a_gpu(divided: SysTree, name: str, text: str) -> None:
    divided.file(f"{divided.folders[PF]}/sriov_{name}", f"{text}\n")
    if name == "offset":
        divided.file(f"{divided.folders[PF]}/sriov_stride", "3\n")
    assert look(divided.host)[VF1].kind == "gpu"


# --------------------------------------------------------------------------- essential facts


@pytest.mark.parametrize("name", ["vendor", "class", "device"])
@pytest.mark.parametrize(
    "text", ["", "garbage", "8086", "0x80", "0x8086 0x8086", "0X8086", "\0", "0x808\N{FULLWIDTH DIGIT SIX}"]
)
def test_an_essential_file_with_garbage_costs_this_device_only(
    flex_tree: SysTree, name: str, text: str
) -> None:
    flex_tree.file(f"{flex_tree.folders[SECOND]}/{name}", f"{text}\n")
    found = discover(flex_tree.host)
    assert [gpu.bdf for gpu in found.hardware.values()] == [PF, VF0, VF1]
    (line,) = found.problems
    assert line.startswith(f"{SECOND}: left out: ")
    assert f"{SECOND}/{name} holds" in line


@pytest.mark.parametrize("name", ["vendor", "class", "device"])
@pytest.mark.parametrize("damage", ["missing", "folder", "binary", "loop", "escape", "fifo", "huge"])
def test_an_essential_file_that_cannot_be_read(flex_tree: SysTree, name: str, damage: str) -> None:
    place = flex_tree.root / flex_tree.folders[SECOND] / name
    harm(place, damage)
    found = discover(flex_tree.host)
    assert [gpu.bdf for gpu in found.hardware.values()] == [PF, VF0, VF1]
    (line,) = found.problems
    assert line.startswith(f"{SECOND}: left out: cannot ")


def test_a_function_that_is_pulled_while_it_is_looked_at_is_no_trouble(
    flex_tree: SysTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was listed, and is neither there nor listed when its files are read."""
    host = flex_tree.host
    listed, real = [host.sysfs.listdir("bus/pci/devices")], FileTree.listdir

    def listdir(tree: FileTree, path: str) -> tuple[str, ...]:
        return listed.pop() if path == "bus/pci/devices" and listed else real(tree, path)

    monkeypatch.setattr(FileTree, "listdir", listdir)
    (flex_tree.root / "sys/bus/pci/devices" / SECOND).unlink()
    found = discover(host)
    assert found.problems == ()
    assert [gpu.bdf for gpu in found.hardware.values()] == [PF, VF0, VF1]
    assert listed == []


@pytest.mark.parametrize("target", ["0000:b3:00.0", "../../../devices/gone", "/etc", "../../../../.."])
def test_a_function_that_leads_nowhere(flex_tree: SysTree, target: str) -> None:
    flex_tree.link("sys/bus/pci/devices/0000:b3:00.0", target)
    found = discover(flex_tree.host)
    assert [gpu.bdf for gpu in found.hardware.values()] == [PF, VF0, VF1]
    assert found.problems[0].startswith("0000:b3:00.0: left out: ")


def test_a_device_is_never_there_twice(flex_tree: SysTree) -> None:
    flex_tree.to("sys/bus/pci/devices/0000:ff:00.0", flex_tree.folders[PF])
    found = discover(flex_tree.host)
    assert [gpu.bdf for gpu in found.hardware.values()] == [SECOND, PF, VF0, VF1]
    assert "leads to another device" in problems_of(flex_tree, "0000:ff:00.0")


# --------------------------------------------------------------------------- other facts


OTHERS = [
    "driver",
    "numa_node",
    "drm",
    "iommu_group",
    "vfio-dev",
    "sriov_totalvfs",
    "sriov_drivers_autoprobe",
    "physfn",
]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("damage", ["folder", "text", "binary", "loop", "escape", "fifo", "huge", "missing"])
def test_another_fact_that_cannot_be_read_costs_no_device(flex_tree: SysTree, name: str, damage: str) -> None:
    for bdf in (PF, VF0):
        harm(flex_tree.root / flex_tree.folders[bdf] / name, damage)
    found = discover(flex_tree.host)
    assert {gpu.bdf for gpu in found.hardware.values()} == {PF, VF0, VF1, SECOND}
    untouched = [gpu for gpu in found.hardware.values() if gpu.bdf in {VF1, SECOND}]
    assert [gpu.memory_mib for gpu in untouched] == [16288, None]
    assert not [line for line in found.problems if not line.startswith((PF, VF0))]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("numa_node", "garbage\n", "numa_node holds 'garbage', not a number"),
        ("numa_node", "9" * 5000, "numa_node holds '9999"),
        ("numa_node", "", "numa_node holds ''"),
        ("sriov_totalvfs", "many\n", "sriov_totalvfs holds 'many'"),
    ],
)
def test_a_fact_that_makes_no_sense_is_told(flex_tree: SysTree, name: str, text: str, told: str) -> None:
    flex_tree.file(f"{flex_tree.folders[PF]}/{name}", text)
    assert told in problems_of(flex_tree, PF)
    assert getattr(one(flex_tree, PF), {"numa_node": "numa_node", "sriov_totalvfs": "max_vfs"}[name]) is None


@pytest.mark.parametrize(
    "target", ["driver", "i915", "../drivers/", "../drivers/..", "../drivers/a b", "/etc/passwd"]
)
def test_a_driver_link_that_makes_no_sense(flex_tree: SysTree, target: str) -> None:
    flex_tree.link(f"{flex_tree.folders[PF]}/driver", target)
    assert one(flex_tree, PF).driver == ""
    assert f"the link driver leads to {target!r}, not into drivers" in problems_of(flex_tree, PF)


def test_the_kernels_unknown_numa_node_is_unknown(tree: SysTree) -> None:
    tree.gpu("0000:03:00.0", "0x56c0", numa_node="-1")
    assert one(tree, "0000:03:00.0").numa_node is None
    assert problems_of(tree, "0000:03:00.0") == ""


def test_a_driver_without_a_card_is_told(tree: SysTree) -> None:
    # Boot survivability of xe: bound, and no DRM.
    tree.gpu("0000:03:00.0", "0xe212", survivability_mode="Boot")
    tree.bind("0000:03:00.0", "xe")
    gpu = one(tree, "0000:03:00.0")
    assert (gpu.driver, gpu.card, gpu.drm, gpu.memory_mib) == ("xe", "", False, None)
    assert "bound to xe, but there is no DRM card" in problems_of(tree, "0000:03:00.0")


def test_unknown_memory_is_told(tree: SysTree) -> None:
    tree.gpu("0000:03:00.0", "0xe212")
    tree.bind("0000:03:00.0", "xe", card=1, render=128)
    told = problems_of(tree, "0000:03:00.0")
    assert "local memory is unknown" in told
    assert "Permission denied" in told


def test_a_root_that_sysfs_does_not_show(tree: SysTree) -> None:
    folder = "sys/bus/pci/devices/0000:03:00.0"
    for name, text in {"vendor": "0x8086", "class": "0x030000", "device": "0x56c0"}.items():
        tree.file(f"{folder}/{name}", f"{text}\n")
    assert one(tree, "0000:03:00.0").pcie_root == ""
    assert "PCIe root is unknown" in problems_of(tree, "0000:03:00.0")


# --------------------------------------------------------------------------- only=


def test_only_reads_only_what_is_named(flex_tree: SysTree) -> None:
    wanted = "0000-b3-00-0-0x56c0"
    harm(flex_tree.root / flex_tree.folders[PF] / "vendor", "loop")
    found = discover(flex_tree.host, only=[wanted])
    assert list(found.hardware) == [wanted]
    assert found.problems == ()


def test_only_equals_a_whole_look_but_for_what_only_the_scheduler_wants(flex_tree: SysTree) -> None:
    whole = {name: not_published(gpu) for name, gpu in discover(flex_tree.host).hardware.items()}
    for name, gpu in whole.items():
        assert dict(discover(flex_tree.host, only=[name]).hardware) == {name: gpu}
    assert discover(flex_tree.host, only=list(whole)[::-1]).hardware == whole


def test_only_opens_no_device(flex_tree: SysTree) -> None:
    whole, named = flex_tree.host, flex_tree.host
    assert (
        discover(whole).hardware.keys()
        == discover(named, only=list(discover(whole).hardware)).hardware.keys()
    )
    assert whole.asked
    assert not named.asked


@pytest.mark.parametrize(
    "name",
    [
        "0000-99-00-0-0x56c0",
        "0000-b3-00-0-0x56c1",
        "card0",
        "",
        "../../../etc/passwd",
        "0000-b3-00-0-0x56c0-vf4",
    ],
)
def test_a_name_that_is_not_there_is_left_out(flex_tree: SysTree, name: str) -> None:
    found = discover(flex_tree.host, only=[name, "0000-4d-00-0-0x56c0", "0000-4d-00-0-0x56c0"])
    assert (list(found.hardware), found.problems) == (["0000-4d-00-0-0x56c0"], ())


def test_only_nothing_reads_nothing(flex_tree: SysTree) -> None:
    shutil.rmtree(flex_tree.root / "sys/bus")
    assert dict(discover(flex_tree.host, only=[]).hardware) == {}


def test_only_costs_some_twenty_reads(flex_tree: SysTree, monkeypatch: pytest.MonkeyPatch) -> None:
    host = flex_tree.host
    reads: list[str] = []
    for action in ("read", "listdir", "readlink", "realpath"):
        monkeypatch.setattr(FileTree, action, counting(getattr(FileTree, action), reads))
    for name in ("0000-4d-00-0-0x56c0", "0000-4d-00-1-0x56c0"):
        reads.clear()
        assert list(discover(host, only=[name]).hardware) == [name]
        assert 5 < len(reads) <= 20


def counting(real: Callable[..., object], reads: list[str]) -> Callable[..., object]:
    def counted(tree: object, path: str) -> object:
        reads.append(path)
        return real(tree, path)

    return counted


# --------------------------------------------------------------------------- damage


def harm(place: Path, damage: str) -> None:
    """Replace what is at ``place`` by something that a kernel would never put there."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    DAMAGES[damage](place)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda _: None,
    "folder": Path.mkdir,
    "empty": lambda place: place.write_text(""),
    "text": lambda place: place.write_text("garbage\n"),
    "binary": lambda place: place.write_bytes(b"\xff\xfe\x00\x80"),
    "huge": lambda place: place.write_text("7" * 100_000),
    "loop": lambda place: place.symlink_to(place.name),
    "escape": lambda place: place.symlink_to("/etc/hostname"),
    "fifo": os.mkfifo,
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_loses_another_device_or_raises(
    flex_tree: SysTree, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    work = tmp_path_factory.mktemp("damaged")
    shutil.copytree(flex_tree.root, work, symlinks=True, dirs_exist_ok=True)
    damaged = data.draw(st.sets(st.sampled_from([PF, VF0, SECOND]), min_size=1, max_size=2))
    for bdf in sorted(damaged):
        folder = work / flex_tree.folders[bdf]
        entries = sorted(path.relative_to(folder) for path in folder.rglob("*"))
        for entry in data.draw(st.lists(st.sampled_from(entries), min_size=1, max_size=4)):
            place = folder / entry
            if place.parent.is_dir() and not place.parent.is_symlink():
                harm(place, data.draw(st.sampled_from(sorted(DAMAGES))))
    host = type(flex_tree.host)(work, {})
    found = discover(host)
    intact = {PF, VF0, VF1, SECOND} - damaged
    assert intact <= {gpu.bdf for gpu in found.hardware.values()}
    before = {gpu.bdf: gpu for gpu in discover(flex_tree.host).hardware.values()}
    for gpu in found.hardware.values():
        # A VF's number is confirmed by its parent's files: that alone may become unknown.
        if gpu.bdf in intact and gpu.kind == "gpu":
            assert gpu == before[gpu.bdf]
    assert all(line.startswith(tuple(damaged)) for line in found.problems)
    shutil.rmtree(work)
