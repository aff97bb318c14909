"""An allocation that somebody else made: legal, or why not."""

from __future__ import annotations

from typing import Any

import pytest
from dra_common.testing.allocator import Allocator
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

NODE, DRIVER = "node-a", "gpu.intel.com"
FAMILY = f'device.attributes["{DRIVER}"].family == "Flex"'
TAINT = {"key": "x.example.com/bad", "effect": "NoSchedule"}


def gpu(name: str, family: str = "Flex", **fields: Any) -> Object:
    return device(name, {"family": family}, {"memory": "16Gi"}, **fields)


def consuming(name: str) -> Object:
    return gpu(name, consumesCounters=[{"counterSet": "card", "counters": {"units": {"value": "1"}}}])


SLICES = [
    resource_slice(
        driver=DRIVER,
        node=NODE,
        name="0",
        count=2,
        sharedCounters=[{"name": "card", "counters": {"units": {"value": "1"}}}],
    ),
    resource_slice(
        gpu("a"),
        gpu("b"),
        gpu("max", "Max"),
        gpu("hot", taints=[TAINT]),
        consuming("vf0"),
        consuming("vf1"),
        gpu("held"),
        gpu("shared", allowMultipleAllocations=True),
        driver=DRIVER,
        node=NODE,
        name="1",
        count=2,
    ),
]


def allocation(*devices: tuple[str, str]) -> Object:
    results = [
        {"request": request, "driver": DRIVER, "pool": NODE, "device": name} for request, name in devices
    ]
    return {"devices": {"results": results}}


def objections(wanted: Object, *devices: tuple[str, str]) -> list[str]:
    holder = {**claim(name="other"), "status": {"allocation": allocation(("r", "held"))}}
    allocator = Allocator(SLICES, [device_class(DRIVER)], node=NODE, allocated=[holder])
    return [str(reason) for reason in allocator.objections(wanted, allocation(*devices))]


def want(*expressions: str, name: str = "r", **fields: Any) -> Object:
    return exactly(*expressions, name=name, device_class=DRIVER, **fields)


def test_any_legal_choice_is_taken_not_only_the_first() -> None:
    assert objections(claim(want(FAMILY)), ("r", "b")) == []
    assert objections(claim(want(count=2), want(name="two")), ("r", "b"), ("r", "max"), ("two", "a")) == []
    sharing = claim(*(want(name=name, capacity={"requests": {"memory": "8Gi"}}) for name in "rs"))
    assert objections(sharing, ("r", "shared"), ("s", "shared")) == []


@pytest.mark.parametrize(
    ("wanted", "devices", "objection"),
    [
        (claim(want(FAMILY)), [("r", "max")], "selector 1 of the request is false"),
        (claim(want()), [("r", "hot")], "taint x.example.com/bad:NoSchedule is not tolerated"),
        (claim(want()), [("r", "held")], "is allocated to claim default/other"),
        (claim(want()), [("r", "lost")], "is in no pool that the node can use"),
        (claim(want()), [("else", "a")], "there is no such request"),
        (claim(want(count=2)), [("r", "a"), ("r", "a")], "is picked already, for request r"),
        (claim(want(count=2)), [("r", "a")], "request r: has 1 devices instead of 2"),
        (claim(want(FAMILY, allocationMode="All")), [("r", "a")], "request r: has 1 devices instead of 7"),
        (claim(want()), [], "request r: 0 of its alternatives were chosen"),
        (claim(want(count=2)), [("r", "vf0"), ("r", "vf1")], "needs 1 of counter card.units, 0 is left"),
        (claim(want(capacity={"requests": {"memory": "17Gi"}})), [("r", "a")], "17Gi of capacity memory"),
        (
            claim(want(count=2), constraints=[{"matchAttribute": f"{DRIVER}/family"}]),
            [("r", "a"), ("r", "max")],
            'it has "Max", not "Flex"',
        ),
    ],
)
def test_what_breaks_a_rule(wanted: Object, devices: list[tuple[str, str]], objection: str) -> None:
    assert any(objection in found for found in objections(wanted, *devices)), objections(wanted, *devices)


def test_one_alternative_only() -> None:
    either = first_available(
        alternative(device_class=DRIVER, name="one"),
        alternative(device_class=DRIVER, name="two", count=2),
        name="r",
    )
    assert objections(claim(either), ("r/two", "a"), ("r/two", "b")) == []
    both = objections(claim(either), ("r/one", "a"), ("r/two", "b"))
    assert both == ["request r: 2 of its alternatives were chosen"]


def test_claim_that_nothing_may_be_allocated_for() -> None:
    (objection,) = objections(claim(exactly(device_class="missing", name="r")), ("r", "a"))
    assert objection == "request r: DeviceClass missing does not exist"


def test_slice_whose_list_of_devices_is_null() -> None:
    """Kubernetes 1.34 writes it so."""
    empty = resource_slice(driver=DRIVER, node=NODE, name="1", count=2, devices=None)
    full = resource_slice(gpu("a"), driver=DRIVER, node=NODE, name="0", count=2)
    allocator = Allocator([empty, full], [device_class(DRIVER)], node=NODE)
    assert allocator.objections(claim(want()), allocation(("r", "a"))) == ()
