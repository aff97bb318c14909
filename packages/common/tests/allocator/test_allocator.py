"""What is allocated: as the scheduler chooses, in its order, written as it writes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from allocator_world import CLASS, DRIVER, NODE, ROOT, A, C, allocated, gpu, slice_of, want
from dra_common.testing.allocator import Allocation, Allocator
from dra_common.testing.objects import (
    Object,
    alternative,
    claim,
    device,
    device_class,
    exactly,
    first_available,
    resource_slice,
)


def allocate(
    wanted: Object, *slices: Object, classes: tuple[Object, ...] = (CLASS,), **options: Any
) -> Allocation:
    outcome = Allocator(slices, classes, **options).allocate(wanted)
    assert isinstance(outcome, Allocation), str(outcome)
    return outcome


def chosen(outcome: Allocation) -> list[tuple[str, str]]:
    results = outcome.status_allocation["devices"]["results"]
    assert [result["device"] for result in results] == [device.device for device in outcome.devices]
    return [(result["request"], result["device"]) for result in results]


def test_status_is_what_the_scheduler_writes() -> None:
    outcome = allocate(claim(want()), slice_of(gpu("a"), gpu("b")))
    assert outcome.claim == "default/claim"
    assert outcome.status_allocation == {
        "devices": {"results": [{"request": "gpu", "driver": DRIVER, "pool": NODE, "device": "a"}]},
        "nodeSelector": {
            "nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [NODE]}]}
            ]
        },
    }


def test_devices_of_all_nodes_need_no_node_selector() -> None:
    shared = resource_slice(gpu("a"), driver=DRIVER, node=None)
    assert "nodeSelector" not in allocate(claim(want()), shared, node=NODE).status_allocation


def test_nothing_that_is_given_is_changed() -> None:
    wanted, slices = claim(want(count=2), config=[{"opaque": {}}]), [slice_of(gpu("a"), gpu("b"))]
    before = deepcopy((wanted, slices))
    outcome = allocate(wanted, *slices)
    outcome.status_allocation["devices"]["config"][0]["opaque"]["changed"] = True
    assert (wanted, slices) == before


def test_first_fit_goes_by_slice_name_then_list_order() -> None:
    late = slice_of(gpu("a"), name="00001-x", count=2)
    early = slice_of(gpu("c"), gpu("b"), name="00000-x", count=2)
    assert chosen(allocate(claim(want(count=3)), late, early)) == [("gpu", "c"), ("gpu", "b"), ("gpu", "a")]


def test_pools_are_tried_by_driver_name() -> None:
    both = device_class("any", "true")
    other = resource_slice(device("o"), driver="another.example", node=NODE)
    outcome = allocate(
        claim(exactly(device_class="any", name="x")), slice_of(gpu("a")), other, classes=(both,)
    )
    assert chosen(outcome) == [("x", "o")]


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        (f"{A}.family == 'Data Center Max'", "max"),
        (f'{C}.memory.compareTo(quantity("4Gi")) >= 0 && !{A}.sriov', "max"),
        (f'{C}.memory.compareTo(quantity("4Gi")) >= 0', "flex"),
        (f'{C}.memory.isGreaterThan(quantity("16Gi"))', "max"),
        (f'{C}.memory.isLessThan(quantity("4Gi"))', "small"),
        (f'{A}.model in ["Max 1100", "Max 1550"]', "max"),
        (f"{A}.?numaNode.orValue(0) == 1", "max"),
        ('device.attributes["resource.kubernetes.io"].pcieRoot == "pci0000:80"', "max"),
    ],
)
def test_selectors_of_the_request(expression: str, name: str) -> None:
    big = {"family": "Data Center Max", "model": "Max 1100", "sriov": False, "numaNode": 1}
    devices = slice_of(
        gpu("small", memory="2Gi"), gpu("flex"), gpu("max", memory="48Gi", root="pci0000:80", attributes=big)
    )
    assert chosen(allocate(claim(want(expression)), devices)) == [("gpu", name)]


def test_selectors_of_class_and_request_must_all_be_true() -> None:
    strict = device_class(DRIVER, f'device.driver == "{DRIVER}"', f"{A}.sriov")
    devices = slice_of(
        gpu("a", attributes={"sriov": False}),
        gpu("b", memory="2Gi"),
        gpu("c", attributes={"model": "x"}),
        gpu("d"),
    )
    wanted = claim(want(f'{C}.memory.isGreaterThan(quantity("4Gi"))', f'{A}.model == "Flex 170"'))
    assert chosen(allocate(wanted, devices, classes=(strict,))) == [("gpu", "d")]


def test_all_devices_that_match() -> None:
    devices = slice_of(gpu("a"), gpu("b", memory="2Gi"), gpu("c"))
    wanted = claim(want(f'{C}.memory.isGreaterThan(quantity("4Gi"))', allocationMode="All"))
    assert chosen(allocate(wanted, devices)) == [("gpu", "a"), ("gpu", "c")]


def test_devices_of_other_claims_are_left_alone() -> None:
    devices = slice_of(gpu("a"), gpu("b"), gpu("c"))
    others = [allocated("one", "a"), claim(name="waiting"), allocated("two", "b")]
    assert chosen(allocate(claim(want()), devices, allocated=others)) == [("gpu", "c")]


def test_same_name_in_another_pool_is_another_device() -> None:
    elsewhere = allocated("one", "a")
    elsewhere["status"]["allocation"]["devices"]["results"][0]["pool"] = "node-b"
    assert chosen(allocate(claim(want()), slice_of(gpu("a")), allocated=[elsewhere])) == [("gpu", "a")]


def test_admin_access_sees_what_others_have() -> None:
    devices = slice_of(gpu("a"), gpu("b"))
    wanted = claim(want(allocationMode="All", adminAccess=True))
    outcome = allocate(wanted, devices, allocated=[allocated("one", "a")])
    assert chosen(outcome) == [("gpu", "a"), ("gpu", "b")]
    assert [result["adminAccess"] for result in outcome.status_allocation["devices"]["results"]] == [
        True,
        True,
    ]


def test_admin_access_of_others_takes_nothing() -> None:
    monitor = allocated("monitor", "a", adminAccess=True)
    assert chosen(allocate(claim(want()), slice_of(gpu("a")), allocated=[monitor])) == [("gpu", "a")]


def test_one_device_is_never_given_twice() -> None:
    wanted = claim(want(name="one"), want(name="two"))
    assert chosen(allocate(wanted, slice_of(gpu("a"), gpu("b")))) == [("one", "a"), ("two", "b")]


def test_backtracking_over_requests() -> None:
    """The first request must leave the only device that the second can use."""
    wanted = claim(want(name="any"), want(f'{C}.memory.isGreaterThan(quantity("8Gi"))', name="big"))
    assert chosen(allocate(wanted, slice_of(gpu("a"), gpu("b", memory="4Gi")))) == [
        ("any", "b"),
        ("big", "a"),
    ]


def test_match_attribute_aligns_devices() -> None:
    devices = slice_of(gpu("a", root="pci0000:00"), gpu("b", root="pci0000:80"), gpu("c", root="pci0000:80"))
    wanted = claim(want(count=2), constraints=[{"matchAttribute": ROOT}])
    assert chosen(allocate(wanted, devices)) == [("gpu", "b"), ("gpu", "c")]


def test_match_attribute_across_drivers() -> None:
    nics = resource_slice(
        device("n0", {ROOT: "pci0000:80"}), device("n1", {ROOT: "pci0000:40"}), driver="dra.net", node=NODE
    )
    gpus = slice_of(gpu("a", root="pci0000:00"), gpu("b", root="pci0000:40"))
    wanted = claim(
        want(), exactly(name="nic", device_class="dra.net"), constraints=[{"matchAttribute": ROOT}]
    )
    outcome = allocate(wanted, gpus, nics, classes=(CLASS, device_class("dra.net")))
    assert chosen(outcome) == [("gpu", "b"), ("nic", "n1")]
    assert [device.driver for device in outcome.devices] == [DRIVER, "dra.net"]


def test_constraint_on_some_requests_only() -> None:
    devices = slice_of(gpu("a", root="pci0000:00"), gpu("b", root="pci0000:80"), gpu("c", root="pci0000:80"))
    requests = [want(name=name) for name in ("free", "one", "two")]
    wanted = claim(*requests, constraints=[{"matchAttribute": ROOT, "requests": ["one", "two"]}])
    assert chosen(allocate(wanted, devices)) == [("free", "a"), ("one", "b"), ("two", "c")]


def test_attribute_without_domain_matches_under_the_drivers() -> None:
    devices = slice_of(gpu("a"), gpu("b", attributes={"model": "x"}), gpu("c"))
    wanted = claim(want(count=2), constraints=[{"matchAttribute": f"{DRIVER}/model"}])
    assert chosen(allocate(wanted, devices)) == [("gpu", "a"), ("gpu", "c")]


def test_distinct_attribute() -> None:
    devices = slice_of(gpu("a"), gpu("b"), gpu("c", root="pci0000:80"))
    wanted = claim(want(count=2), constraints=[{"distinctAttribute": ROOT}])
    assert chosen(allocate(wanted, devices)) == [("gpu", "a"), ("gpu", "c")]


GAUDI = device_class("gaudi.intel.com")
GAUDIS = resource_slice(device("g0"), driver="gaudi.intel.com", node=NODE)
EITHER = first_available(
    alternative(device_class=DRIVER, name="gpu"),
    alternative(device_class="gaudi.intel.com", name="gaudi"),
    name="acc",
)


def test_first_available_takes_the_first_that_fits() -> None:
    classes = (CLASS, GAUDI)
    assert chosen(allocate(claim(EITHER), slice_of(gpu("a")), GAUDIS, classes=classes)) == [("acc/gpu", "a")]
    busy = [allocated("one", "a")]
    outcome = allocate(claim(EITHER), slice_of(gpu("a")), GAUDIS, classes=classes, allocated=busy)
    assert chosen(outcome) == [("acc/gaudi", "g0")]


def test_first_available_gives_way_to_a_later_request() -> None:
    wanted = claim(EITHER, want(name="must"))
    outcome = allocate(wanted, slice_of(gpu("a")), GAUDIS, classes=(CLASS, GAUDI))
    assert chosen(outcome) == [("acc/gaudi", "g0"), ("must", "a")]


@pytest.mark.parametrize("requests", [["acc"], ["acc/gpu"]])
def test_constraint_names_a_request_or_one_of_its_alternatives(requests: list[str]) -> None:
    devices = slice_of(gpu("a"), gpu("b", root="pci0000:80"), gpu("c", root="pci0000:80"))
    pair = first_available(alternative(device_class=DRIVER, name="gpu", count=2), name="acc")
    wanted = claim(pair, constraints=[{"matchAttribute": ROOT, "requests": requests}])
    assert chosen(allocate(wanted, devices)) == [("acc/gpu", "b"), ("acc/gpu", "c")]


def opaque(text: str) -> Object:
    return {"opaque": {"driver": DRIVER, "parameters": {"text": text}}}


def configured(outcome: Allocation) -> list[tuple[str, str, list[str] | None]]:
    entries = outcome.status_allocation["devices"]["config"]
    return [
        (entry["source"], entry["opaque"]["parameters"]["text"], entry.get("requests")) for entry in entries
    ]


def test_configuration_of_classes_stands_before_that_of_the_claim() -> None:
    classes = (
        device_class(DRIVER, config=[opaque("class 1"), opaque("class 2")]),
        device_class("plain", "true"),
    )
    requests = [want(name="one"), exactly(device_class="plain", name="two"), want(name="three")]
    config = [
        opaque("all"),
        {**opaque("one"), "requests": ["one"]},
        {**opaque("every"), "requests": ["one", "two", "three"]},
    ]
    outcome = allocate(
        claim(*requests, config=config), slice_of(gpu("a"), gpu("b"), gpu("c")), classes=classes
    )
    assert configured(outcome) == [
        ("FromClass", "class 1", ["one", "three"]),
        ("FromClass", "class 2", ["one", "three"]),
        ("FromClaim", "all", None),
        ("FromClaim", "one", ["one"]),
        ("FromClaim", "every", None),
    ]


def test_configuration_of_an_alternative_that_was_not_taken_is_left_out() -> None:
    classes = (device_class(DRIVER, config=[opaque("gpu class")]), GAUDI)
    config = [{**opaque(text), "requests": [text]} for text in ("acc/gpu", "acc/gaudi", "acc")]
    wanted = claim(EITHER, exactly(device_class="gaudi.intel.com", name="other"), config=config)
    gaudis = resource_slice(device("g0"), device("g1"), driver="gaudi.intel.com", node=NODE)
    outcome = allocate(wanted, gaudis, classes=classes)
    assert configured(outcome) == [("FromClaim", "acc/gaudi", ["acc/gaudi"]), ("FromClaim", "acc", ["acc"])]


TAINT = {"key": "gpu.intel.com/unhealthy", "value": "yes", "effect": "NoExecute"}


@pytest.mark.parametrize(
    "toleration",
    [
        {"operator": "Exists"},
        {"operator": "Exists", "key": TAINT["key"]},
        {"operator": "Exists", "key": TAINT["key"], "effect": "NoExecute"},
        {"operator": "Equal", "key": TAINT["key"], "value": "yes"},
        {"key": TAINT["key"], "value": "yes"},
    ],
)
def test_tolerated_taint(toleration: dict[str, str]) -> None:
    wanted = claim(want(tolerations=[{"operator": "Exists", "key": "other"}, toleration]))
    outcome = allocate(wanted, slice_of(gpu("a", taints=[TAINT])))
    assert outcome.status_allocation["devices"]["results"][0]["tolerations"][1] == toleration


def test_taint_without_effect_on_scheduling() -> None:
    assert chosen(allocate(claim(want()), slice_of(gpu("a", taints=[{**TAINT, "effect": "None"}])))) == [
        ("gpu", "a")
    ]


def test_tainted_device_is_passed_over() -> None:
    assert chosen(allocate(claim(want()), slice_of(gpu("a", taints=[TAINT]), gpu("b")))) == [("gpu", "b")]


def test_old_generation_of_a_pool_is_ignored() -> None:
    old = slice_of(gpu("old"), name="00000-old", generation=1)
    new = slice_of(gpu("new"), name="00001-new", generation=2)
    assert chosen(allocate(claim(want()), old, new)) == [("gpu", "new")]


def test_incomplete_pool_does_not_keep_from_another() -> None:
    broken = resource_slice(device("o"), driver="another.example", node=NODE, count=2)
    outcome = allocate(
        claim(exactly(device_class="any", name="x")),
        broken,
        slice_of(gpu("a")),
        classes=(device_class("any", "true"),),
    )
    assert chosen(outcome) == [("x", "a")]


def test_devices_of_other_nodes_are_not_seen() -> None:
    elsewhere = resource_slice(gpu("b"), driver=DRIVER, node="node-b")
    assert chosen(allocate(claim(want()), elsewhere, slice_of(gpu("a")), node=NODE)) == [("gpu", "a")]


def test_node_must_be_named_when_there_are_several() -> None:
    elsewhere = resource_slice(gpu("b"), driver=DRIVER, node="node-b")
    with pytest.raises(ValueError, match="node-a, node-b"):
        Allocator([elsewhere, slice_of(gpu("a"))], [CLASS])


def consuming(name: str, vfs: str, mode: str | None = None) -> Object:
    entries = [{"counterSet": "card", "counters": {"vfs": {"value": vfs}}}]
    if mode:
        entries.append({"counterSet": "modes", "counters": {"mode": {"value": mode}}})
    return gpu(name, consumesCounters=entries)


COUNTERS = slice_of(
    name="00000-counters",
    count=2,
    sharedCounters=[
        {"name": "card", "counters": {"vfs": {"value": "2"}}},
        {"name": "modes", "counters": {"mode": {"value": "1"}}},
    ],
)


def test_shared_counters_exclude_the_whole_device_and_its_parts() -> None:
    parts = slice_of(
        consuming("pf", "2"), consuming("vf0", "1"), consuming("vf1", "1"), name="00001", count=2
    )
    assert chosen(allocate(claim(want()), COUNTERS, parts)) == [("gpu", "pf")]
    # The whole device cannot be among two.
    assert chosen(allocate(claim(want(count=2)), COUNTERS, parts)) == [("gpu", "vf0"), ("gpu", "vf1")]
    busy = [allocated("one", "vf0")]
    assert chosen(allocate(claim(want()), COUNTERS, parts, allocated=busy)) == [("gpu", "vf1")]


def test_counters_are_given_back_when_the_search_turns_round() -> None:
    parts = slice_of(
        consuming("a", "1", "1"), consuming("b", "1", "1"), consuming("c", "1"), name="00001", count=2
    )
    wanted = claim(want(name="one"), want('device.driver == "gpu.intel.com"', name="two"))
    assert chosen(allocate(wanted, COUNTERS, parts)) == [("one", "a"), ("two", "c")]


def test_same_allocator_serves_many_claims() -> None:
    allocator = Allocator([slice_of(gpu("a"))], [CLASS])
    first, second = (
        allocator.allocate(claim(want(), name="one")),
        allocator.allocate(claim(want(), name="two")),
    )
    assert isinstance(first, Allocation)
    assert isinstance(second, Allocation)
    assert (first.claim, second.claim) == ("default/one", "default/two")
    assert first.devices == second.devices


def test_seventy_two_devices_of_one_kind() -> None:
    devices = slice_of(*(gpu(f"d{index:02}", root=f"pci0000:{index % 8:02x}") for index in range(72)))
    wanted = claim(
        want(f'{C}.memory.isGreaterThan(quantity("4Gi"))', count=8), constraints=[{"matchAttribute": ROOT}]
    )
    assert [name for _, name in chosen(allocate(wanted, devices))] == [
        f"d{index:02}" for index in range(0, 64, 8)
    ]


def test_claim_without_requests_is_allocated_nothing() -> None:
    assert allocate(claim(), slice_of(gpu("a"))).status_allocation == {"devices": {"results": []}}
