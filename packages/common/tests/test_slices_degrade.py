"""What is left out for servers that cannot express it; never anything unsafe."""

from __future__ import annotations

from dra_common.model import (
    Capacity,
    CounterConsumption,
    CounterSet,
    Device,
    Quantity,
    RequestPolicy,
    Snapshot,
    Taint,
    TaintEffect,
)
from dra_common.slices import ServerFeatures, Slices, to_slices
from hypothesis import given
from hypothesis import strategies as st

ALL = ServerFeatures.of((1, 36))
NO_COUNTERS = ALL.without("partitionable")
NO_TAINTS = ALL.without("taints")
NO_SHARING = ALL.without("consumable_capacity")
NOTHING = ServerFeatures.of((1, 34))


def make(snapshot: Snapshot, features: ServerFeatures) -> Slices:
    return to_slices(snapshot, driver="gpu.intel.com", features=features)


def published(slices: Slices) -> list[str]:
    return [device["name"] for part in slices.contents for device in part.devices]


def taking(name: str, *, sharable: bool = False, **counters: int) -> Device:
    amounts = {counter: Quantity(value) for counter, value in counters.items()}
    policy = RequestPolicy(Quantity(1), (Quantity(1),))
    return Device(
        name,
        capacity={"vfs": Capacity(Quantity(4), policy)} if sharable else {},
        consumes=(CounterConsumption("p", amounts),),
        allow_multiple_allocations=sharable,
    )


def tainted(name: str, *effects: TaintEffect) -> Device:
    return Device(
        name, taints=tuple(Taint(f"gpu.intel.com/t{index}", effect) for index, effect in enumerate(effects))
    )


SETS = (CounterSet("p", {"mode": Quantity(1), "vfs": Quantity(4)}),)
WHOLE = taking("gpu0", mode=1)
MODES = (taking("gpu0-vf2", sharable=True, mode=1), taking("gpu0-vf4", sharable=True, mode=1))
PF = taking("gpu0", vfs=4)
VFS = tuple(taking(f"gpu0-vf{index}", vfs=1) for index in range(4))


def test_a_server_with_everything_gets_everything() -> None:
    slices = make(Snapshot(1, (WHOLE, *MODES), SETS), ALL)
    assert published(slices) == ["gpu0", "gpu0-vf2", "gpu0-vf4"]
    assert slices.withdrawn == ()


# ---------------------------------------------------------------------- sharing


def test_without_sharing_the_whole_device_stays() -> None:
    slices = make(Snapshot(1, (WHOLE, *MODES), SETS), NO_SHARING)
    assert published(slices) == ["gpu0"]
    assert [item.device for item in slices.withdrawn] == ["gpu0-vf2", "gpu0-vf4"]
    assert "DRAConsumableCapacity" in str(slices.withdrawn[0])


POLICY = RequestPolicy(Quantity(2), minimum=Quantity(1))
SHARED = Device(
    "gpu1",
    capacity={"memory": Capacity(Quantity(8), POLICY), "clients": Capacity(Quantity(4), POLICY)},
    allow_multiple_allocations=True,
    alone={"memory": Capacity(Quantity(8))},
)


def test_a_device_to_be_shared_goes_to_one_claim_where_the_server_cannot_share() -> None:
    (device,) = make(Snapshot(1, (SHARED,), held=frozenset({"gpu1"})), NO_SHARING).contents[0].devices
    assert device == {"name": "gpu1", "capacity": {"memory": {"value": "8"}}}
    (device,) = make(Snapshot(1, (SHARED,)), ALL).contents[0].devices
    assert device["allowMultipleAllocations"]
    assert device["capacity"]["clients"] == {
        "value": "4",
        "requestPolicy": {"default": "2", "validRange": {"min": "1"}},
    }
    assert "alone" not in device


def test_a_device_that_claims_share_is_nobodys_where_the_server_cannot_share_any_more() -> None:
    """It would give all of the device to one more."""
    mine = frozenset({"gpu1"})
    slices = make(Snapshot(1, (SHARED, Device("other")), held=mine, shared=mine), NO_SHARING)
    assert published(slices) == ["other"]
    assert "DRAConsumableCapacity" in str(slices.withdrawn[0])
    assert published(make(Snapshot(1, (SHARED,), held=mine, shared=mine), ALL)) == ["gpu1"]


# ---------------------------------------------------------------------- counters


def test_without_counters_the_whole_device_stays_and_modes_go() -> None:
    for features in (NO_COUNTERS, NOTHING):
        slices = make(Snapshot(1, (*MODES, WHOLE), SETS), features)
        assert published(slices) == ["gpu0"]
        assert len(slices.contents) == 1
        assert "consumesCounters" not in slices.contents[0].devices[0]
        assert [item.device for item in slices.withdrawn] == ["gpu0-vf2", "gpu0-vf4"]
    assert "DRAPartitionableDevices" in str(
        make(Snapshot(1, (*MODES, WHOLE), SETS), NO_COUNTERS).withdrawn[0]
    )


def test_without_counters_static_vfs_stay_and_their_pf_goes() -> None:
    slices = make(Snapshot(1, (PF, *VFS), SETS), NOTHING)
    assert published(slices) == [device.name for device in VFS]
    assert [str(item).partition(":")[0] for item in slices.withdrawn] == ["device gpu0 is not published"]


def test_without_counters_a_held_pf_keeps_its_vfs_away() -> None:
    slices = make(Snapshot(1, (PF, *VFS), SETS, held=frozenset({"gpu0"})), NOTHING)
    assert published(slices) == ["gpu0"]


def test_without_counters_a_held_mode_keeps_the_whole_device_away() -> None:
    """The feature was lost while a claim uses a VF of the mode."""
    slices = make(Snapshot(1, (WHOLE, *MODES), SETS, held=frozenset({"gpu0-vf4"})), NO_COUNTERS)
    assert published(slices) == []
    assert {item.device for item in slices.withdrawn} == {"gpu0", "gpu0-vf2", "gpu0-vf4"}


def test_devices_without_counters_are_not_touched() -> None:
    slices = make(Snapshot(1, (Device("gpu1"), PF, *VFS, Device("gpu2")), SETS), NOTHING)
    assert published(slices) == ["gpu1", *(device.name for device in VFS), "gpu2"]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.booleans()), max_size=12),
    st.sets(st.integers(0, 11)),
)
def test_what_is_left_without_counters_fits_together(
    costs: list[tuple[int, int, bool]], held: set[int]
) -> None:
    """Safe: all that is published, and all that is held, could be in use at once, or is held already."""
    devices = tuple(
        taking(f"d{index}", sharable=sharable, vfs=vfs, mode=mode)
        for index, (vfs, mode, sharable) in enumerate(costs)
    )
    holds = frozenset(f"d{index}" for index in held if index < len(devices))
    left = set(published(make(Snapshot(1, devices, SETS, holds), NO_COUNTERS)))
    for counter, total in (("vfs", 4), ("mode", 1)):
        used = [device for device in devices if device.name in left | holds]
        taken = {device.name: device.consumes[0].counters[counter].value for device in used}
        held_only = sum(taken[name] for name in holds)
        assert sum(taken.values()) <= max(total, held_only)
    assert not any(device.allow_multiple_allocations for device in devices if device.name in left)


# ---------------------------------------------------------------------- taints


def test_without_taints_devices_that_should_keep_pods_away_are_withdrawn() -> None:
    devices = (
        tainted("ok"),
        tainted("noted", TaintEffect.NONE),
        tainted("bad", TaintEffect.NO_SCHEDULE),
        tainted("worse", TaintEffect.NONE, TaintEffect.NO_EXECUTE),
    )
    slices = make(Snapshot(1, devices), NO_TAINTS)
    assert published(slices) == ["ok", "noted"]
    assert not any("taints" in device for part in slices.contents for device in part.devices)
    assert [item.device for item in slices.withdrawn] == ["bad", "worse"]
    assert "DRADeviceTaints" in slices.withdrawn[1].reason
    assert "gpu.intel.com/t1" in slices.withdrawn[1].reason


def test_without_taints_a_held_device_stays_for_its_pod() -> None:
    device = tainted("bad", TaintEffect.NO_EXECUTE)
    assert published(make(Snapshot(1, (device,), held=frozenset({"bad"})), NO_TAINTS)) == ["bad"]


def test_without_taints_a_held_device_that_others_could_join_goes() -> None:
    device = Device(
        "bad",
        taints=(Taint("gpu.intel.com/unhealthy", TaintEffect.NO_SCHEDULE),),
        allow_multiple_allocations=True,
    )
    slices = make(Snapshot(1, (device,), held=frozenset({"bad"})), NO_TAINTS)
    assert published(slices) == []
    assert [item.device for item in slices.withdrawn] == ["bad"]


def test_a_node_whose_devices_are_all_withdrawn_still_has_its_slice() -> None:
    slices = make(Snapshot(1, (tainted("bad", TaintEffect.NO_SCHEDULE),)), NO_TAINTS)
    assert [part.spec() for part in slices.contents] == [{"devices": []}]
