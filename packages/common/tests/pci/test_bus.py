"""Played on the simulated kernel, and on a real one by kernel/inside/bus."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dra_common import effects
from dra_common.effects import Step, Target
from dra_common.errors import HardwareRefused, HostError, HostNotFound
from dra_common.pci import Binding, Bus, Setting, look
from dra_common.testing.nic import PF
from pci.world import FOUND, IGB, NATIVE, VF0, VFIO, World

DEVICES = "bus/pci/devices"


@pytest.fixture
def written() -> Iterator[list[str]]:
    """Every attribute that is written, in order, with the name of its folder."""
    names: list[str] = []

    @contextmanager
    def observer(step: Step, target: Target) -> Iterator[None]:
        if step == "hardware":
            names.append("/".join(Path(target).parts[-2:]))
        yield

    effects.observe(observer)
    yield names
    effects.observe(None)


# ---------------------------------------------------------------- single steps


def test_an_attribute_of_a_kernel_driver_is_written_and_read(nic: World, written: list[str]) -> None:
    with nic.bus() as bus:
        assert bus.attribute(PF, "sriov_drivers_autoprobe") == "1"
        bus.set_attribute(PF, "sriov_drivers_autoprobe", "off")
        assert bus.attribute(PF, "sriov_drivers_autoprobe") == "0"
    assert written == [f"{PF}/sriov_drivers_autoprobe"]


def test_a_driver_is_taken_away_and_given_back(nic: World) -> None:
    with nic.bus() as bus:
        bus.unbind(PF, "igb")
        assert bus.look(PF).driver == ""
        bus.bind(PF, "igb")
        assert bus.look(PF).driver == "igb"


def test_an_override_is_set_read_and_cleared(nic: World) -> None:
    with nic.bus() as bus:
        assert bus.override(PF) == ""
        bus.set_override(PF, "vfio-pci")
        assert bus.override(PF) == nic.read("driver_override") == "vfio-pci"
        assert bus.look(PF).driver == "igb"
        bus.set_override(PF, "")
        assert bus.override(PF) == ""


def test_the_kernel_looks_for_a_driver(nic: World) -> None:
    with nic.bus() as bus:
        bus.unbind(PF, "igb")
        bus.probe(PF)
        assert bus.look(PF).driver == "igb"


def test_the_number_of_vfs_goes_through_zero(nic: World, written: list[str]) -> None:
    with nic.bus() as bus:
        bus.set_vfs(PF, 2)
        assert len(bus.look(PF).vfs) == 2
        bus.set_vfs(PF, 7)
        assert len(bus.look(PF).vfs) == 7
        bus.set_vfs(PF, 0)
        assert nic.read("sriov_numvfs") == "0"
    assert written == [f"{PF}/sriov_numvfs"] * 4


@pytest.mark.parametrize("count", [8, -1, 65536])
def test_a_number_that_the_kernel_refuses_costs_no_vf_that_is_there(nic: World, count: int) -> None:
    wanted = Setting(IGB, autoprobe=True, vfs=(NATIVE, VFIO))
    with nic.bus() as bus:
        bus.bring(PF, wanted)
        with pytest.raises(HardwareRefused):
            bus.set_vfs(PF, count)
        assert bus.setting(PF) == wanted


def test_new_vfs_are_not_offered_to_drivers_with_autoprobe_off(nic: World) -> None:
    with nic.bus() as bus:
        bus.set_autoprobe(PF, on=False)
        bus.set_vfs(PF, 1)
        assert bus.binding(VF0) == Binding()
        assert bus.look(PF).autoprobe is False


def test_a_function_is_reset(nic: World, written: list[str]) -> None:
    with nic.bus() as bus:
        bus.reset(PF)
    assert written == [f"{PF}/reset"]


def test_reading_needs_no_lock_and_writing_does(nic: World) -> None:
    with Bus(nic.host) as bus:
        assert bus.setting(PF) == FOUND
        with pytest.raises(RuntimeError, match="outside of its locks"):
            bus.reset(PF)


# ---------------------------------------------------------------- refusals


def unbound(nic: World) -> None:
    nic.outsider("bus/pci/drivers/igb/unbind", PF)


def with_vfs(nic: World) -> None:
    nic.outsider(f"{DEVICES}/{PF}/sriov_numvfs", "2")


def no_reset_method(nic: World) -> None:
    nic.outsider(f"{DEVICES}/{PF}/reset_method", "\n")


def nothing(nic: World) -> None:
    """As it is."""


REFUSALS: list[tuple[str, Callable[[World], None], Callable[[Bus], None], int, str]] = [
    (
        "bind",
        nothing,
        lambda bus: bus.bind(PF, "no-such"),
        errno.ENOENT,
        "not loaded.*load its kernel module",
    ),
    ("bind", unbound, lambda bus: bus.bind(PF, "igbvf"), errno.ENODEV, "does not take this device"),
    ("bind", nothing, lambda bus: bus.bind(PF, "igb"), errno.EBUSY, "another driver is bound"),
    ("unbind", nothing, lambda bus: bus.unbind(PF, "no-such"), errno.ENOENT, "not loaded"),
    (
        "unbind",
        nothing,
        lambda bus: bus.unbind(PF, "igbvf"),
        errno.ENODEV,
        "not bound to this driver any more",
    ),
    ("set driver_override", nothing, lambda bus: bus.set_override(PF, "x" * 4095), errno.EINVAL, "too long"),
    ("set the number of VFs to 8", nothing, lambda bus: bus.set_vfs(PF, 8), errno.ERANGE, "fewer VFs"),
    ("set the number of VFs to -1", nothing, lambda bus: bus.set_vfs(PF, -1), errno.EINVAL, "this number"),
    (
        "set the number of VFs to 1",
        unbound,
        lambda bus: bus.set_vfs(PF, 1),
        errno.ENOENT,
        "no driver is bound",
    ),
    (
        "set the number of VFs to 4",
        with_vfs,
        lambda bus: bus._set_numvfs(PF, 4),
        errno.EBUSY,
        "has VFs already",
    ),
    (
        "set sriov_drivers_autoprobe to soon",
        nothing,
        lambda bus: bus.set_attribute(PF, "sriov_drivers_autoprobe", "soon"),
        errno.EINVAL,
        "does not take this value",
    ),
    (
        "set sriov_admin/pf/x to 1",
        nothing,
        lambda bus: bus.set_attribute(PF, "sriov_admin/pf/x", "1"),
        errno.ENOENT,
        "no such setting",
    ),
    ("reset", no_reset_method, lambda bus: bus.reset(PF), errno.ENOTTY, "no reset method"),
    (
        "set sriov_drivers_autoprobe",
        with_vfs,
        lambda bus: bus.set_autoprobe(VF0, on=False),
        errno.ENOENT,
        "no SR-IOV",
    ),
]


@pytest.mark.parametrize(("step", "before", "act", "number", "why"), REFUSALS)
def test_a_refusal_names_device_step_cause_and_cure(
    nic: World, step: str, before: Callable[[World], None], act: Callable[[Bus], None], number: int, why: str
) -> None:
    before(nic)
    with nic.bus() as bus, pytest.raises(HardwareRefused, match=why) as caught:
        act(bus)
    assert caught.value.errno == number
    assert errno.errorcode[number] in caught.value.message
    assert f": {step}" in caught.value.message
    assert caught.value.message.startswith("0000:01:")
    assert caught.value.cure
    assert len(str(caught.value)) < 400


def test_a_function_that_has_gone_is_named(nic: World) -> None:
    nic.outsider(f"{DEVICES}/{PF}/remove", "1")
    acts: list[Callable[[Bus], object]] = [
        lambda bus: bus.unbind(PF, "igb"),
        lambda bus: bus.probe(PF),
        lambda bus: bus.set_override(PF, "igb"),
        lambda bus: bus.reset(PF),
    ]
    for act in acts:
        with nic.bus() as bus, pytest.raises(HostNotFound, match=f"{PF}: .*no such PCI function"):
            act(bus)
    with nic.bus() as bus, pytest.raises(HostNotFound, match=PF):
        bus.bring(PF, FOUND)


def test_an_address_that_is_a_path_reaches_no_file(nic: World, written: list[str]) -> None:
    with nic.bus() as bus, pytest.raises(HostError, match="not the address"):
        bus.unbind("../../x", "igb")
    assert written == []


# ---------------------------------------------------------------- whole states


def test_nothing_is_written_if_everything_is_as_wanted(nic: World, written: list[str]) -> None:
    with nic.bus() as bus:
        bus.bring(PF, FOUND)
        bus.rebind(PF, IGB)
    assert written == []


def test_a_function_goes_to_vfio_and_back(nic: World, written: list[str]) -> None:
    with nic.bus() as bus:
        bus.rebind(PF, VFIO)
        assert bus.binding(PF) == VFIO
        bus.restore(PF, FOUND)
        assert bus.setting(PF) == FOUND
    override = f"{PF}/driver_override"
    assert written == [
        *(override, "igb/unbind", "vfio-pci/bind"),
        *(override, "vfio-pci/unbind", "igb/bind", override),
    ]


def test_a_function_that_has_gone_has_nothing_to_give_back(nic: World) -> None:
    nic.outsider(f"{DEVICES}/{PF}/remove", "1")
    with nic.bus() as bus:
        bus.restore(PF, FOUND)
    nic.outsider("bus/pci/rescan", "1")
    assert look(nic.host.sysfs, PF).driver == "igb"
