"""An allocation that somebody else made: legal, or why not."""

from __future__ import annotations

import pytest
from allocator_world import CLASS, DRIVER, FAMILY, NODE, A, allocated, allocation, gpu, slice_of, want
from dra_common.testing.allocator import Allocator
from dra_common.testing.objects import (
    Object,
    alternative,
    claim,
    exactly,
    first_available,
)

FLEX = f'{A}.family == "{FAMILY}"'
TAINT = {"key": "x.example.com/bad", "effect": "NoSchedule"}


def consuming(name: str) -> Object:
    return gpu(name, consumesCounters=[{"counterSet": "card", "counters": {"units": {"value": "1"}}}])


SLICES = [
    slice_of(
        name="0",
        count=2,
        sharedCounters=[{"name": "card", "counters": {"units": {"value": "1"}}}],
    ),
    slice_of(
        gpu("a"),
        gpu("b"),
        gpu("max", attributes={"family": "Max"}),
        gpu("hot", taints=[TAINT]),
        consuming("vf0"),
        consuming("vf1"),
        gpu("held"),
        gpu("shared", allowMultipleAllocations=True),
        name="1",
        count=2,
    ),
]


def objections(wanted: Object, *devices: tuple[str, str]) -> list[str]:
    allocator = Allocator(SLICES, [CLASS], node=NODE, allocated=[allocated("other", "held")])
    return [str(reason) for reason in allocator.objections(wanted, allocation(*devices))]


def test_any_legal_choice_is_taken_not_only_the_first() -> None:
    assert objections(claim(want(FLEX)), ("gpu", "b")) == []
    assert (
        objections(claim(want(count=2), want(name="two")), ("gpu", "b"), ("gpu", "max"), ("two", "a")) == []
    )
    sharing = claim(*(want(name=name, capacity={"requests": {"memory": "8Gi"}}) for name in ("gpu", "s")))
    assert objections(sharing, ("gpu", "shared"), ("s", "shared")) == []


@pytest.mark.parametrize(
    ("wanted", "devices", "objection"),
    [
        (claim(want(FLEX)), [("gpu", "max")], "selector 1 of the request is false"),
        (claim(want()), [("gpu", "hot")], "taint x.example.com/bad:NoSchedule is not tolerated"),
        (claim(want()), [("gpu", "held")], "is allocated to claim default/other"),
        (claim(want()), [("gpu", "lost")], "is in no pool that the node can use"),
        (claim(want()), [("else", "a")], "there is no such request"),
        (claim(want(count=2)), [("gpu", "a"), ("gpu", "a")], "is picked already, for request gpu"),
        (claim(want(count=2)), [("gpu", "a")], "request gpu: has 1 devices instead of 2"),
        (claim(want(FLEX, allocationMode="All")), [("gpu", "a")], "request gpu: has 1 devices instead of 7"),
        (claim(want()), [], "request gpu: 0 of its alternatives were chosen"),
        (claim(want(count=2)), [("gpu", "vf0"), ("gpu", "vf1")], "needs 1 of counter card.units, 0 is left"),
        (claim(want(capacity={"requests": {"memory": "17Gi"}})), [("gpu", "a")], "17Gi of capacity memory"),
        (
            claim(want(count=2), constraints=[{"matchAttribute": f"{DRIVER}/family"}]),
            [("gpu", "a"), ("gpu", "max")],
            'it has "Max", not "Data Center Flex"',
        ),
    ],
)
def test_what_breaks_a_rule(wanted: Object, devices: list[tuple[str, str]], objection: str) -> None:
    assert any(objection in found for found in objections(wanted, *devices)), objections(wanted, *devices)


def test_one_alternative_only() -> None:
    either = first_available(
        alternative(device_class=DRIVER, name="one"),
        alternative(device_class=DRIVER, name="two", count=2),
        name="gpu",
    )
    assert objections(claim(either), ("gpu/two", "a"), ("gpu/two", "b")) == []
    both = objections(claim(either), ("gpu/one", "a"), ("gpu/two", "b"))
    assert both == ["request gpu: 2 of its alternatives were chosen"]


def test_claim_that_nothing_may_be_allocated_for() -> None:
    (objection,) = objections(claim(exactly(device_class="missing", name="gpu")), ("gpu", "a"))
    assert objection == "request gpu: DeviceClass missing does not exist"


def test_slice_whose_list_of_devices_is_null() -> None:
    """Kubernetes 1.34 writes it so."""
    empty = slice_of(name="1", count=2, devices=None)
    full = slice_of(gpu("a"), name="0", count=2)
    allocator = Allocator([empty, full], [CLASS], node=NODE)
    assert allocator.objections(claim(want()), allocation(("gpu", "a"))) == ()
