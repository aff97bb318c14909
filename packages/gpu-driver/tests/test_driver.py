from __future__ import annotations

import json
from dataclasses import replace

import pytest
from dra_common.driver import Driver, Wanted
from dra_common.errors import DeviceRefused, HostError
from dra_common.model import (
    Allocated,
    CounterConsumption,
    CounterSet,
    Plan,
    PlannedDevice,
    Quantity,
    Snapshot,
)
from dra_common.slices import ServerFeatures, to_slices
from gpu_driver.device import Gpu, Surroundings
from gpu_driver.driver import GpuDriver
from gpu_trees import SysTree, configured

DRIVER: Driver[Gpu] = GpuDriver()
PF, VF = "0000-4d-00-0-0x56c0", "0000-4d-00-1-0x56c0"


def wanted(name: str, *, admin: bool = False) -> Wanted:
    return Wanted(Allocated("request", "node-1", name, admin_access=admin))


def test_names_that_manifests_and_nodes_rely_on() -> None:
    assert DRIVER.name == "gpu.intel.com"
    assert (DRIVER.cdi_vendor, DRIVER.cdi_classes) == ("intel.com", ("gpu", "gpu-mei"))
    assert [(kind.api_version, kind.kind) for kind in DRIVER.config_kinds] == [
        ("gpu.intel.com/v1alpha1", "GpuConfig")
    ]
    assert set(DRIVER.uevent_subsystems) == {"pci", "drm", "mei"}


def test_from_sysfs_to_what_the_scheduler_sees(flex_tree: SysTree) -> None:
    hardware = DRIVER.discover(flex_tree.host).hardware
    published = DRIVER.publish(hardware)
    seen = [(device.name, device.attributes["type"], len(device.taints)) for device in published.devices]
    assert seen == [
        ("0000-b3-00-0-0x56c0", "gpu", 0),
        (PF, "gpu", 0),
        (VF, "vf", 1),
        ("0000-4d-00-2-0x56c0", "vf", 1),
    ]
    assert published.counter_sets == (CounterSet(PF, {"vfs": Quantity(31)}),)
    takes = {device.name: device.consumes for device in published.devices}
    assert takes["0000-b3-00-0-0x56c0"] == ()
    assert takes[PF] == (CounterConsumption(PF, {"vfs": Quantity(31)}),)
    assert takes[VF] == takes["0000-4d-00-2-0x56c0"] == (CounterConsumption(PF, {"vfs": Quantity(1)}),)


@pytest.mark.parametrize("number", [1, 2])
def test_without_counters_it_is_the_virtual_functions_that_stay(flex_tree: SysTree, number: int) -> None:
    """Even if there is but one, and it is not bound to a driver for DRM."""
    hardware = dict(DRIVER.discover(flex_tree.host).hardware)
    if number == 1:
        del hardware["0000-4d-00-2-0x56c0"]
    seen = DRIVER.publish(hardware)
    server = ServerFeatures.of((1, 36)).without("partitionable")
    made = to_slices(Snapshot(1, seen.devices, seen.counter_sets), driver=DRIVER.name, features=server)
    assert [each.device for each in made.withdrawn] == [PF]


def test_a_virtual_function_whose_pf_is_not_known_shares_nothing(flex_tree: SysTree) -> None:
    vf = DRIVER.discover(flex_tree.host).hardware[VF]
    for alone in (vf, replace(vf, parent="")):
        seen = DRIVER.publish({VF: alone})
        assert (seen.counter_sets, seen.devices[0].consumes) == ((), ())


def test_a_pf_and_its_virtual_functions_have_one_lock(flex_tree: SysTree) -> None:
    found = DRIVER.discover(flex_tree.host, [PF, VF]).hardware
    assert {DRIVER.parent(gpu) for gpu in found.values()} == {"0000-4d-00-0"}


def test_the_published_order_does_not_depend_on_the_mappings(flex_tree: SysTree) -> None:
    hardware = DRIVER.discover(flex_tree.host).hardware
    backwards = dict(list(hardware.items())[::-1])
    assert DRIVER.publish(backwards) == DRIVER.publish(hardware)


def test_from_a_claim_to_container_edits(flex_tree: SysTree) -> None:
    host = flex_tree.host
    want = wanted(PF)
    hardware = DRIVER.discover(host, [PF]).hardware
    assert DRIVER.locks(want, hardware[PF]) == ()
    plan = DRIVER.plan([want], hardware, {})
    DRIVER.apply(plan, host)
    DRIVER.apply(plan, host)
    (device,) = plan.devices
    edits = DRIVER.edits(device, hardware[PF], host.dev_root)
    assert [node.path for node in edits["gpu"].device_nodes] == ["/dev/dri/card1", "/dev/dri/renderD128"]
    assert DRIVER.static_edits(hardware[PF], host.dev_root) == edits
    DRIVER.revert(plan, host, frozenset())
    DRIVER.revert(plan, host, frozenset())


def test_hardware_is_never_written(flex_tree: SysTree, monkeypatch: pytest.MonkeyPatch) -> None:
    host = flex_tree.host
    before = {path: path.lstat().st_mtime_ns for path in flex_tree.root.rglob("*")}
    for admin in (False, True):
        hardware = DRIVER.discover(host, [PF]).hardware
        plan = DRIVER.plan([wanted(PF, admin=admin)], hardware, {})
        DRIVER.apply(plan, host)
        DRIVER.revert(plan, host, frozenset())
    assert {path: path.lstat().st_mtime_ns for path in flex_tree.root.rglob("*")} == before


def test_refusals_reach_the_caller(flex_tree: SysTree) -> None:
    host = flex_tree.host
    hardware = DRIVER.discover(host).hardware
    with pytest.raises(DeviceRefused, match="it is bound to vfio-pci"):
        configured(manage_binding=False).plan(
            [wanted(VF)], {VF: replace(hardware[VF], around=Surroundings())}, {}
        )
    newer = Plan((PlannedDevice(Allocated("r", "node-1", PF), undo={"numvfs": 4}),))
    with pytest.raises(HostError, match=PF):
        DRIVER.apply(newer, host)
    with pytest.raises(HostError, match=PF):
        DRIVER.revert(newer, host, frozenset())


def test_a_description_is_json(flex_tree: SysTree) -> None:
    for name, gpu in DRIVER.discover(flex_tree.host).hardware.items():
        facts = DRIVER.describe(gpu)
        assert json.loads(json.dumps(facts)) == facts
        assert facts["name"] == name
