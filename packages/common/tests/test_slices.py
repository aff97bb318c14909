"""What goes into slices: JSON shape, limits, order and packing (scenario 67)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
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
    Version,
)
from dra_common.slices import ServerFeatures, SliceContent, to_slices
from hypothesis import given
from hypothesis import strategies as st

ALL = ServerFeatures.of((1, 36))
NO_TAINTS = ALL.without("taints")
PLAIN = ServerFeatures.of((1, 34))
DRIVER = "gpu.intel.com"
UNHEALTHY = Taint("gpu.intel.com/unhealthy", TaintEffect.NO_SCHEDULE)


def contents(snapshot: Snapshot, features: ServerFeatures = ALL) -> tuple[SliceContent, ...]:
    return to_slices(snapshot, driver=DRIVER, features=features).contents


def pool(count: int, **fields: Any) -> tuple[Device, ...]:
    return tuple(Device(f"d{index}", **fields) for index in range(count))


def names(content: SliceContent) -> list[str]:
    return [device["name"] for device in content.devices]


# ---------------------------------------------------------------------- shape


def test_device_has_the_json_shape_of_the_v1_api() -> None:
    device = Device(
        "card0-vf2",
        attributes={
            "sriov": False,
            "model": "Arc B580",
            "driverVersion": Version("1.2.3-rc.1"),
            "resource.kubernetes.io/numaNode": 0,
        },
        capacity={
            "memory": Capacity(
                Quantity.mebibytes(8192), RequestPolicy(Quantity.mebibytes(4096), (Quantity.mebibytes(4096),))
            ),
            "millicores": Capacity(
                Quantity(1000),
                RequestPolicy(
                    Quantity(500), minimum=Quantity(500), maximum=Quantity(1000), step=Quantity(500)
                ),
            ),
        },
        taints=(Taint("gpu.intel.com/unhealthy", TaintEffect.NO_EXECUTE, "memory"), UNHEALTHY),
        consumes=(CounterConsumption("card0", {"mode": Quantity(1)}),),
        allow_multiple_allocations=True,
    )
    counters, devices = contents(Snapshot(1, (device,), (CounterSet("card0", {"mode": Quantity(1)}),)))
    assert counters.spec() == {"sharedCounters": [{"name": "card0", "counters": {"mode": {"value": "1"}}}]}
    assert devices.spec() == {
        "devices": [
            {
                "name": "card0-vf2",
                "attributes": {
                    "sriov": {"bool": False},
                    "model": {"string": "Arc B580"},
                    "driverVersion": {"version": "1.2.3-rc.1"},
                    "resource.kubernetes.io/numaNode": {"int": 0},
                },
                "capacity": {
                    "memory": {"value": "8Gi", "requestPolicy": {"default": "4Gi", "validValues": ["4Gi"]}},
                    "millicores": {
                        "value": "1k",
                        "requestPolicy": {
                            "default": "500",
                            "validRange": {"min": "500", "max": "1k", "step": "500"},
                        },
                    },
                },
                "consumesCounters": [{"counterSet": "card0", "counters": {"mode": {"value": "1"}}}],
                "taints": [
                    {"key": "gpu.intel.com/unhealthy", "value": "memory", "effect": "NoExecute"},
                    {"key": "gpu.intel.com/unhealthy", "effect": "NoSchedule"},
                ],
                "allowMultipleAllocations": True,
            }
        ]
    }


def test_a_bare_device_has_nothing_but_its_name() -> None:
    assert contents(Snapshot(1, (Device("d0"),)))[0].spec() == {"devices": [{"name": "d0"}]}


def test_no_devices_is_one_empty_slice() -> None:
    """An empty pool says that the driver is alive."""
    assert contents(Snapshot(1)) == (SliceContent(),)
    assert contents(Snapshot(1))[0].spec() == {"devices": []}


def test_a_spec_is_a_copy() -> None:
    content = contents(Snapshot(1, (Device("d0", {"model": "a"}),)))[0]
    content.spec()["devices"][0]["attributes"]["model"]["string"] = "changed"
    assert content.spec()["devices"][0]["attributes"]["model"] == {"string": "a"}


def test_a_slice_holds_devices_or_counters() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        SliceContent(({"name": "a"},), ({"name": "b"},))


# ---------------------------------------------------------------------- packing


def test_128_devices_a_slice_where_nothing_can_be_tainted() -> None:
    """Scenario 67."""
    assert [len(part.devices) for part in contents(Snapshot(1, pool(257)), PLAIN)] == [128, 128, 1]


def test_64_devices_a_slice_where_devices_can_be_tainted() -> None:
    """Scenario 67."""
    assert [len(part.devices) for part in contents(Snapshot(1, pool(129)))] == [64, 64, 1]


@pytest.mark.scenario(67)
def test_64_devices_a_slice_where_counters_are_consumed() -> None:
    """Scenario 67."""
    untaintable = ALL.without("taints")
    counters = CounterSet("p", {"vfs": Quantity(200)})
    consumers = pool(65, consumes=(CounterConsumption("p", {"vfs": Quantity(1)}),))
    parts = contents(Snapshot(1, consumers, (counters,)), untaintable)
    assert [len(part.devices) for part in parts] == [0, 64, 1]
    assert [len(part.devices) for part in contents(Snapshot(1, pool(65)), untaintable)] == [65]


def test_eight_counter_sets_a_slice_and_before_the_devices() -> None:
    sets = tuple(CounterSet(f"p{index}", {"mode": Quantity(1)}) for index in range(9))
    parts = contents(Snapshot(1, pool(1), sets))
    assert [(len(part.shared_counters), len(part.devices)) for part in parts] == [(8, 0), (1, 0), (0, 1)]


def test_a_taint_rewrites_one_slice_of_a_full_pool() -> None:
    """The limit of a slice with taints is kept beforehand: otherwise one taint would renew the whole pool."""
    before = pool(128)
    after = tuple(
        Device("d100", taints=(UNHEALTHY,)) if device.name == "d100" else device for device in before
    )
    pairs = zip(contents(Snapshot(1, before)), contents(Snapshot(2, after)), strict=True)
    assert [old == new for old, new in pairs] == [True, False]


def test_a_device_more_at_the_end_leaves_full_slices_alone() -> None:
    sets = (CounterSet("p", {"mode": Quantity(1)}),)
    before = contents(Snapshot(1, pool(128), sets))
    after = contents(Snapshot(2, pool(129), sets))
    assert after[: len(before)] == before


@pytest.mark.defect(17)
@given(
    st.integers(0, 400), st.integers(0, 40), st.sets(st.integers(0, 399)), st.sampled_from([ALL, NO_TAINTS])
)
def test_limits_order_and_count_hold_for_every_pool(
    devices: int, sets: int, tainted: set[int], features: ServerFeatures
) -> None:
    snapshot = Snapshot(
        1,
        tuple(
            Device(f"d{index}", taints=(UNHEALTHY,) if index in tainted else ()) for index in range(devices)
        ),
        tuple(CounterSet(f"p{index}", {"mode": Quantity(1)}) for index in range(sets)),
    )
    result = to_slices(snapshot, driver=DRIVER, features=features)
    assert result.contents
    for part in result.contents:
        assert len(part.devices) <= (64 if any("taints" in device for device in part.devices) else 128)
        assert len(part.shared_counters) <= 8
        assert not (part.devices and part.shared_counters)
    gone = {item.device for item in result.withdrawn}
    published = [name for part in result.contents for name in names(part)]
    assert published == [device.name for device in snapshot.devices if device.name not in gone]
    assert gone == (set() if features.taints else {f"d{index}" for index in tainted if index < devices})
    assert sum(len(part.shared_counters) for part in result.contents) == sets


@given(st.integers(1, 300), st.data())
def test_a_taint_anywhere_changes_one_slice(count: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, count - 1))
    before = pool(count)
    after = (*before[:index], Device(f"d{index}", taints=(UNHEALTHY,)), *before[index + 1 :])
    pairs = zip(contents(Snapshot(1, before)), contents(Snapshot(2, after)), strict=True)
    assert sum(old != new for old, new in pairs) == 1


@given(st.permutations(["model", "family", "pciId", "sriov"]))
def test_the_order_of_a_mapping_does_not_show(order: list[str]) -> None:
    attributes = {name: name.upper() for name in order}
    text = json.dumps(contents(Snapshot(1, (Device("d0", attributes),)))[0].spec())
    reference = {name: name.upper() for name in sorted(order)}
    assert text == json.dumps(contents(Snapshot(9, (Device("d0", reference),)))[0].spec())


# ---------------------------------------------------------------------- quantities


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (Quantity(0), "0"),
        (Quantity(0, "binary"), "0"),
        (Quantity(1000), "1k"),
        (Quantity(1500), "1500"),
        (Quantity(1024, "binary"), "1Ki"),
        (Quantity(1025, "binary"), "1025"),
        (Quantity(2000, "binary"), "2k"),
        (Quantity(1024 * 1000, "binary"), "1000Ki"),
        (Quantity.mebibytes(16384), "16Gi"),
        (Quantity.mebibytes(12210), "12210Mi"),
    ],
)
def test_quantities_are_printed_as_the_server_prints_them(quantity: Quantity, text: str) -> None:
    assert str(quantity) == text


@given(st.integers(0, 2**62), st.sampled_from(["binary", "decimal"]))
def test_a_quantity_s_text_is_its_value(value: int, family: Any) -> None:
    powers = {suffix: power for power, suffix in enumerate(("", "K", "M", "G", "T", "P", "E"))}
    text = re.fullmatch(r"([0-9]+)([kKMGTPE]?)(i?)", str(Quantity(value, family)))
    assert text is not None
    assert int(text[1]) * (1024 if text[3] else 1000) ** powers[text[2].upper()] == value


# ---------------------------------------------------------------------- features


def test_features_follow_the_version() -> None:
    assert ServerFeatures.of((1, 34)) == ServerFeatures((1, 34))
    assert ServerFeatures.of((1, 35)) == ServerFeatures((1, 35))
    assert ServerFeatures.of((1, 37)) == ServerFeatures(
        (1, 37), taints=True, partitionable=True, consumable_capacity=True
    )


def test_features_can_be_taken_away_and_never_come_back_by_it() -> None:
    assert ALL.without("taints") == ServerFeatures((1, 36), partitionable=True, consumable_capacity=True)
    assert PLAIN.without("taints", "partitionable") == PLAIN
    with pytest.raises(ValueError, match="unknown feature 'taint'"):
        ALL.without("taint")  # type: ignore[arg-type]


def test_1_34_never_has_counters() -> None:
    with pytest.raises(ValueError, match="counter sets"):
        ServerFeatures((1, 34), partitionable=True)
    assert ServerFeatures((1, 34), taints=True).max_taints == 4
    assert ServerFeatures((1, 35), taints=True).max_taints == 16
