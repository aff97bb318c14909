"""Who has a device node open keeps its driver from letting go."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from functools import partial

import pytest
from dra_common.errors import HostError
from dra_common.ports import Uevent
from dra_common.simulate import ControlClient, SimulatedHost
from dra_common.simulate.kernel import Kernel
from dra_common.testing.waiting import wait_until

PCI = "bus/pci/devices"
PF, VF0, TOY = "0000:01:00.0", "0000:01:10.0", "0000:07:00.0"

Refusal = Callable[[Callable[[], object]], int]


def to_vfio(kernel: Kernel, bdf: str) -> None:
    kernel.write(f"{PCI}/{bdf}/driver_override", "vfio-pci")
    driver = kernel.machine.functions[bdf].driver
    if driver:
        kernel.write(f"bus/pci/drivers/{driver.name}/unbind", bdf)
    kernel.write("bus/pci/drivers_probe", bdf)


def begin(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def end(thread: threading.Thread) -> None:
    thread.join(60)
    assert not thread.is_alive()


def unbound(kernel: Kernel, bdf: str) -> bool:
    return not kernel.machine.sys.exists(f"{kernel.machine.functions[bdf].folder}/driver")


@pytest.mark.parametrize(("node", "bdf"), [("vfio/9", TOY), ("vfio/devices/vfio0", "")])
def test_an_unbind_waits_for_the_user(kernel: Kernel, node: str, bdf: str) -> None:
    """Order as seen on Linux 6.12: links and the device's node first, group and events at the end."""
    to_vfio(kernel, TOY)
    heard: list[Uevent] = []
    kernel.hub.listen(heard.append)
    close = kernel.open_node(node, bdf)
    thread = begin(lambda: kernel.write("bus/pci/drivers/vfio-pci/unbind", TOY))
    wait_until(lambda: unbound(kernel, TOY) and heard, "the unbind to begin", seconds=60)
    assert [(event.action, event.subsystem) for event in heard] == [("remove", "vfio-dev")]
    assert (kernel.machine.dev.root / "vfio/9").exists()
    assert not (kernel.machine.dev.root / "vfio/devices/vfio0").exists()
    assert thread.is_alive()
    close()
    end(thread)
    assert [(event.action, event.subsystem) for event in heard[1:]] == [("remove", "vfio"), ("unbind", "pci")]


def test_whatever_needs_the_devices_lock_waits_too(kernel: Kernel) -> None:
    to_vfio(kernel, TOY)
    close = kernel.open_node("vfio/9", TOY)
    writes = [
        ("bus/pci/drivers/vfio-pci/unbind", TOY),
        (f"{PCI}/{TOY}/driver_override", "toy"),
        ("bus/pci/drivers/vfio-pci/unbind", TOY),
        ("bus/pci/drivers_probe", TOY),
    ]
    threads = [begin(lambda: kernel.write(*writes[0]))]
    wait_until(lambda: unbound(kernel, TOY), "the unbind to begin", seconds=60)
    threads += [begin(partial(kernel.write, *write)) for write in writes[1:]]
    kernel.write(f"{PCI}/{PF}/sriov_numvfs", "1")
    assert all(thread.is_alive() for thread in threads)
    assert kernel.machine.sys.read(f"{kernel.machine.functions[TOY].folder}/driver_override") == "vfio-pci"
    close()
    for thread in threads:
        end(thread)
    assert kernel.machine.sys.read(f"{kernel.machine.functions[TOY].folder}/driver_override") == "toy"


def test_removing_vfs_waits_for_the_user_of_one(kernel: Kernel) -> None:
    kernel.write(f"{PCI}/{PF}/sriov_drivers_autoprobe", "0")
    kernel.write(f"{PCI}/{PF}/sriov_numvfs", "2")
    to_vfio(kernel, VF0)
    close = kernel.open_node(f"vfio/{kernel.machine.functions[VF0].spec.iommu_group}", VF0)
    thread = begin(lambda: kernel.write(f"{PCI}/{PF}/sriov_numvfs", "0"))
    wait_until(lambda: unbound(kernel, VF0), "the removal to begin", seconds=60)
    assert kernel.machine.functions[PF].num_vfs == 2
    close()
    end(thread)
    assert kernel.machine.functions[PF].num_vfs == 0


def test_a_group_has_one_user(kernel: Kernel, refusal: Refusal) -> None:
    to_vfio(kernel, TOY)
    close = kernel.open_node("vfio/9")
    assert refusal(lambda: kernel.open_node("vfio/9")) == errno.EBUSY
    close()
    kernel.open_node("vfio/9")()
    assert refusal(lambda: kernel.open_node("vfio/77")) == errno.ENOENT


def test_an_open_group_holds_no_device(kernel: Kernel, refusal: Refusal) -> None:
    """As seen on Linux 6.12: the group goes with its last device, and who has it open has nothing."""
    to_vfio(kernel, TOY)
    close = kernel.open_node("vfio/9")
    kernel.write("bus/pci/drivers/vfio-pci/unbind", TOY)
    assert not (kernel.machine.dev.root / "vfio/9").exists()
    kernel.write("bus/pci/drivers_probe", TOY)
    again = kernel.open_node("vfio/9", TOY)
    close()
    assert refusal(lambda: kernel.open_node("vfio/9")) == errno.EBUSY
    again()
    kernel.write("bus/pci/drivers/vfio-pci/unbind", TOY)


def test_who_waits_when_the_machine_is_switched_off_is_told(kernel: Kernel, refusal: Refusal) -> None:
    to_vfio(kernel, TOY)
    kernel.open_node("vfio/9", TOY)
    codes: list[int] = []
    thread = begin(
        lambda: codes.append(refusal(lambda: kernel.write("bus/pci/drivers/vfio-pci/unbind", TOY)))
    )
    wait_until(lambda: unbound(kernel, TOY), "the unbind to begin", seconds=60)
    kernel.reboot()
    end(thread)
    assert codes == [errno.EIO]
    assert kernel.machine.functions[TOY].driver is not None


def test_a_user_goes_with_its_connection(host: SimulatedHost) -> None:
    client = ControlClient(host._client._root)
    host.sysfs.write(f"{PCI}/{TOY}/driver_override", "vfio-pci")
    host.sysfs.write("bus/pci/drivers/toy/unbind", TOY)
    host.sysfs.write("bus/pci/drivers_probe", TOY)
    with client.connect() as connection, connection.makefile("rwb") as stream:
        assert client.exchange(stream, "open", node="vfio/9")["ok"]
        assert client.exchange(stream, "open", node="vfio/9")["error"] == "EBUSY"
        assert client.request("open", node="vfio/9")["error"] == "EBUSY"
        assert client.exchange(stream, "close", node="vfio/9")["ok"]
        assert client.exchange(stream, "close", node="vfio/9")["error"] == "EBADF"
        assert client.exchange(stream, "open", node="vfio/9", bdf=VF0)["error"] == "ENODEV"
        assert client.exchange(stream, "open", node="vfio/9", bdf=TOY)["ok"]
    host.sysfs.write("bus/pci/drivers/vfio-pci/unbind", TOY)
    with pytest.raises(HostError):
        host.sysfs.write("bus/pci/drivers/vfio-pci/unbind", TOY)
