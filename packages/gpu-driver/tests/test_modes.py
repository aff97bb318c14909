"""How much memory a share of a mode has, which modes there are, and how they look."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dra_common.model import CounterConsumption, Device, ParentMode, Quantity, Snapshot
from dra_common.slices import ServerFeatures, to_slices
from gpu_driver import modes
from gpu_driver.device import Gpu, describe, split_mode
from gpu_driver.driver import GpuDriver
from gpu_driver.policy import GpuPolicy
from gpu_driver.products import product
from gpu_trees import SysTree
from pydantic import JsonValue

B60 = Gpu(
    "0000:9a:00.0",
    "0xe211",
    product("0xe211"),
    driver="xe",
    card="card1",
    max_vfs=7,
    num_vfs=0,
    vf_autoprobe=True,
    makes_vfs=True,
    memory_mib=24480,
    driver_version="6.19.0",
    tiles=1,
    numa_node=1,
    pcie_root="pci0000:97",
)
VF = Gpu("0000:9a:00.1", "0xe211", product("0xe211"), kind="vf", parent=B60.bdf, vf_index=0)
POLICY = GpuPolicy.model_validate_json('{"devices": [{"match": {}, "sriov": {"modes": [4, 2]}}]}')
LOCK = "0000-9a-00-0"


def driver() -> GpuDriver:
    made = GpuDriver()
    made.configure(POLICY)
    return made


def mode(count: int, **facts: object) -> Gpu:
    return replace(B60, mode=count, **facts)  # type: ignore[arg-type]


def in_mode(count: int | None) -> dict[str, ParentMode]:
    after: JsonValue = {"vfs": count} if count else None
    return {LOCK: ParentMode(LOCK, "boot", f"vf{count}" if count else "whole", None, after, {"uid": (0,)})}


@pytest.mark.parametrize(
    ("kernel", "count", "mib"),
    [
        # A power of two, and never more than half.
        ("7.1.0", 1, 8192),
        ("7.1.0", 2, 8192),
        ("7.1.0", 4, 4096),
        ("7.1.0", 7, 2048),
        # An equal part.
        ("6.17.0", 1, 24192),
        ("6.19.0", 2, 12096),
        ("7.0.3", 4, 6016),
        # A power of two, 2 GiB at most.
        ("6.16.9", 2, 2048),
        ("6.12.0", 24, 512),
        # Not the kernel's own version, or none.
        ("1.2.3", 2, None),
        ("", 2, None),
    ],
)
def test_the_memory_of_a_share_is_by_the_rule_of_the_kernel(kernel: str, count: int, mib: int | None) -> None:
    assert modes.share_mib(mode(count, driver_version=kernel)) == mib


@pytest.mark.parametrize(
    "facts", [{"memory_mib": None}, {"memory_mib": 0}, {"memory_mib": 100}, {"driver": "i915"}]
)
def test_what_is_not_known_is_left_out(facts: dict[str, object]) -> None:
    device = modes.device_of(mode(2, **facts))
    assert set(device.capacity) == {"vfs"}
    assert "vfMemoryMiB" not in device.attributes


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 63])
@pytest.mark.parametrize("kernel", ["6.12.0", "6.19.0", "7.1.0"])
def test_no_share_is_more_than_the_kernel_can_give(kernel: str, count: int) -> None:
    share = modes.share_mib(mode(count, driver_version=kernel)) or 0
    assert share * count <= 24480 - 128


def test_a_mode_is_what_the_api_server_takes() -> None:
    found = driver().publish({gpu.name: gpu for gpu in (B60, mode(4), mode(2))})
    assert [device.name for device in found.devices] == [B60.name, f"{B60.name}-vf4", f"{B60.name}-vf2"]
    takes = (CounterConsumption(B60.name, {"mode": Quantity(1)}),)
    assert all(device.consumes == takes for device in found.devices)
    made = to_slices(
        Snapshot(1, found.devices, found.counter_sets),
        driver="gpu.intel.com",
        features=ServerFeatures.of((1, 36)),
    )
    assert made.withdrawn == ()


def test_a_server_that_lacks_either_gate_gets_no_modes() -> None:
    found = driver().publish({gpu.name: gpu for gpu in (B60, mode(4))})
    snapshot = Snapshot(1, found.devices, found.counter_sets)
    for gate in ("partitionable", "consumable_capacity"):
        server = ServerFeatures.of((1, 36)).without(gate)
        made = to_slices(snapshot, driver="gpu.intel.com", features=server)
        assert [each.device for each in made.withdrawn] == [f"{B60.name}-vf4"]


def names(hardware: tuple[Gpu, ...], parents: dict[str, ParentMode]) -> list[str]:
    found: tuple[Device, ...] = driver().publish({gpu.name: gpu for gpu in hardware}, parents).devices
    return [device.name.removeprefix(B60.name) for device in found]


def test_what_is_offered_with_and_without_virtual_functions_of_ones_own() -> None:
    foreign = (B60, VF, mode(4, vfs=(VF,)), mode(2, vfs=(VF,)))
    assert names(foreign, {}) == ["", VF.name]
    assert names(foreign, in_mode(4)) == ["", "-vf4", "-vf2"]
    # A claim has it whole: virtual functions are not of our making.
    assert names(foreign, in_mode(None)) == ["", "-vf4", "-vf2", VF.name]
    # Autoprobe is off while they are made, and where an administrator wants no virtual functions.
    off = (replace(B60, vf_autoprobe=False), mode(4, vf_autoprobe=False))
    assert names(off, {}) == [""]
    assert names(off, in_mode(4)) == ["", "-vf4"]


def test_nothing_published_changes_when_a_gpu_is_divided() -> None:
    other = replace(B60, bdf="0000:9b:00.0", makes_vfs=False)
    whole = (B60, mode(4), mode(2), other)
    divided = (replace(B60, num_vfs=4), mode(4, num_vfs=4), mode(2, num_vfs=4), VF, other)
    before, after = (
        driver().publish({gpu.name: gpu for gpu in gpus}, found)
        for gpus, found in ((whole, {}), (divided, in_mode(4)))
    )
    assert after == before


def test_a_mode_in_use_is_published_even_if_it_is_not_wanted() -> None:
    found = GpuDriver().publish({B60.name: B60}, in_mode(3))
    assert [device.name for device in found.devices] == [B60.name, f"{B60.name}-vf3"]
    assert found.denied == {f"{B60.name}-vf3"}
    assert found.devices[0].consumes == found.devices[1].consumes != ()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (f"{B60.name}-vf4", (B60.name, 4)),
        (f"{B60.name}-vf63", (B60.name, 63)),
        (f"{B60.name}-vf0", None),
        (f"{B60.name}-vf04", None),
        (f"{B60.name}-vf", None),
        (f"{B60.name}-vf4-vf4", None),
        (B60.name, None),
        ("gpu-vf4", None),
    ],
)
def test_names_of_modes(name: str, found: tuple[str, int] | None) -> None:
    assert split_mode(name) == found
    if found:
        assert mode(found[1]).name == name


def test_a_claim_finds_its_mode_whatever_the_policy_says(flex_tree: SysTree) -> None:
    pf = "0000-4d-00-0-0x56c0"
    found = GpuDriver().discover(
        flex_tree.host, [f"{pf}-vf2", "0000-4d-00-1-0x56c0-vf2", "0000-ff-00-0-0x56c0-vf2"]
    )
    assert list(found.hardware) == [f"{pf}-vf2"]
    assert [(vf.bdf, vf.vf_index) for vf in found.hardware[f"{pf}-vf2"].vfs] == [
        ("0000:4d:00.1", 0),
        ("0000:4d:00.2", 1),
    ]


def test_a_description_names_the_virtual_functions() -> None:
    assert describe(mode(2, vfs=(VF,)))["vfs"] == [VF.name]
