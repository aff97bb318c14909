"""Graphics cards on a real bus, with real DRM nodes: how the GPU driver finds them, loses them and finds them again.

QEMU has three: one behind a switch with card and render node, one with a card only, and one that is no PCI function.
None is Intel's, so two texts are replaced on the way (`Disguise`); everything else is as the kernel tells it.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from card import DEVICES, DRIVERS, SYSFS, Uevents, must
from dra_common.host import RealHost, Roots
from dra_common.host.tree import FileTree
from dra_common.model import ContainerEdits
from dra_common.ports import Hand
from dra_common.testing.waiting import wait_until
from gpu_driver.device import Gpu
from gpu_driver.discovery import discover
from gpu_driver.driver import GpuDriver
from gpu_driver.prepare import drm_edits
from monitor import Monitor
from watch import Counter, Heard, Watch

MODULES = ("virtio-gpu", "bochs", "vgem")
CLASS = "0x038000"
VENDORS = ("0x1af4", "0x1234")
DRIVERS_OF_QEMU = ("virtio-pci", "bochs-drm")
BY_PATH = Path("/dev/dri/by-path")


class Disguise(FileTree):
    """sysfs, in which the displays of QEMU say that they are Intel's, and that their driver is Intel's."""

    def read(self, path: str, by: Hand | None = None) -> str:
        text = super().read(path, by)
        folder, _, file = path.rpartition("/")
        return "0x8086" if file == "vendor" and text in VENDORS and self._is_display(folder) else text

    def readlink(self, path: str) -> str:
        target = super().readlink(path)
        folder, _, name = target.rpartition("/")
        return f"{folder}/i915" if path.endswith("/driver") and name in DRIVERS_OF_QEMU else target

    def _is_display(self, folder: str) -> bool:
        return super().read(f"{folder}/class") == CLASS


def display(vendor: str) -> str:
    """The address of the display of this vendor: 0x1af4 has a render node, 0x1234 has none."""
    found = [path.name for path in DEVICES.iterdir() if (path / "class").read_text() == f"{CLASS}\n"]
    return next(bdf for bdf in found if (DEVICES / bdf / "vendor").read_text() == f"{vendor}\n")


def numbers(events: list[dict[str, str]]) -> list[int]:
    return [int(event["SEQNUM"]) for event in events if event["SUBSYSTEM"] in {"pci", "drm"}]


@pytest.fixture(scope="session")
def _modules() -> None:
    subprocess.run(["/sbin/modprobe", "-a", *MODULES], check=True)


@pytest.fixture
def host(_modules: None) -> RealHost:
    host = RealHost(Roots())
    host.sysfs = Disguise("/sys")
    return host


@pytest.fixture
def rendering(_modules: None) -> str:
    return display("0x1af4")


@pytest.fixture
def showing(_modules: None) -> str:
    return display("0x1234")


@pytest.fixture
def source() -> Heard:
    return Heard(GpuDriver.uevent_subsystems)


@pytest.fixture
def watch(host: RealHost, source: Heard, rendering: str, showing: str) -> Iterator[Watch]:
    watching = Watch(GpuDriver(), source, host)
    watching.start()
    assert set(watching.devices) == {name(rendering), name(showing)}
    yield watching
    watching.stop()


def name(bdf: str) -> str:
    device = (DEVICES / bdf / "device").read_text().strip()
    return f"{bdf.replace(':', '-').replace('.', '-')}-{device}"


def drm_names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "drm").iterdir()}


def look(host: RealHost, bdf: str) -> Gpu:
    return discover(host).hardware[name(bdf)]


@pytest.mark.usefixtures("_modules")
def test_cards_of_others_are_not_ours() -> None:
    found = discover(RealHost(Roots()))
    assert (found.hardware, found.problems) == ({}, ())


def test_a_card_with_a_render_node(host: RealHost, rendering: str) -> None:
    gpu = look(host, rendering)
    folder = DEVICES / rendering
    assert drm_names(folder) == {gpu.card, gpu.render, f"controlD{64 + int(gpu.card[4:])}"}
    assert (gpu.kind, gpu.drm, gpu.sriov, gpu.mei, gpu.vfio) == ("gpu", True, False, (), "")
    assert gpu.iommu_group == (folder / "iommu_group").readlink().name
    assert gpu.pcie_root == folder.resolve().parts[3]
    # Two bridges of a switch are between the root port and the card.
    assert len(folder.resolve().parts) == len(("/", "sys", "devices", "root", "port", "up", "down", "card"))
    assert gpu.numa_node is None
    assert paths(drm_edits(gpu, "/dev")) == [f"/dev/dri/{gpu.card}", f"/dev/dri/{gpu.render}"]


def test_a_card_without_a_render_node(host: RealHost, showing: str) -> None:
    gpu = look(host, showing)
    assert drm_names(DEVICES / showing) == {gpu.card, f"controlD{64 + int(gpu.card[4:])}"}
    assert (gpu.render, gpu.drm) == ("", True)
    assert paths(drm_edits(gpu, "/dev")) == [f"/dev/dri/{gpu.card}"]


def paths(edits: ContainerEdits) -> list[str]:
    """The device nodes, each of which is the one that the kernel has under its name."""
    nodes = [Path(node.host_path or "") for node in edits.device_nodes]
    for node in nodes:
        status = node.stat()
        assert stat.S_ISCHR(status.st_mode)
        number = (SYSFS / "class" / "drm" / node.name / "dev").read_text().strip()
        assert f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" == number
    return [str(node) for node in nodes]


def test_a_card_that_is_no_pci_function_is_not_found(host: RealHost) -> None:
    [virtual] = [path for path in (SYSFS / "class" / "drm").glob("card?") if "pci" not in str(path.resolve())]
    assert (Path("/dev/dri") / virtual.name).exists()
    assert virtual.name not in {gpu.card for gpu in discover(host).hardware.values()}


def test_a_node_that_does_not_know_the_question_for_memory(host: RealHost, rendering: str) -> None:
    found = discover(host)
    assert found.hardware[name(rendering)].memory_mib is None
    [problem] = [line for line in found.problems if line.startswith(rendering)]
    assert "local memory is unknown" in problem
    assert "EINVAL" in problem


def test_links_by_path_count_only_while_they_are_right(host: RealHost, rendering: str, showing: str) -> None:
    # What udev does (60-drm.rules), which the guest has not.
    BY_PATH.mkdir(exist_ok=True)
    gpu = look(host, rendering)
    for kind, node in (("card", gpu.card), ("render", gpu.render)):
        link = BY_PATH / f"pci-{rendering}-{kind}"
        link.unlink(missing_ok=True)
        link.symlink_to(f"../{node}")
    assert look(host, rendering).by_path == ("card", "render")
    # The two cards change numbers.
    first, second = (rendering, showing) if gpu.card < look(host, showing).card else (showing, rendering)
    for bdf in (rendering, showing):
        must(DRIVERS / driver(bdf) / "unbind", bdf)
    assert not look(host, rendering).card
    for bdf in (second, first):
        must(SYSFS / "bus" / "pci" / "drivers_probe", bdf)
    assert look(host, rendering).card != gpu.card
    assert look(host, rendering).by_path == ("render",)


def driver(bdf: str) -> str:
    return (DEVICES / bdf / "driver").readlink().name


def test_a_card_that_loses_its_driver(watch: Watch, uevents: Uevents, rendering: str) -> None:
    gpus = set(watch.devices)
    kernel = driver(rendering)
    must(DRIVERS / kernel / "unbind", rendering)
    watch.until(gpus, max(numbers(uevents.take())))
    assert watch.devices[name(rendering)]["driver"] == ""
    must(DRIVERS / kernel / "bind", rendering)
    events = uevents.take()
    watch.until(gpus, max(numbers(events)))
    assert watch.devices[name(rendering)]["driver"] == "i915"
    drm = [event for event in events if event["SUBSYSTEM"] == "drm"]
    # A listener meets a path that does not exist before it hears of the card (Linux 6.12).
    assert (drm[0]["ACTION"], drm[0]["DEVPATH"].count("/")) == ("change", 1)
    assert "add" in {event["ACTION"] for event in drm}


def test_a_card_that_is_removed_with_its_switch_and_found_again(
    watch: Watch, source: Heard, uevents: Uevents, rendering: str
) -> None:
    gpus = set(watch.devices)
    switch = (DEVICES / rendering).resolve().parents[1]
    counter = Counter(watch)
    must(switch / "remove", "1")
    watch.until(gpus - {name_of(gpus, rendering)}, max(numbers(uevents.take())))
    must(SYSFS / "bus" / "pci" / "rescan", "1")
    watch.until(gpus, max(numbers(uevents.take())))
    assert watch.devices[name(rendering)]["driver"] == "i915"
    assert counter.looks <= counter.most
    assert {"pci", "drm"} <= {event.subsystem for event in source.heard}


def name_of(gpus: set[str], bdf: str) -> str:
    return next(gpu for gpu in gpus if gpu.startswith(bdf.replace(":", "-").replace(".", "-")))


def test_a_card_that_is_pulled_out_and_put_into_another_slot(
    watch: Watch, uevents: Uevents, rendering: str, showing: str
) -> None:
    left = name(rendering)
    with Monitor() as monitor:
        monitor.say("device_del bochs0")
        watch.until({left}, 0)
        pulled = [f"{event['ACTION']} {event['SUBSYSTEM']}" for event in uevents.take()]
        assert pulled.index("remove drm") < pulled.index("unbind pci") < pulled.index("remove pci")
        # QEMU cannot put a display into the slot that it was in.
        monitor.say("device_add bochs-display,bus=port5,id=bochs1")
    wait_until(lambda: len(watch.devices) == 2, "the card in its new slot")
    moved = display("0x1234")
    assert moved != showing
    watch.until({left, name(moved)}, max(numbers(uevents.take())))
    wait_until(lambda: watch.devices[name(moved)]["driver"] == "i915", "its driver")
