from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from dra_common.driver import Wanted
from dra_common.errors import DeviceRefused, HostError
from dra_common.model import Allocated, ContainerEdits, DeviceNode, ModeUse, Mount, Plan, PlannedDevice
from gpu_driver import prepare
from gpu_driver.config import GpuConfig
from gpu_driver.device import Gpu, Surroundings
from gpu_driver.policy import GpuPolicy
from gpu_driver.products import product
from gpu_trees import SysTree
from pydantic import JsonValue, ValidationError

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
AROUND = Surroundings(drivers=frozenset({"i915", "xe", "vfio-pci", "xe-vfio-pci"}))
UNBOUND = replace(B60, driver="", card="", render="", around=AROUND)
VFIO = replace(UNBOUND, driver="xe-vfio-pci", vfio="vfio0", mei=("mei1",), iommu_group="14")
GROUPED = replace(FLEX, iommu_group="22", around=AROUND)


def wanted(gpu: Gpu, *, admin: bool = False, device_class: str = "", **config: Any) -> Wanted:
    allocated = Allocated("request", "node-1", gpu.name, admin_access=admin)
    return Wanted(allocated, {"GpuConfig": GpuConfig(**config)}, device_class)


def hardware(*gpus: Gpu) -> dict[str, Gpu]:
    return {gpu.name: gpu for gpu in gpus}


def planned(gpu: Gpu, *, manage: bool = True, **more: Any) -> PlannedDevice:
    (device,) = prepare.plan(
        [wanted(gpu, **more)], hardware(gpu), {}, GpuPolicy(manage_binding=manage)
    ).devices
    return device


def vfio(gpu: Gpu, **more: Any) -> PlannedDevice:
    return planned(gpu, binding="vfio", **more)


def refused(gpu: Gpu, **more: Any) -> DeviceRefused:
    with pytest.raises(DeviceRefused) as caught:
        planned(gpu, **more)
    assert f"device {gpu.name} cannot be prepared for " in caught.value.message
    return caught.value


# --------------------------------------------------------------------------- plan


def test_a_plan_for_drm_changes_nothing() -> None:
    items = [wanted(FLEX), wanted(B60)]
    plan = prepare.plan(items, hardware(FLEX, B60), {}, GpuPolicy())
    assert [device.allocated for device in plan.devices] == [item.allocated for item in items]
    assert [device.undo for device in plan.devices] == [None, None]
    assert plan.parents == ()


def test_a_plan_says_what_was_found_and_what_it_becomes() -> None:
    before = replace(GROUPED, around=replace(AROUND, override="i915"))
    device = vfio(before)
    assert device.undo == {
        "before": {"driver": "i915", "override": "i915"},
        "after": {"driver": "vfio-pci", "override": "vfio-pci"},
        "keep": False,
    }
    assert (device.parents, device.options) == (("0000-4d-00-0",), {"iommu": "both"})
    assert planned(UNBOUND).undo == {
        "before": {"driver": "", "override": ""},
        "after": {"driver": "xe", "override": ""},
        "keep": False,
    }


def test_the_variant_of_vfio_for_xe_is_taken_where_the_kernel_has_it() -> None:
    gpu = replace(UNBOUND, iommu_group="14")
    assert vfio(gpu).undo["after"]["driver"] == "xe-vfio-pci"  # type: ignore[index, call-overload]
    older = replace(gpu, around=replace(AROUND, drivers=frozenset({"xe", "vfio-pci"})))
    assert vfio(older).undo["after"]["driver"] == "vfio-pci"  # type: ignore[index, call-overload]


def test_a_gpu_that_is_bound_as_asked_is_locked_and_left_alone() -> None:
    device = vfio(replace(VFIO, around=AROUND))
    assert (device.undo, device.parents) == (None, ("0000-18-00-0",))


def test_the_configuration_is_worth_more_than_the_name_of_the_class() -> None:
    name = "gpu-vfio.intel.com"
    assert planned(GROUPED, device_class=name).options == {"iommu": "both"}
    assert planned(GROUPED, device_class=name, binding="drm").options is None
    assert planned(GROUPED, device_class="mine.example.com", binding="vfio").options == {"iommu": "both"}


def test_a_share_changes_nothing_and_a_machine_gets_none() -> None:
    share = Allocated("request", "node-1", B60.name, share_id="0a")
    (device,) = prepare.plan([Wanted(share)], hardware(B60), {}, GpuPolicy()).devices
    assert (device.allocated, device.undo, device.parents) == (share, None, ())
    for gpu, config, why in (
        (
            replace(B60, iommu_group="14", around=AROUND),
            GpuConfig(binding="vfio"),
            "other claims can share it",
        ),
        (replace(VFIO, around=AROUND), GpuConfig(binding="vfio"), "other claims can share it"),
        (B60, GpuConfig(reset="flr"), "a reset would take it from others"),
        (UNBOUND, GpuConfig(), "not bound to any kernel driver, which is not changed"),
        (replace(VFIO, around=AROUND), GpuConfig(), "bound to xe-vfio-pci, which is not changed"),
    ):
        with pytest.raises(DeviceRefused, match=why) as caught:
            prepare.plan([Wanted(share, {"GpuConfig": config})], hardware(gpu), {}, GpuPolicy())
        assert caught.value.cure


def test_one_bad_device_refuses_the_claim() -> None:
    bad = replace(UNBOUND, driver="pci-stub")
    with pytest.raises(DeviceRefused, match=bad.name):
        prepare.plan([wanted(FLEX), wanted(bad)], hardware(FLEX, bad), {}, GpuPolicy())


@pytest.mark.parametrize(
    ("gpu", "why", "cure"),
    [
        (replace(UNBOUND, driver="pci-stub"), "bound to pci-stub, which somebody", "bind it to xe, by hand"),
        (replace(B60, card=""), "xe is bound to it, but made no DRM card", "see the kernel log"),
        (replace(VFIO, in_use=True), "a virtual machine that is not of a claim", "end the virtual machine"),
        (replace(UNBOUND, around=Surroundings()), "kernel driver xe is not loaded", "load the kernel module"),
        (Gpu("0000:18:00.0", "0xfffe", around=AROUND), "no kernel driver is known", "bind one by hand"),
    ],
)
def test_a_refusal_of_drm_names_device_cause_and_cure(gpu: Gpu, why: str, cure: str) -> None:
    error = refused(gpu)
    assert why in error.message
    assert cure in error.cure


@pytest.mark.parametrize(
    ("gpu", "why", "cure"),
    [
        (replace(GROUPED, iommu_group=""), "it is in no IOMMU group", "enable the IOMMU"),
        (
            replace(GROUPED, around=replace(AROUND, neighbours=("0000:4e:00.0", "0000:4f:00.0"))),
            "in its IOMMU group 22 are also 0000:4e:00.0, 0000:4f:00.0",
            "allowSharedGroup",
        ),
        (replace(GROUPED, around=replace(AROUND, vfs=2)), "it has 2 virtual functions", "sriov_numvfs"),
        (replace(VFIO, in_use=True), "a virtual machine that is not of a claim", "end the virtual machine"),
        (replace(GROUPED, around=Surroundings()), "vfio-pci is not loaded", "load the kernel module"),
    ],
)
def test_a_refusal_of_vfio_names_device_cause_and_cure(gpu: Gpu, why: str, cure: str) -> None:
    error = refused(gpu, binding="vfio")
    assert why in error.message
    assert cure in error.cure


def test_an_administrator_may_give_devices_of_a_shared_group() -> None:
    gpu = replace(GROUPED, around=replace(AROUND, neighbours=("0000:4e:00.0",)))
    assert vfio(gpu, allowSharedGroup=True).undo


@pytest.mark.parametrize("more", [{"binding": "vfio"}, {"binding": "drm"}])
def test_without_leave_no_kernel_driver_is_changed(more: dict[str, str]) -> None:
    gpu = GROUPED if more["binding"] == "vfio" else replace(VFIO, around=AROUND)
    error = refused(gpu, manage=False, **more)
    assert "it is bound to" in error.message
    assert "--manage-binding" in error.cure


@pytest.mark.parametrize("gpu", [FLEX, UNBOUND, VFIO, replace(B60, card=""), replace(VFIO, in_use=True)])
@pytest.mark.parametrize("binding", ["drm", "vfio"])
def test_admin_access_is_never_refused_and_changes_nothing(gpu: Gpu, binding: str) -> None:
    device = planned(gpu, admin=True, binding=binding)
    assert (device.undo, device.parents) == (None, ())
    assert prepare.locks(wanted(gpu, admin=True, binding=binding), gpu, GpuPolicy()) == ()


# --------------------------------------------------------------------------- apply and revert


def test_nothing_to_do_is_done(flex_tree: SysTree) -> None:
    plan = prepare.plan([wanted(FLEX)], hardware(FLEX), {}, GpuPolicy())
    prepare.apply(plan, flex_tree.host)
    prepare.revert(plan, flex_tree.host, ())


@pytest.mark.parametrize(
    "undo", [{}, {"rebind": "xe"}, {"before": {}, "after": {}, "keep": False, "more": 1}]
)
def test_a_newer_versions_plan_is_neither_applied_nor_forgotten(
    flex_tree: SysTree, undo: dict[str, JsonValue]
) -> None:
    plan = Plan((planned(FLEX), PlannedDevice(wanted(B60).allocated, undo=undo)))
    _refuse_to_change(plan, flex_tree, B60.name)


@pytest.mark.parametrize(
    ("undo", "after"),
    [({"vf": {}, "more": 1}, {}), (None, {"vfs": 2}), (None, {"vfs": 2, "memoryMiB": 1, "more": 1})],
)
def test_nor_is_a_newer_versions_mode(
    flex_tree: SysTree, undo: dict[str, JsonValue] | None, after: dict[str, JsonValue]
) -> None:
    use = ModeUse("0000-18-00-0", "vf2", 0, {}, {"vfs": 2, "memoryMiB": 1, **after} if undo else after)
    _refuse_to_change(
        Plan((PlannedDevice(wanted(B60).allocated, undo=undo, use=use),)), flex_tree, "0000-18-00-0"
    )


def _refuse_to_change(plan: Plan, tree: SysTree, name: str) -> None:
    with pytest.raises(HostError, match=name) as kept:
        prepare.apply(plan, tree.host)
    assert "version" in kept.value.cure
    with pytest.raises(HostError, match=name):
        prepare.revert(plan, tree.host, ())


# --------------------------------------------------------------------------- what outsiders did


def test_a_prepared_device_with_another_kernel_driver_is_tainted() -> None:
    def taints(device: PlannedDevice, gpu: Gpu) -> list[tuple[str, str]]:
        return [(taint.key, taint.value) for taint in prepare.estranged(device, gpu)]

    assert taints(planned(FLEX), FLEX) == []
    assert taints(vfio(replace(VFIO, around=AROUND)), replace(VFIO, driver="vfio-pci")) == []
    key = "gpu.intel.com/unexpected-driver"
    assert taints(planned(FLEX), VFIO) == [(key, "xe-vfio-pci")]
    assert taints(vfio(GROUPED), GROUPED) == [(key, "i915")]
    assert taints(planned(FLEX), UNBOUND) == [(key, "none")]


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


# --------------------------------------------------------------------------- nodes and names


def nodes(device: PlannedDevice, gpu: Gpu) -> dict[str, str | None]:
    edits = prepare.edits(device, gpu, "/dev")["gpu"]
    return {node.path: node.host_path for node in edits.device_nodes}


def test_only_the_nodes_that_are_wanted_and_their_links() -> None:
    render = planned(FLEX, nodes=("render",))
    assert (render.options, render.undo) == ({"nodes": ["render"]}, None)
    assert nodes(render, FLEX) == {"/dev/dri/renderD128": "/dev/dri/renderD128"}
    mounts = prepare.edits(render, FLEX, "/dev")["gpu"].mounts
    assert [mount.container_path for mount in mounts] == ["/dev/dri/by-path/pci-0000:4d:00.0-render"]
    card = planned(FLEX, nodes=("card",))
    assert list(nodes(card, FLEX)) == ["/dev/dri/card1"]
    assert "renderNode" not in prepare.metadata(card, FLEX)
    assert planned(FLEX, nodes=("render", "card", "card")).options is None


def test_the_render_node_has_the_name_that_was_asked_for() -> None:
    device = planned(B60, renderNode="renderD128")
    assert device.options == {"renderNode": "renderD128"}
    assert nodes(device, B60) == {
        "/dev/dri/card2": "/dev/dri/card2",
        "/dev/dri/renderD128": "/dev/dri/renderD129",
    }
    assert prepare.metadata(device, B60)["renderNode"] == "/dev/dri/renderD128"
    assert prepare.metadata(planned(B60), B60)["renderNode"] == "/dev/dri/renderD129"


def test_a_gpu_without_a_render_node_has_none_to_give() -> None:
    gpu = replace(B60, render="")
    for config in ({"nodes": ("render",)}, {"renderNode": "renderD128"}):
        with pytest.raises(DeviceRefused, match="cannot be given by its render node: xe made no render node"):
            prepare.edits(planned(gpu, **config), gpu, "/dev")


def test_a_name_for_what_is_not_wanted_is_refused() -> None:
    with pytest.raises(DeviceRefused, match="as renderD128: `nodes` leaves its render node out"):
        planned(B60, nodes=("card",), renderNode="renderD128")


def named(gpu: Gpu, request: str, **more: Any) -> Wanted:
    item = wanted(gpu, renderNode="renderD128", **more)
    return replace(item, allocated=replace(item.allocated, request=request))


def test_two_gpus_of_a_request_cannot_have_one_name() -> None:
    gpus = hardware(FLEX, B60)
    with pytest.raises(
        DeviceRefused, match=f"device {B60.name} cannot be prepared as renderD128: in the same"
    ):
        prepare.plan([named(FLEX, "r/a"), named(B60, "r/b")], gpus, {}, GpuPolicy())
    for items in ([named(FLEX, "one"), named(B60, "two")], [named(FLEX, "r"), named(B60, "r", admin=True)]):
        assert len(prepare.plan(items, gpus, {}, GpuPolicy()).devices) == 2


def test_a_virtual_machine_has_no_nodes_of_drm_to_choose() -> None:
    gpu = replace(VFIO, around=AROUND)
    assert vfio(gpu, nodes=("render",), renderNode="renderD128").options == {"iommu": "both"}
    assert "renderNode" not in prepare.metadata(vfio(gpu), gpu)


@pytest.mark.parametrize(
    "config", [{"nodes": []}, {"nodes": ["mei"]}, {"renderNode": "card0"}, {"renderNode": "renderD127"}]
)
def test_what_no_node_is_called(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GpuConfig.model_validate_json(json.dumps(config))


# --------------------------------------------------------------------------- reset

RESETTABLE = replace(B60, around=replace(AROUND, resets=("flr", "bus")))


def test_a_reset_is_planned_for_the_end_and_needs_the_lock_from_the_beginning() -> None:
    device = planned(RESETTABLE, reset="flr")
    same = {"driver": "xe", "override": ""}
    assert device.undo == {"before": same, "after": same, "keep": False, "reset": "flr"}
    assert device.parents == prepare.locks(wanted(B60, reset="flr"), B60, GpuPolicy()) == ("0000-18-00-0",)
    assert planned(RESETTABLE, reset="none").undo is None
    assert planned(RESETTABLE, reset="flr", admin=True).undo is None


def test_a_reset_goes_with_a_change_of_the_kernel_driver() -> None:
    gpu = replace(RESETTABLE, iommu_group="14")
    undo = vfio(gpu, reset="flr").undo
    assert undo is not None
    assert (undo["before"], undo["reset"]) == ({"driver": "xe", "override": ""}, "flr")


@pytest.mark.parametrize(
    ("around", "manage", "why"),
    [
        (AROUND, True, "it has no function level reset"),
        (replace(AROUND, resets=("bus",)), True, "it has no function level reset"),
        (
            replace(AROUND, resets=("flr",), vfs=2),
            True,
            "it has 2 virtual functions, which a reset would end",
        ),
        (replace(AROUND, resets=("flr",)), False, "its kernel driver would have to let go of it"),
    ],
)
def test_what_cannot_be_reset_is_not_given(around: Surroundings, why: str, *, manage: bool) -> None:
    with pytest.raises(DeviceRefused, match=f"cannot be prepared with a reset afterwards: {why}"):
        planned(replace(B60, around=around), reset="flr", manage=manage)
