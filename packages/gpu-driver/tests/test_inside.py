"""What is inside a GPU, on a sysfs made by hand; on simulated machines it is in ``golden/``."""

from __future__ import annotations

import errno

import pytest
from gpu_driver.device import Gpu
from gpu_driver.discovery import discover
from gpu_driver.inside import Insides
from gpu_driver.queries import Cores
from gpu_trees import MIB, SysTree, firmware_blob, topology_blob
from trees import TreeHost

B60 = "0000:9a:00.0"
NODE = "dri/renderD129"
TOPOLOGY, GUC = (NODE, "xe.gt_topology"), (NODE, "xe.guc_version")


@pytest.fixture
def xe(tree: SysTree) -> SysTree:
    """A machine with one B60 on xe that tells everything."""
    folder = tree.gpu(B60, "0xe211")
    tree.bind(B60, "xe", card=2, render=129)
    tree.file(f"{folder}/tile0/gt0/gtidle/name", "gt0-rc\n")
    tree.file("sys/fs/cgroup/dmem.capacity", f"drm/{B60}/vram0 {24480 * MIB}\n")
    tree.file("sys/bus/pci/drivers/xe/module/taint", "\n")
    tree.file("proc/sys/kernel/osrelease", "6.19.4-1-amd64\n")
    tree.file("proc/sys/kernel/random/boot_id", "9d8a2b1e-0000-4000-8000-000000000001\n")
    tree.answers[TOPOLOGY] = topology_blob((0, 1, 0xFFFFF), (0, 5, 0xFF))
    tree.answers[GUC] = firmware_blob(1, 19, 1)
    return tree


def look(host: TreeHost, insides: Insides | None = None) -> Gpu:
    (gpu,) = discover(host, insides=insides).hardware.values()
    return gpu


def test_all_of_it(xe: SysTree) -> None:
    gpu = look(xe.host)
    assert (gpu.tiles, gpu.cores, gpu.guc_submission) == (1, Cores(20, 160), "1.19.1")
    assert gpu.driver_version == "6.19.4"
    assert discover(xe.host).problems == ()


def test_tiles_are_counted_by_their_folders(xe: SysTree) -> None:
    folder = xe.folders[B60]
    for name in ("tile1/gt1/gtidle/name", "tile_x/y", "tiles/y", "tile1234/y"):
        xe.file(f"{folder}/{name}", "")
    assert look(xe.host).tiles == 2


def test_a_gpu_is_asked_once_for_as_long_as_it_stays_bound(xe: SysTree) -> None:
    insides = Insides()
    first, second = xe.host, xe.host
    assert look(first, insides) == look(second, insides)
    assert first.asked == [TOPOLOGY, GUC]
    assert second.asked == [], "an open node wakes a GPU that sleeps"


def test_one_that_was_away_is_asked_again(xe: SysTree) -> None:
    insides = Insides()
    look(xe.host, insides)
    link = xe.root / xe.folders[B60] / "driver"
    link.unlink()
    away = look(xe.host, insides)
    assert (away.tiles, away.cores, away.guc_submission, away.driver_version) == (None, None, "", "")
    xe.bind(B60, "xe", card=2, render=129)
    xe.answers[GUC] = firmware_blob(1, 22, 0)
    assert look(xe.host, insides).guc_submission == "1.22.0"


@pytest.mark.parametrize("what", ["boot", "nodes"])
def test_another_boot_and_other_nodes_make_it_another_binding(xe: SysTree, what: str) -> None:
    insides = Insides()
    look(xe.host, insides)
    if what == "boot":
        xe.file("proc/sys/kernel/random/boot_id", "9d8a2b1e-0000-4000-8000-000000000002\n")
    else:
        xe.bind(B60, "xe", card=3, render=129)
        (xe.root / xe.folders[B60] / "drm/card2/dev").unlink()
        (xe.root / xe.folders[B60] / "drm/card2").rmdir()
    xe.answers[GUC] = firmware_blob(1, 22, 0)
    assert look(xe.host, insides).guc_submission == "1.22.0"


def test_what_was_not_answered_is_asked_again(xe: SysTree) -> None:
    insides = Insides()
    xe.answers[TOPOLOGY] = errno.EBUSY
    gpu = look(xe.host, insides)
    assert (gpu.cores, gpu.guc_submission) == (None, "1.19.1")
    xe.answers[TOPOLOGY] = topology_blob((0, 1, 1), (0, 5, 1))
    assert look(xe.host, insides).cores == Cores(1, 1)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES])
def test_a_kernel_that_does_not_tell_costs_the_attributes_and_no_line(xe: SysTree, number: int) -> None:
    xe.answers[TOPOLOGY] = xe.answers[GUC] = number
    found = discover(xe.host)
    assert found.problems == ()
    (gpu,) = found.hardware.values()
    assert (gpu.cores, gpu.guc_submission, gpu.tiles) == (None, "", 1)


def test_an_answer_that_makes_no_sense_is_told(xe: SysTree) -> None:
    xe.answers[TOPOLOGY] = topology_blob((0, 1, 3))[:-1]
    found = discover(xe.host)
    assert found.problems == (
        f"{B60}: the answer to xe.gt_topology makes no sense: 15 bytes, cut off in a mask of 8",
    )


def test_a_look_for_a_prepare_asks_nothing(xe: SysTree) -> None:
    host = xe.host
    (gpu,) = discover(host, ["0000-9a-00-0-0xe211"]).hardware.values()
    assert (gpu.tiles, gpu.cores, gpu.driver_version, host.asked) == (None, None, "", [])


def test_i915_is_not_asked_what_it_does_not_know(xe: SysTree) -> None:
    xe.bind(B60, "i915", card=2, render=129)
    host = xe.host
    gpu = look(host)
    assert (gpu.tiles, gpu.cores, gpu.guc_submission) == (None, None, "")
    assert gpu.driver_version == "6.19.4"
    assert not {name for _, name in host.asked if name.startswith("xe.")}
