"""Why nothing fits: each rule that can say no says which, of which device, and with what values."""

from __future__ import annotations

from typing import Any

import pytest
from allocator_world import CLASS, DRIVER, NODE, ROOT, A, C, allocated, gpu, slice_of, want
from dra_common.testing.allocator import Allocation, Allocator, Reason, Unsatisfiable
from dra_common.testing.objects import (
    Object,
    alternative,
    claim,
    device,
    device_class,
    first_available,
    resource_slice,
)


def refuse(
    wanted: Object, *slices: Object, classes: tuple[Object, ...] = (CLASS,), **options: Any
) -> Unsatisfiable:
    outcome = Allocator(slices, classes, node=NODE, **options).allocate(wanted)
    assert isinstance(outcome, Unsatisfiable)
    assert str(outcome).startswith(f"claim {outcome.claim} cannot be allocated:\n  ")
    return outcome


def only(outcome: Unsatisfiable, name: str) -> Reason:
    (reason,) = outcome.of(name)
    return reason


def texts(outcome: Unsatisfiable) -> list[str]:
    return [str(reason) for reason in outcome.reasons]


def test_selector_that_never_matches_shows_what_the_devices_have() -> None:
    outcome = refuse(claim(want(f"{A}.family == 'Flex'")), slice_of(gpu("a"), gpu("b")))
    assert texts(outcome) == [
        "request gpu: wants 1 device of class gpu.intel.com; 0 of the node's 2 fit",
        *(
            f"request gpu: device gpu.intel.com/node-a/{name}: selector 1 of the request is false: "
            f"`{A}.family == 'Flex'` (family is \"Data Center Flex\")"
            for name in ("a", "b")
        ),
    ]
    assert only(outcome, "a").clause == "request selector"


def test_second_selector_of_the_class() -> None:
    strict = device_class(DRIVER, "true", f'{C}.memory.isGreaterThan(quantity("1Ti"))')
    reason = only(refuse(claim(want()), slice_of(gpu("a")), classes=(strict,)), "a")
    assert reason.clause == "class selector"
    assert reason.detail.startswith("selector 2 of DeviceClass gpu.intel.com is false")
    assert reason.detail.endswith('(memory is "16Gi")')


def test_missing_attribute_ends_the_attempt_and_names_device_and_expression() -> None:
    """As in Kubernetes, even if another device would match."""
    expression = f"{A}.colour == 'red'"
    other = device("z", {"colour": "red"})
    outcome = refuse(claim(want(expression)), slice_of(gpu("a"), other))
    assert texts(outcome) == [
        (
            "request gpu: device gpu.intel.com/node-a/a: selector 1 of the request: CEL error: "
            f'Key not found in map : "colour": `{expression}`'
        )
    ]


def test_devices_before_the_failing_one_are_enough() -> None:
    allocator = Allocator([slice_of(device("a", {"colour": "red"}), gpu("b"))], [CLASS])
    assert not isinstance(allocator.allocate(claim(want(f"{A}.colour == 'red'"))), Unsatisfiable)


def test_selector_is_not_asked_about_devices_in_use() -> None:
    outcome = refuse(
        claim(want(f"{A}.colour == 'red'")), slice_of(gpu("a")), allocated=[allocated("one", "a")]
    )
    assert only(outcome, "a").clause == "allocated"


def test_expression_that_does_not_compile() -> None:
    outcome = refuse(claim(want("device.drivr == 'x'")), slice_of(gpu("a")))
    assert "CEL error: 1:7: undeclared reference to 'device.drivr'" in str(outcome)
    assert "`device.drivr == 'x'`" in str(outcome)
    broken = device_class(DRIVER, "device.driver")
    assert only(refuse(claim(want()), slice_of(gpu("a")), classes=(broken,)), "a").detail == (
        "selector 1 of DeviceClass gpu.intel.com: CEL error: must give a bool, not STRING: `device.driver`"
    )


def test_class_that_does_not_exist() -> None:
    outcome = refuse(claim(want()), slice_of(gpu("a")), classes=())
    assert texts(outcome) == ["request gpu: DeviceClass gpu.intel.com does not exist"]


def test_device_of_another_claim_names_it() -> None:
    outcome = refuse(claim(want()), slice_of(gpu("a")), allocated=[allocated("holder", "a")])
    assert only(outcome, "a") == Reason(
        "allocated", "is allocated to claim default/holder", "gpu", outcome.of("a")[0].device
    )


def test_too_many_devices_wanted() -> None:
    outcome = refuse(claim(want(count=3)), slice_of(gpu("a"), gpu("b")))
    assert texts(outcome) == ["request gpu: wants 3 devices of class gpu.intel.com; 2 of the node's 2 fit"]


def test_device_that_an_earlier_request_needs() -> None:
    outcome = refuse(claim(want(name="one"), want(name="two")), slice_of(gpu("a")))
    assert texts(outcome) == [
        "request two: wants 1 device of class gpu.intel.com; 0 of the node's 1 fit",
        "request two: device gpu.intel.com/node-a/a: is picked already, for request one",
    ]


def test_all_devices_while_one_is_in_use() -> None:
    outcome = refuse(
        claim(want(allocationMode="All")), slice_of(gpu("a"), gpu("b")), allocated=[allocated("one", "b")]
    )
    assert texts(outcome) == [
        "request gpu: wants all devices of class gpu.intel.com; 1 of the node's 2 fit",
        "request gpu: device gpu.intel.com/node-a/b: is allocated to claim default/one",
    ]


def test_all_devices_when_none_matches() -> None:
    outcome = refuse(claim(want("false", allocationMode="All")), slice_of(gpu("a")))
    assert str(outcome.reasons[0]).endswith("wants all devices of class gpu.intel.com; 0 of the node's 1 fit")
    assert only(outcome, "a").detail == "selector 1 of the request is false: `false`"


def test_more_results_than_an_allocation_holds() -> None:
    devices = slice_of(*(gpu(f"d{index}") for index in range(40)))
    for wanted in (want(count=33), want(allocationMode="All")):
        outcome = refuse(claim(wanted), devices)
        assert "devices are more than the 32 of an allocation" in str(outcome)


def test_constraint_shows_both_values() -> None:
    devices = slice_of(gpu("a"), gpu("b", root="pci0000:80"), gpu("c", root=None))
    outcome = refuse(claim(want(count=2), constraints=[{"matchAttribute": ROOT}]), devices)
    assert outcome.reasons[0].detail == "wants 2 devices of class gpu.intel.com; 1 of the node's 3 fit"
    assert only(outcome, "b").detail == (
        f'matchAttribute {ROOT} is not met: it has "pci0000:80", not "pci0000:00" as device gpu.intel.com/node-a/a'
    )
    assert only(outcome, "c").detail == f"matchAttribute {ROOT} is not met: it has no such attribute"


def test_distinct_constraint_shows_the_value() -> None:
    wanted = claim(want(count=2), constraints=[{"distinctAttribute": ROOT}])
    assert only(refuse(wanted, slice_of(gpu("a"), gpu("b"))), "b").detail == (
        f'distinctAttribute {ROOT} is not met: it has "pci0000:00", the same as device gpu.intel.com/node-a/a'
    )


def test_values_of_different_types_do_not_match() -> None:
    devices = slice_of(device("a", {"x": 1}), device("b", {"x": "1"}))
    outcome = refuse(claim(want(count=2), constraints=[{"matchAttribute": f"{DRIVER}/x"}]), devices)
    assert 'it has "1", not 1 as device' in only(outcome, "b").detail


def test_constraint_against_all_devices_ends_the_attempt() -> None:
    wanted = claim(want(allocationMode="All"), constraints=[{"matchAttribute": ROOT}])
    outcome = refuse(wanted, slice_of(gpu("a"), gpu("b", root="pci0000:80")))
    assert [reason.clause for reason in outcome.reasons] == ["constraint"]


@pytest.mark.parametrize(
    ("tolerations", "taint"),
    [
        ([], {"key": "k", "value": "v", "effect": "NoSchedule"}),
        ([], {"key": "k", "effect": "NoExecute"}),
        ([{"key": "other", "operator": "Exists"}], {"key": "k", "effect": "NoExecute"}),
        (
            [{"key": "k", "operator": "Equal", "value": "x"}],
            {"key": "k", "value": "v", "effect": "NoExecute"},
        ),
        ([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}], {"key": "k", "effect": "NoExecute"}),
    ],
)
def test_taint_that_is_not_tolerated(tolerations: list[Object], taint: Object) -> None:
    outcome = refuse(claim(want(tolerations=tolerations)), slice_of(gpu("a", taints=[taint])))
    shown = f"k=v:{taint['effect']}" if "value" in taint else f"k:{taint['effect']}"
    assert only(outcome, "a").detail == f"taint {shown} is not tolerated"


def test_counters_that_are_used_up() -> None:
    counters = slice_of(
        name="00000", count=2, sharedCounters=[{"name": "card", "counters": {"vfs": {"value": "2"}}}]
    )

    def part(name: str, vfs: str) -> Object:
        return gpu(name, consumesCounters=[{"counterSet": "card", "counters": {"vfs": {"value": vfs}}}])

    parts = slice_of(part("pf", "2"), part("vf0", "1"), name="00001", count=2)
    outcome = refuse(claim(want()), counters, parts, allocated=[allocated("one", "vf0")])
    assert only(outcome, "pf").detail == "needs 2 of counter card.vfs, 1 is left"
    outcome = refuse(claim(want(count=2)), counters, parts)
    assert only(outcome, "vf0").detail == "needs 1 of counter card.vfs, 0 is left"


def test_incomplete_pool() -> None:
    half = slice_of(gpu("a"), count=2, generation=3)
    outcome = refuse(claim(want()), half)
    assert texts(outcome) == [
        "pool gpu.intel.com/node-a is incomplete: 1 of 2 slices of generation 3",
        "request gpu: wants 1 device of class gpu.intel.com; 0 of the node's 0 fit",
    ]
    outcome = refuse(claim(want(allocationMode="All")), half)
    assert texts(outcome) == [
        (
            "request gpu: asks for all devices, but pool gpu.intel.com/node-a is incomplete: "
            "1 of 2 slices of generation 3"
        )
    ]


def test_incomplete_pool_of_another_driver_stops_a_claim_for_all() -> None:
    half = resource_slice(device("o"), driver="another.example", node=NODE, count=2)
    outcome = refuse(claim(want(allocationMode="All")), slice_of(gpu("a")), half)
    assert "pool another.example/node-a is incomplete" in str(outcome)


@pytest.mark.parametrize(
    ("slices", "fault"),
    [
        ([slice_of(gpu("a"), gpu("a"))], "duplicate device name a"),
        (
            [slice_of(gpu("a"), name="0", count=2), slice_of(gpu("a"), name="1", count=2)],
            "duplicate device name a",
        ),
        (
            [slice_of(gpu("a", consumesCounters=[{"counterSet": "s", "counters": {"c": {"value": "1"}}}]))],
            "device a consumes s.c, which is not there",
        ),
        (
            [slice_of(sharedCounters=[{"name": "s", "counters": {}}, {"name": "s", "counters": {}}])],
            "duplicate counter set s",
        ),
    ],
)
def test_invalid_pool(slices: list[Object], fault: str) -> None:
    assert texts(refuse(claim(want()), *slices))[0] == f"pool gpu.intel.com/node-a is invalid: {fault}"
    assert fault in str(refuse(claim(want(allocationMode="All")), *slices))


def test_every_alternative_is_explained() -> None:
    wanted = first_available(
        alternative("false", device_class=DRIVER, name="no"),
        alternative(device_class=DRIVER, name="many", count=2),
        name="acc",
    )
    assert texts(refuse(claim(wanted), slice_of(gpu("a")))) == [
        "request acc/no: wants 1 device of class gpu.intel.com; 0 of the node's 1 fit",
        "request acc/many: wants 2 devices of class gpu.intel.com; 1 of the node's 1 fit",
        "request acc/no: device gpu.intel.com/node-a/a: selector 1 of the request is false: `false`",
    ]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (claim({"name": "r"}), "request r: has neither 'exactly' nor 'firstAvailable'"),
        (claim(want(allocationMode="Some")), "request gpu: allocationMode 'Some' is not known"),
        (claim(want(selectors=[{"jq": "."}])), "request gpu has a selector that is not CEL"),
        (claim(want(), constraints=[{"requests": []}]), "constraint 1 is of no known kind"),
        ({**allocated("x", "a")}, "is allocated already"),
    ],
)
def test_claim_that_the_scheduler_would_not_take(wanted: Object, reason: str) -> None:
    (text,) = texts(refuse(wanted, slice_of(gpu("a"))))
    assert text.startswith(reason)


def test_pool_of_several_nodes_is_whole_only_with_the_slices_of_others() -> None:
    pool = {"name": "rack", "generation": 1, "resourceSliceCount": 2}
    here = slice_of(gpu("a"), name="0", pool=pool)
    there = resource_slice(gpu("b"), driver=DRIVER, node="node-b", name="1", pool=pool)
    assert texts(refuse(claim(want()), here))[0] == (
        "pool gpu.intel.com/rack is incomplete: 1 of 2 slices of generation 1"
    )
    assert isinstance(Allocator([here, there], [CLASS], node=NODE).allocate(claim(want())), Allocation)
    newer = {**there, "spec": {**there["spec"], "pool": {**pool, "generation": 2}}}
    # Other nodes have the next generation already: what this one has is obsolete.
    assert texts(refuse(claim(want()), here, newer)) == [
        "request gpu: wants 1 device of class gpu.intel.com; 0 of the node's 0 fit"
    ]


def counted(name: str, amount: str) -> Object:
    return gpu(name, consumesCounters=[{"counterSet": "card", "counters": {"vfs": {"value": amount}}}])


def test_devices_of_other_nodes_consume_the_same_counters() -> None:
    pool = {"name": "rack", "generation": 1, "resourceSliceCount": 3}
    card = {"name": "card", "counters": {"vfs": {"value": "2"}}}
    slices = [
        resource_slice(driver=DRIVER, node=None, name="0", pool=pool, sharedCounters=[card]),
        slice_of(counted("a", "2"), name="1", pool=pool),
        resource_slice(counted("b", "1"), driver=DRIVER, node="node-b", name="2", pool=pool),
    ]
    elsewhere = allocated("other", "b")
    elsewhere["status"]["allocation"]["devices"]["results"][0]["pool"] = "rack"
    outcome = refuse(claim(want()), *slices, allocated=[elsewhere])
    assert only(outcome, "a").detail == "needs 2 of counter card.vfs, 1 is left"


def test_counter_that_was_lowered_below_what_is_in_use_closes_the_pool() -> None:
    card = [{"name": name, "counters": {"vfs": {"value": "1"}}} for name in ("card", "other")]
    counters = slice_of(name="0", count=2, sharedCounters=card)
    free = gpu("b", consumesCounters=[{"counterSet": "other", "counters": {"vfs": {"value": "1"}}}])
    devices = slice_of(counted("a", "2"), free, gpu("c"), name="1", count=2)
    outcome = refuse(claim(want(count=2)), counters, devices, allocated=[allocated("one", "a")])
    assert only(outcome, "b").detail == "counter card.vfs of its pool is overdrawn"


def test_search_gives_up_after_too_many_steps() -> None:
    devices = slice_of(*(gpu(f"d{index:02}", root=f"pci0000:{index:02x}") for index in range(24)))
    wanted = claim(*(want(name=f"r{index}") for index in range(8)), want("false", name="never"))
    outcome = refuse(wanted, devices, step_limit=2000)
    assert [reason.clause for reason in outcome.reasons] == ["limit"]
    assert "gave up" in str(outcome)


def test_node_without_devices() -> None:
    assert texts(refuse(claim(want()))) == [
        "request gpu: wants 1 device of class gpu.intel.com; 0 of the node's 0 fit"
    ]
