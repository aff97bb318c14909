from __future__ import annotations

from dataclasses import replace

import pytest
from dra_common.driver import Wanted
from dra_common.errors import DeviceRefused, HostError
from dra_common.model import Allocated, ContainerEdits, DeviceNode, Mount, Plan, PlannedDevice
from gpu_driver import prepare
from gpu_driver.device import Gpu
from gpu_driver.products import product

FLEX = Gpu(
    "0000:4d:00.0",
    "0x56c0",
    product("0x56c0"),
    driver="i915",
    card="card1",
    render="renderD128",
    by_path=("card", "render"),
    mei=("mei1", "mei2"),
)
B60 = Gpu("0000:18:00.0", "0xe211", product("0xe211"), driver="xe", card="card2", render="renderD129")
UNBOUND = replace(B60, driver="", card="", render="")
VFIO = replace(B60, driver="xe-vfio-pci", card="", render="", vfio="vfio0", mei=("mei1",))


def wanted(gpu: Gpu, *, admin: bool = False) -> Wanted:
    return Wanted(Allocated("request", "node-1", gpu.name, admin_access=admin))


def hardware(*gpus: Gpu) -> dict[str, Gpu]:
    return {gpu.name: gpu for gpu in gpus}


def planned(gpu: Gpu, *, admin: bool = False) -> PlannedDevice:
    (device,) = prepare.plan([wanted(gpu, admin=admin)], hardware(gpu)).devices
    return device


# --------------------------------------------------------------------------- plan


def test_a_plan_for_drm_changes_nothing() -> None:
    items = [wanted(FLEX), wanted(B60)]
    plan = prepare.plan(items, hardware(FLEX, B60))
    assert [device.allocated for device in plan.devices] == [item.allocated for item in items]
    assert [device.undo for device in plan.devices] == [None, None]
    assert plan.parents == ()


def test_one_bad_device_refuses_the_claim() -> None:
    with pytest.raises(DeviceRefused, match=UNBOUND.name):
        prepare.plan([wanted(FLEX), wanted(UNBOUND)], hardware(FLEX, UNBOUND))


@pytest.mark.parametrize(
    ("gpu", "why", "cure"),
    [
        (UNBOUND, "it is not bound to any kernel driver", "bind it to xe"),
        (VFIO, "it is bound to xe-vfio-pci, which has no DRM nodes", "bind it to xe"),
        (replace(FLEX, driver="vfio-pci", card=""), "bound to vfio-pci", "bind it to i915"),
        (replace(FLEX, driver="pci-stub", card=""), "bound to pci-stub", "bind it to i915"),
        (replace(B60, card=""), "xe is bound to it, but made no DRM card", "see the kernel log"),
        (
            Gpu("0000:18:00.0", "0xfffe"),
            "not bound to any kernel driver",
            "that supports this product (i915 or xe)",
        ),
    ],
)
def test_a_refusal_names_device_driver_cause_and_cure(gpu: Gpu, why: str, cure: str) -> None:
    with pytest.raises(DeviceRefused) as caught:
        planned(gpu)
    assert f"device {gpu.name} cannot be prepared" in caught.value.message
    assert why in caught.value.message
    assert cure in caught.value.cure


@pytest.mark.parametrize("gpu", [FLEX, UNBOUND, VFIO, replace(B60, card="")])
def test_admin_access_is_never_refused_and_changes_nothing(gpu: Gpu) -> None:
    device = planned(gpu, admin=True)
    assert (device.undo, device.parents) == (None, ())


# --------------------------------------------------------------------------- apply and revert


def test_nothing_to_do_is_done() -> None:
    plan = prepare.plan([wanted(FLEX)], hardware(FLEX))
    prepare.check_nothing_to_apply(plan)
    prepare.check_nothing_to_revert(plan)
    prepare.check_nothing_to_revert(Plan((PlannedDevice(Allocated("r", "node-1", "gone"), undo={}),)))


def test_a_newer_versions_plan_is_neither_applied_nor_forgotten() -> None:
    plan = Plan((planned(FLEX), PlannedDevice(wanted(B60).allocated, undo={"rebind": "xe"})))
    with pytest.raises(DeviceRefused, match=B60.name) as refused:
        prepare.check_nothing_to_apply(plan)
    assert "upgrade" in refused.value.cure
    with pytest.raises(HostError, match=B60.name) as kept:
        prepare.check_nothing_to_revert(plan)
    assert "version" in kept.value.cure


# --------------------------------------------------------------------------- edits


def test_what_a_container_gets() -> None:
    assert prepare.edits(planned(FLEX), FLEX, "/dev") == {
        "gpu": ContainerEdits(
            device_nodes=(
                DeviceNode("/dev/dri/card1", host_path="/dev/dri/card1", type="c"),
                DeviceNode("/dev/dri/renderD128", host_path="/dev/dri/renderD128", type="c"),
            ),
            mounts=(
                Mount(
                    "/dev/dri/by-path/pci-0000:4d:00.0-card",
                    "/dev/dri/by-path/pci-0000:4d:00.0-card",
                    type="none",
                    options=("bind", "rw"),
                ),
                Mount(
                    "/dev/dri/by-path/pci-0000:4d:00.0-render",
                    "/dev/dri/by-path/pci-0000:4d:00.0-render",
                    type="none",
                    options=("bind", "rw"),
                ),
            ),
        )
    }


@pytest.mark.parametrize("dev_root", ["/host/dev", "/host/dev/"])
def test_host_paths_are_below_the_hosts_folder(dev_root: str) -> None:
    edits = prepare.edits(planned(FLEX, admin=True), FLEX, dev_root)
    nodes = [node for each in edits.values() for node in each.device_nodes]
    mounts = [mount for each in edits.values() for mount in each.mounts]
    assert [node.host_path for node in nodes] == [f"/host{node.path}" for node in nodes]
    assert [mount.host_path for mount in mounts] == [f"/host{mount.container_path}" for mount in mounts]
    assert len(nodes) == 4
    assert len(mounts) == 2


def test_without_a_render_node_or_links_there_is_the_card() -> None:
    gpu = replace(B60, render="")
    assert prepare.edits(planned(gpu), gpu, "/dev") == {
        "gpu": ContainerEdits(
            device_nodes=(DeviceNode("/dev/dri/card2", host_path="/dev/dri/card2", type="c"),)
        )
    }


def test_mei_is_for_admin_access_only() -> None:
    assert set(prepare.edits(planned(FLEX), FLEX, "/dev")) == {"gpu"}
    edits = prepare.edits(planned(FLEX, admin=True), FLEX, "/dev")
    assert edits["gpu-mei"] == ContainerEdits(
        device_nodes=(
            DeviceNode("/dev/mei1", host_path="/dev/mei1", type="c"),
            DeviceNode("/dev/mei2", host_path="/dev/mei2", type="c"),
        )
    )
    assert edits["gpu"] == prepare.edits(planned(FLEX), FLEX, "/dev")["gpu"]
    assert set(prepare.edits(planned(B60, admin=True), B60, "/dev")) == {"gpu"}


@pytest.mark.parametrize("gpu", [UNBOUND, VFIO, replace(B60, card="", mei=("mei1",))])
def test_admin_access_to_what_has_no_drm_gives_no_id(gpu: Gpu) -> None:
    assert prepare.edits(planned(gpu, admin=True), gpu, "/dev") == {}
    assert prepare.static_edits(gpu, "/dev") == {}


def test_a_device_that_lost_its_nodes_since_the_plan_is_refused() -> None:
    device = planned(B60)
    with pytest.raises(DeviceRefused, match="xe-vfio-pci"):
        prepare.edits(device, VFIO, "/dev")


def test_static_edits_are_those_of_a_claim() -> None:
    assert prepare.static_edits(FLEX, "/dev") == prepare.edits(planned(FLEX, admin=True), FLEX, "/dev")
    assert prepare.static_edits(B60, "/dev") == prepare.edits(planned(B60), B60, "/dev")
