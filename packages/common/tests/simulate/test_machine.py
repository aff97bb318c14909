"""What a kernel driver's author may rely on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dra_common.ports import Uevent
from dra_common.simulate import VIRTUAL, Function, Machine, add_card
from dra_common.simulate.kernel import Kernel

TOY = "0000:07:00.0"


@pytest.fixture
def machine(kernel: Kernel) -> Machine:
    return kernel.machine


@pytest.fixture
def toy(machine: Machine) -> Function:
    return machine.functions[TOY]


def test_numbers_are_the_lowest_free(machine: Machine) -> None:
    assert [machine.allocate("n", 5), machine.allocate("n", 5), machine.allocate("n")] == [5, 6, 0]
    machine.free("n", 5)
    machine.free("n", 5)
    machine.free("other", 5)
    assert machine.allocate("n", 5) == 5


def test_everything_owned_goes_in_reverse_order(machine: Machine, toy: Function) -> None:
    gone: list[str] = []
    machine.on_release(toy, lambda: gone.append("first"))
    machine.on_release(toy, lambda: gone.append("second"))
    folder = f"{toy.folder}/extra"
    machine.add_file(f"{folder}/deep/file", "x", owner=toy)
    machine.add_sparse(f"{folder}/blob", 10, owner=toy)
    machine.add_link(f"{folder}/link", toy.folder, owner=toy)
    machine.add_dev_link("by/name", "../dri/card1", owner=toy)
    number = machine.allocate("pool", owner=toy)
    machine.release(toy)
    assert gone == ["second", "first"]
    assert not machine.sys.exists(folder)
    assert not machine.dev.exists("by")
    assert machine.allocate("pool") == number


def test_what_nobody_owns_stays(machine: Machine, toy: Function) -> None:
    machine.add_file(f"{toy.folder}/stays", "x")
    machine.release(toy)
    assert machine.sys.read(f"{toy.folder}/stays") == "x"


def test_what_was_removed_early_may_be_released_late(machine: Machine, toy: Function) -> None:
    folder = machine.add_class_device(toy.folder, "hwmon", "hwmon0", files={"name": "toy"}, owner=toy)
    machine.add_file(f"{toy.folder}/early", "x", owner=toy)
    machine.remove_class_device(folder)
    machine.remove(f"{toy.folder}/early")
    machine.release(toy)
    assert not machine.sys.exists(f"{toy.folder}/hwmon")


def test_a_class_device_without_node(machine: Machine, toy: Function) -> None:
    folder = machine.add_class_device(toy.folder, "hwmon", "hwmon3", files={"name": "toy"}, owner=toy)
    assert machine.sys.names(folder) == ["device", "name", "subsystem", "uevent"]
    assert machine.sys.resolve("class/hwmon/hwmon3/name") == f"{folder}/name"


def test_a_virtual_device_has_no_hardware(machine: Machine) -> None:
    folder = machine.add_class_device(
        VIRTUAL, "accel", "accel_controlD0", dev=(508, 0), devname="accel/accel_controlD0"
    )
    assert folder == "devices/virtual/accel/accel_controlD0"
    assert machine.sys.names(folder) == ["dev", "subsystem", "uevent"]
    assert machine.sys.resolve("dev/char/508:0") == folder
    machine.remove_class_device(folder)
    assert not machine.sys.exists("devices/virtual/accel")
    assert not machine.dev.exists("accel")


def test_a_changed_file_keeps_its_store(machine: Machine, toy: Function, kernel: Kernel) -> None:
    path = f"{toy.folder}/knob"
    machine.add_file(path, "0", store=lambda text: machine.set_file(path, text), owner=toy)
    kernel.write(path, "1")
    kernel.write(path, "2")
    assert machine.sys.read(path) == "2"


def test_stores_go_with_their_folder(machine: Machine, toy: Function) -> None:
    machine.add_file(f"{toy.folder}/knobs/a", "0", store=lambda _: None)
    machine.add_file(f"{toy.folder}/knobs-too", "0", store=lambda _: None)
    machine.remove(f"{toy.folder}/knobs")
    assert [path for path in machine.stores if "knobs" in path] == [f"{toy.folder}/knobs-too"]


def test_a_second_card_has_the_next_numbers(machine: Machine, toy: Function) -> None:
    other = machine.functions["0000:01:00.0"]
    card = add_card(machine, other)
    assert (card.card.rpartition("/")[2], card.render.rpartition("/")[2]) == ("card2", "renderD129")
    assert toy.folder not in card.card


def test_change_of_a_class_device(kernel: Kernel, machine: Machine, toy: Function) -> None:
    heard: list[Uevent] = []
    kernel.hub.listen(heard.append)
    machine.change(f"{toy.folder}/drm/card1", {"WEDGED": "rebind,bus-reset"})
    (event,) = heard
    properties = event.properties or {}
    assert (event.action, event.subsystem) == ("change", "drm")
    assert (properties["WEDGED"], properties["DEVNAME"]) == ("rebind,bus-reset", "dri/card1")


def test_total_vfs_is_never_above_the_hardware(machine: Machine) -> None:
    pf = machine.functions["0000:01:00.0"]
    machine.set_total_vfs(pf, 99)
    assert machine.sys.read(f"{pf.folder}/sriov_totalvfs") == "8"


def test_a_function_without_sriov_ignores_it(machine: Machine, toy: Function) -> None:
    machine.set_total_vfs(toy, 3)
    assert not machine.sys.exists(f"{toy.folder}/sriov_totalvfs")


def test_details_default_when_the_profile_is_silent(boot: Callable[..., Kernel], profile_text: str) -> None:
    kernel = boot(profile_text.replace("    details: {toy: {tune: jig}}\n", ""))
    assert kernel.machine.sys.read(f"{kernel.machine.functions[TOY].folder}/drm/card1/tune") == "reel"
