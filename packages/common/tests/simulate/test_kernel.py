from __future__ import annotations

import errno
import re
from collections.abc import Callable

import pytest
from dra_common.errors import SettingsError
from dra_common.ports import Uevent
from dra_common.simulate import Function, Machine, refuse
from dra_common.simulate.kernel import BOOT_ID, Kernel

PCI = "bus/pci/devices"
PF = "0000:01:00.0"
VF0 = "0000:01:10.0"
VF1 = "0000:01:10.2"
TOY = "0000:07:00.0"
SPARE = "0000:08:00.0"
BMC = "0000:03:00.0"
SWITCH = "0000:05:00.0"

Boot = Callable[..., Kernel]
Refusal = Callable[[Callable[[], object]], int]


def driver(kernel: Kernel, bdf: str) -> str:
    function = kernel.machine.functions[bdf]
    return function.driver.name if function.driver else ""


def nodes(kernel: Kernel) -> set[str]:
    top = kernel.machine.dev.root
    return {path.relative_to(top).as_posix() for path in top.rglob("*") if not path.is_dir()}


def listen(kernel: Kernel) -> list[Uevent]:
    heard: list[Uevent] = []
    kernel.hub.listen(heard.append)
    return heard


def names(heard: list[Uevent]) -> list[str]:
    return [f"{event.action} {event.subsystem} {event.devpath.rpartition('/')[2]}" for event in heard]


# --------------------------------------------------------------------------- the first state


def test_drivers_as_the_kernel_would_choose(kernel: Kernel) -> None:
    assert [driver(kernel, bdf) for bdf in (BMC, PF, TOY)] == ["ast", "igb", "toy"]
    assert SPARE not in kernel.machine.functions


def test_the_display_has_the_first_card_and_no_render_node(kernel: Kernel) -> None:
    assert nodes(kernel) >= {"dri/card0", "dri/card1", "dri/renderD128"}
    assert "dri/renderD129" not in nodes(kernel)


def test_by_path_links(kernel: Kernel) -> None:
    by_path = kernel.machine.dev.root / "dri" / "by-path"
    assert {path.name: str(path.readlink()) for path in by_path.iterdir()} == {
        f"pci-{BMC}-card": "../card0",
        f"pci-{TOY}-card": "../card1",
        f"pci-{TOY}-render": "../renderD128",
    }
    assert all(path.exists() for path in by_path.iterdir())


def test_unbound_at_first(boot: Boot, profile_text: str) -> None:
    kernel = boot(profile_text.replace("iommu_group: 9\n", "iommu_group: 9\n    driver: none\n"))
    assert driver(kernel, TOY) == ""


def test_vfs_at_first_each_with_its_own_binding(boot: Boot, profile_text: str) -> None:
    vfs = "vfs: {0: {driver_override: vfio-pci, iommu_group: 71}, 1: {driver: igbvf}, 2: {driver: none}}"
    kernel = boot(profile_text.replace("sriov: {", f"sriov: {{num: 4, autoprobe: false, {vfs}, "))
    assert [driver(kernel, f"0000:01:10.{index}") for index in (0, 2, 4, 6)] == ["vfio-pci", "igbvf", "", ""]
    assert kernel.machine.sys.read(f"{PCI}/{PF}/sriov_numvfs") == "4"
    assert nodes(kernel) >= {"vfio/71", "vfio/devices/vfio0"}
    assert kernel.machine.autoprobe


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "drivers: [igb,",
            "drivers: [i915, igb,",
            "no simulation of kernel driver i915 (one of ast, igb, igbvf, ",
        ),
        ("numa_node: 1", "numa_node: 1\n    driver: igb", f"{TOY}: igb does not match (ENODEV)"),
        ("numa_node: 1", "numa_node: 1\n    driver: xe", f"{TOY}: driver xe is not loaded (ENODEV)"),
        ("numa_node: 0", "numa_node: 0\n    driver: none", "sriov.num without a driver"),
        ("tune: jig", "broken: 5", f"profile nic cannot be set up: {TOY}"),
    ],
)
def test_a_state_that_cannot_be(boot: Boot, profile_text: str, old: str, new: str, expected: str) -> None:
    text = profile_text.replace("sriov: {", "sriov: {num: 1, ").replace(old, new)
    if "broken" in new:
        text = text.replace("numa_node: 1", "numa_node: 1\n    driver: toy").replace(
            "broken", "tune: x, broken"
        )
        expected = "profile nic cannot be set up: broken (EIO)"
    with pytest.raises(SettingsError, match=re.escape(expected)):
        boot(text)


def test_boot_id_of_the_profile(boot: Boot, profile_text: str) -> None:
    boot_id = "01234567-89ab-cdef-0123-456789abcdef"
    kernel = boot(profile_text + f"boot_id: {boot_id}\n")
    assert kernel.machine.proc.read(BOOT_ID) == boot_id
    assert kernel.machine.proc.read("sys/kernel/osrelease") == "6.12.95"


# --------------------------------------------------------------------------- probes that fail


def test_a_failed_bind_passes_the_errno_and_leaves_nothing(
    boot: Boot, profile_text: str, refusal: Refusal
) -> None:
    kernel = boot(profile_text.replace("tune: jig", "broken: 5"))
    assert driver(kernel, TOY) == ""
    heard = listen(kernel)
    assert refusal(lambda: kernel.write("bus/pci/drivers/toy/bind", TOY)) == errno.EIO
    assert not {name for name in nodes(kernel) if "card1" in name or "render" in name}
    folder = kernel.machine.functions[TOY].folder
    assert not {"drm", "toy", "driver"} & set(kernel.machine.sys.names(folder))
    assert "DRIVER" not in kernel.machine.sys.read(f"{folder}/uevent")
    assert not [event for event in heard if event.action == "bind"]
    # drivers_probe hides the same failure.
    assert refusal(lambda: kernel.write("bus/pci/drivers_probe", TOY)) == 0
    assert driver(kernel, TOY) == ""


def test_numbers_of_a_failed_probe_are_free_again(boot: Boot, profile_text: str) -> None:
    text = profile_text.replace("tune: jig", "broken: 5").replace(", present: false", "")
    kernel = boot(text)
    assert driver(kernel, SPARE) == "toy"
    assert kernel.machine.sys.names(f"{PCI}/{SPARE}/drm") == ["card1", "renderD128"]


# --------------------------------------------------------------------------- events


def test_events_of_a_card(kernel: Kernel) -> None:
    heard = listen(kernel)
    kernel.write("bus/pci/drivers/toy/unbind", TOY)
    kernel.write("bus/pci/drivers/toy/bind", TOY)
    assert names(heard) == [
        "remove drm card1",
        "remove drm renderD128",
        f"unbind pci {TOY}",
        "add drm renderD128",
        "add drm card1",
        f"bind pci {TOY}",
    ]


def test_unbind_and_remove_do_not_name_the_driver_but_bind_does(kernel: Kernel) -> None:
    heard = listen(kernel)
    kernel.write(f"{PCI}/{PF}/sriov_numvfs", "1")
    kernel.write(f"{PCI}/{PF}/sriov_numvfs", "0")
    drivers = {
        event.action: (event.properties or {}).get("DRIVER") for event in heard if event.devpath.endswith(VF0)
    }
    assert drivers == {"add": None, "change": None, "bind": "igbvf", "unbind": None, "remove": None}


def test_envelope(kernel: Kernel) -> None:
    heard = listen(kernel)
    kernel.write(f"{PCI}/{PF}/uevent", "change")
    kernel.write(f"{PCI}/{PF}/uevent", "add 0f0e0d0c-0000-0000-0000-000000000000")
    first, second = (event.properties or {} for event in heard)
    assert first["ACTION"] == "change"
    assert first["DEVPATH"] == f"/devices/pci0000:00/0000:00:01.0/{PF}"
    assert first["SUBSYSTEM"] == "pci"
    assert first["PCI_CLASS"] == "20000"
    assert first["PCI_ID"] == "8086:10C9"
    assert int(second["SEQNUM"]) == int(first["SEQNUM"]) + 1


def test_a_listener_that_ended_hears_nothing(kernel: Kernel) -> None:
    heard: list[Uevent] = []
    end = kernel.hub.listen(heard.append)
    end()
    end()
    kernel.write(f"{PCI}/{PF}/uevent", "change")
    assert heard == []


# --------------------------------------------------------------------------- what drivers add


def test_an_attribute_with_consequences(kernel: Kernel, refusal: Refusal) -> None:
    heard = listen(kernel)
    mood = f"{PCI}/{TOY}/toy/mood/now"
    kernel.write(mood, "bad\n")
    assert kernel.machine.sys.read(kernel.machine.sys.resolve(mood)) == "bad"
    assert [(event.subsystem, (event.properties or {})["MOOD"]) for event in heard] == [("drm", "bad")]
    assert refusal(lambda: kernel.write(mood, "strange")) == errno.EINVAL


def test_attributes_go_with_the_driver(kernel: Kernel, refusal: Refusal) -> None:
    kernel.write("bus/pci/drivers/toy/unbind", TOY)
    assert not kernel.machine.sys.exists(f"{kernel.machine.functions[TOY].folder}/toy")
    assert refusal(lambda: kernel.write(f"{PCI}/{TOY}/toy/mood/now", "good")) == errno.ENOENT
    assert not [path for path in kernel.machine.stores if "mood" in path]


def test_queries(kernel: Kernel, refusal: Refusal) -> None:
    answer = b"dri/renderD128:jig\0\xff"
    assert kernel.query("dri/renderD128", "toy.tune") == answer
    assert kernel.query(f"dri/by-path/pci-{TOY}-render", "toy.tune") == answer
    assert refusal(lambda: kernel.query("dri/renderD128", "xe.mem_regions")) == errno.EINVAL
    assert refusal(lambda: kernel.query("dri/card0", "toy.tune")) == errno.EINVAL
    assert refusal(lambda: kernel.query("vfio/vfio", "toy.tune")) == errno.ENOTTY
    assert refusal(lambda: kernel.query("dri/card9", "toy.tune")) == errno.ENOENT
    kernel.write("bus/pci/drivers/toy/unbind", TOY)
    assert refusal(lambda: kernel.query("dri/renderD128", "toy.tune")) == errno.ENOENT


def test_a_write_of_nothing_never_arrives(kernel: Kernel) -> None:
    kernel.write(f"{PCI}/{PF}/sriov_numvfs", "")
    assert kernel.machine.sys.read(f"{PCI}/{PF}/sriov_numvfs") == "0"


@pytest.mark.parametrize(
    "path", ["../proc/sys/kernel/random/boot_id", "../../../../etc/passwd", "/etc/passwd"]
)
def test_nothing_outside_is_reached(kernel: Kernel, path: str, refusal: Refusal) -> None:
    assert refusal(lambda: kernel.write(path, "1")) == errno.ENOENT
    assert refusal(lambda: kernel.query(path, "toy.tune")) == errno.ENOENT


def test_numbers_change_with_the_order_of_binding(kernel: Kernel) -> None:
    kernel.write("bus/pci/drivers/toy/unbind", TOY)
    kernel.plug(SPARE)
    kernel.write("bus/pci/drivers/toy/bind", TOY)
    assert kernel.machine.sys.names(f"{PCI}/{SPARE}/drm") == ["card1", "renderD128"]
    assert kernel.machine.sys.names(f"{PCI}/{TOY}/drm") == ["card2", "renderD129"]


# --------------------------------------------------------------------------- a hand on the hardware


def test_unplug_and_plug(kernel: Kernel) -> None:
    kernel.write(f"{PCI}/{PF}/sriov_numvfs", "1")
    heard = listen(kernel)
    kernel.unplug(PF)
    pci = [event for event in names(heard) if " pci " in event]
    assert pci == [f"unbind pci {VF0}", f"remove pci {VF0}", f"unbind pci {PF}", f"remove pci {PF}"]
    assert not {PF, VF0} & set(kernel.machine.sys.names(PCI))
    kernel.write("bus/pci/rescan", "1")
    assert PF not in kernel.machine.functions
    kernel.plug(PF)
    assert driver(kernel, PF) == "igb"
    assert kernel.machine.sys.read(f"{PCI}/{PF}/sriov_numvfs") == "0"


def test_the_bus_lists_a_function_that_has_its_files(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """``bus_add_device``: whoever looks at what is listed finds vendor and class."""
    seen: dict[str, bool] = {}
    real = Machine.add_link

    def add_link(machine: Machine, path: str, target: str, *, owner: Function | None = None) -> None:
        if path.startswith("bus/pci/devices/"):
            seen[path] = machine.sys.exists(f"{target}/vendor")
        real(machine, path, target, owner=owner)

    monkeypatch.setattr(Machine, "add_link", add_link)
    kernel.plug("0000:08:00.0")
    assert seen == {"bus/pci/devices/0000:08:00.0": True}


def test_unplug_a_switch_takes_what_is_behind(kernel: Kernel) -> None:
    kernel.unplug(SWITCH)
    assert not {TOY, SWITCH, "0000:06:01.0"} & set(kernel.machine.functions)
    assert "0000:00:07.0" in kernel.machine.functions
    assert "dri/card1" not in nodes(kernel)
    kernel.plug(TOY)
    assert driver(kernel, TOY) == "toy"


def test_plug_in_hardware_that_was_not_there(kernel: Kernel) -> None:
    heard = listen(kernel)
    kernel.plug(SPARE)
    assert driver(kernel, SPARE) == "toy"
    assert names(heard)[-1] == f"bind pci {SPARE}"


def test_what_cannot_be_pulled_or_put(kernel: Kernel, refusal: Refusal) -> None:
    kernel.write(f"{PCI}/{PF}/sriov_numvfs", "1")
    assert refusal(lambda: kernel.unplug("0000:ff:00.0")) == errno.ENODEV
    assert refusal(lambda: kernel.unplug(VF0)) == errno.EINVAL
    assert refusal(lambda: kernel.plug("0000:ff:00.0")) == errno.ENODEV
    assert refusal(lambda: kernel.plug(PF)) == errno.EEXIST


def test_remove_needs_a_true_value(kernel: Kernel, refusal: Refusal) -> None:
    kernel.write(f"{PCI}/{PF}/remove", "0")
    assert PF in kernel.machine.functions
    assert refusal(lambda: kernel.write(f"{PCI}/{PF}/remove", "yes")) == errno.EINVAL
    assert refusal(lambda: kernel.write("bus/pci/rescan", "yes")) == errno.EINVAL


# --------------------------------------------------------------------------- reboot


def test_reboot(kernel: Kernel) -> None:
    before = kernel.machine.proc.read(BOOT_ID)
    kernel.write(f"{PCI}/{PF}/sriov_drivers_autoprobe", "0")
    kernel.write(f"{PCI}/{PF}/sriov_numvfs", "1")
    kernel.write(f"{PCI}/{VF0}/driver_override", "vfio-pci")
    kernel.write("bus/pci/drivers_probe", VF0)
    kernel.write(f"{PCI}/{TOY}/driver_override", "nothing")
    kernel.write("bus/pci/drivers/toy/unbind", TOY)
    kernel.reboot()
    assert kernel.machine.proc.read(BOOT_ID) != before
    assert VF0 not in kernel.machine.functions
    assert "vfio/devices/vfio0" not in nodes(kernel)
    for name, text in (("sriov_numvfs", "0"), ("sriov_totalvfs", "7"), ("sriov_drivers_autoprobe", "1")):
        assert kernel.machine.sys.read(f"{PCI}/{PF}/{name}") == text
    assert kernel.machine.sys.read(f"{PCI}/{TOY}/driver_override") == "(null)"
    assert driver(kernel, TOY) == "toy"


def test_a_reboot_renumbers(kernel: Kernel) -> None:
    def cards() -> list[str]:
        return [kernel.machine.sys.names(f"{PCI}/{bdf}/drm")[0] for bdf in (BMC, TOY)]

    assert cards() == ["card0", "card1"]
    kernel.reboot()
    assert cards() == ["card1", "card0"]
    kernel.reboot()
    assert cards() == ["card0", "card1"]


def test_a_reboot_knows_what_was_pulled_out(kernel: Kernel) -> None:
    kernel.unplug(TOY)
    kernel.reboot()
    assert TOY not in kernel.machine.functions


def test_a_reboot_keeps_the_folders_that_may_be_mounted(kernel: Kernel) -> None:
    inode = kernel.machine.sys.root.stat().st_ino
    kernel.reboot()
    assert kernel.machine.sys.root.stat().st_ino == inode


# --------------------------------------------------------------------------- what a PF's driver may answer


def answer_with(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, enabled: int = 0, code: int = 0) -> None:
    def configure(machine: Machine, pf: Function, count: int) -> int:
        if code:
            raise refuse(code, "no")
        machine.enable_vfs(pf, enabled)
        return enabled

    monkeypatch.setattr(kernel.machine.drivers["igb"], "sriov_configure", configure)


def test_a_driver_that_enables_another_number(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer_with(kernel, monkeypatch, enabled=7)
    kernel.write(f"{PCI}/{PF}/sriov_numvfs", "2")
    assert kernel.machine.sys.read(f"{PCI}/{PF}/sriov_numvfs") == "7"
    assert f"{PF}: 2 VFs requested; 7 enabled" in caplog.text


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EIO, errno.EUCLEAN])
def test_a_driver_that_refuses(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, refusal: Refusal, code: int
) -> None:
    answer_with(kernel, monkeypatch, code=code)
    assert refusal(lambda: kernel.write(f"{PCI}/{PF}/sriov_numvfs", "2")) == code
    assert kernel.machine.sys.read(f"{PCI}/{PF}/sriov_numvfs") == "0"
    assert kernel.machine.functions[PF].vfs == []


def test_a_card_with_displays_has_a_link_under_an_old_name(kernel: Kernel) -> None:
    folder = f"{PCI}/{BMC}/drm"
    assert kernel.machine.sys.names(folder) == ["card0", "controlD64"]
    assert str((kernel.machine.sys.root / folder / "controlD64").readlink()) == "card0"
    kernel.write("bus/pci/drivers/ast/unbind", BMC)
    assert kernel.machine.sys.names(folder) == []


def test_a_driver_starts_a_function_again_after_an_error_that_was_not_corrected(
    boot: Boot, profile_text: str
) -> None:
    kernel = boot(profile_text.replace("    numa_node: 1\n", "    numa_node: 1\n    aer: true\n"))
    mood = f"{kernel.machine.functions[TOY].folder}/toy/mood/now"
    kernel.report_error(TOY, "correctable", "RxErr")
    assert kernel.machine.sys.read(mood) == "good"
    kernel.report_error(TOY, "fatal", "MalfTLP")
    assert kernel.machine.sys.read(mood) == "new"
