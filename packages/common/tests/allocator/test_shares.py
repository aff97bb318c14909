"""Devices that allow multiple allocations, and requests for an amount of their capacity (KEP-5075)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from allocator_world import CLASS, DRIVER, NODE, slice_of, want
from dra_common.testing.allocator import Allocation, Allocator, Unsatisfiable
from dra_common.testing.objects import Object, claim, device


def shared(name: str, *, counters: str = "", **capacity: Any) -> Object:
    """A device that several may have; a capacity is a quantity, or a quantity and its request policy."""
    fields: Object = {"allowMultipleAllocations": True}
    if counters:
        fields["consumesCounters"] = [{"counterSet": "card", "counters": {"mode": {"value": counters}}}]
    made = device(name, {"family": "Flex"}, **fields)
    made["capacity"] = {
        key: {"value": value} if isinstance(value, str) else {"value": value[0], "requestPolicy": value[1]}
        for key, value in capacity.items()
    }
    return made


def attempt(wanted: Object, *slices: Object, others: tuple[Object, ...] = ()) -> Allocation | Unsatisfiable:
    return Allocator(slices, [CLASS], node=NODE, allocated=others).allocate(wanted)


def results(wanted: Object, *slices: Object, others: tuple[Object, ...] = ()) -> list[Object]:
    outcome = attempt(wanted, *slices, others=others)
    assert isinstance(outcome, Allocation), str(outcome)
    found: list[Object] = outcome.status_allocation["devices"]["results"]
    return found


def taken(wanted: Object, *slices: Object, others: tuple[Object, ...] = ()) -> list[tuple[str, Object]]:
    found = results(wanted, *slices, others=others)
    return [(result["device"], result.get("consumedCapacity", {})) for result in found]


def reason(wanted: Object, *slices: Object, others: tuple[Object, ...] = ()) -> str:
    """Why the one device of the slices is not given."""
    outcome = attempt(wanted, *slices, others=others)
    assert isinstance(outcome, Unsatisfiable)
    (about,) = [found for found in outcome.reasons if found.device]
    return f"{about.clause}: {about.detail}"


def holding(name: str, wanted: Object, *slices: Object, others: tuple[Object, ...] = ()) -> Object:
    outcome = attempt(wanted, *slices, others=others)
    assert isinstance(outcome, Allocation), str(outcome)
    return {**claim(name=name), "status": {"allocation": outcome.status_allocation}}


def test_each_share_has_an_id_and_says_what_it_takes() -> None:
    (result,) = results(claim(want(amounts={"memory": "4Gi"})), slice_of(shared("a", memory="16Gi")))
    assert UUID(result.pop("shareID")).version
    assert result == {
        "request": "gpu",
        "driver": DRIVER,
        "pool": NODE,
        "device": "a",
        "consumedCapacity": {"memory": "4Gi"},
    }


def test_a_device_that_is_not_shared_has_no_share() -> None:
    whole = slice_of(device("a", {}, {"memory": "16Gi"}))
    (result,) = results(claim(want(amounts={"memory": "4Gi"})), whole)
    assert not {"shareID", "consumedCapacity"} & set(result)
    other = holding("other", claim(want(amounts={"memory": "4Gi"})), whole)
    assert reason(claim(want(amounts={"memory": "4Gi"})), whole, others=(other,)).startswith("allocated: ")


def test_shares_of_several_claims_until_nothing_is_left() -> None:
    gpus = slice_of(shared("a", memory="16Gi"))
    wanted = claim(want(amounts={"memory": "6Gi"}))
    one = holding("one", wanted, gpus)
    two = holding("two", wanted, gpus, others=(one,))
    ids = {each["status"]["allocation"]["devices"]["results"][0]["shareID"] for each in (one, two)}
    assert len(ids) == 2
    assert reason(wanted, gpus, others=(one, two)) == (
        f"capacity: 6Gi of capacity memory is wanted, {4 * 2**30} is left"
    )
    small = claim(want(amounts={"memory": "4Gi"}))
    assert taken(small, gpus, others=(one, two)) == [("a", {"memory": "4Gi"})]


def test_shares_in_one_claim_by_several_requests_but_not_by_one() -> None:
    gpus = slice_of(shared("a", memory="16Gi"))
    half = {"memory": "8Gi"}
    assert (
        taken(claim(want(name="one", amounts=half), want(name="two", amounts=half)), gpus)
        == [("a", half)] * 2
    )
    assert isinstance(attempt(claim(want(count=2, amounts=half)), gpus), Unsatisfiable)
    three = claim(*(want(name, amounts=half) for name in ("one", "two", "three")))
    assert isinstance(attempt(three, gpus), Unsatisfiable)


def test_what_a_search_takes_back_is_free_again() -> None:
    gpus = slice_of(shared("a", memory="8Gi"), shared("b", memory="6Gi"))
    wanted = claim(want(name="small", amounts={"memory": "4Gi"}), want(name="big", amounts={"memory": "8Gi"}))
    assert taken(wanted, gpus) == [("b", {"memory": "4Gi"}), ("a", {"memory": "8Gi"})]


RANGE = {"default": "2Gi", "validRange": {"min": "1Gi", "max": "12Gi", "step": "1Gi"}}
OPEN = {"default": "2Gi", "validRange": {"min": "1Gi"}}
VALUES = {"default": "4", "validValues": ["1", "2", "4"]}
FINE = {"default": "1", "validRange": {"min": "500m", "max": "4500m"}}
STEPS = {"default": "1", "validRange": {"min": "500m", "step": "1500m"}}
HUGE = {"default": "1Ei", "validRange": {"min": "1Ei", "step": "1Ei"}}


@pytest.mark.parametrize(
    ("capacity", "wanted", "amount"),
    [
        ("16Gi", None, "16Gi"),
        ("16Gi", "3Gi", "3Gi"),
        (("16Gi", {"default": "2Gi"}), None, "2Gi"),
        (("16Gi", {"default": "2Gi"}), "3Gi", "3Gi"),
        (("16Gi", RANGE), None, "2Gi"),
        (("16Gi", RANGE), "1", "1Gi"),
        (("16Gi", RANGE), "1500Mi", "2Gi"),
        (("16Gi", RANGE), "11264Mi", "11Gi"),
        (("16Gi", OPEN), "1500Mi", "1500Mi"),
        (("8", VALUES), None, "4"),
        (("8", VALUES), "3", "4"),
        (("8", VALUES), "1500m", "2"),
        (("8", FINE), "1200m", "1200m"),
        (("8", FINE), "100u", "500m"),
        (("8", STEPS), "200m", "500m"),
        (("8", STEPS), "1500m", "3"),
        (("8", STEPS), "3100m", "5"),
        (("4Ei", HUGE), "1025Pi", "2Ei"),
    ],
)
def test_what_a_share_takes(capacity: str | tuple[str, Object], wanted: str | None, amount: str) -> None:
    request = want(amounts={"size": wanted} if wanted else None)
    assert taken(claim(request), slice_of(shared("a", size=capacity))) == [("a", {"size": amount})]


@pytest.mark.parametrize(
    ("capacity", "wanted", "why"),
    [
        (("16Gi", RANGE), "13Gi", "gives no 13Gi of capacity size: 12Gi is the most"),
        (("8", VALUES), "5", "gives no 5 of capacity size: only 1, 2, 4"),
        ("16Gi", "17Gi", f"17Gi of capacity size is wanted, {16 * 2**30} is left"),
        (("8", FINE), "4501m", "gives no 4501m of capacity size: 4500m is the most"),
        (("4Ei", HUGE), "9Ei", "size: 9Ei is an amount that the scheduler cannot compute with"),
    ],
)
def test_amount_that_a_device_does_not_give(
    capacity: str | tuple[str, Object], wanted: str, why: str
) -> None:
    request = claim(want(amounts={"size": wanted}))
    assert reason(request, slice_of(shared("a", size=capacity))) == f"capacity: {why}"


@pytest.mark.parametrize("name", ["memory", f"{DRIVER}/size"])
def test_names_of_capacities_are_compared_as_they_are(name: str) -> None:
    why = reason(claim(want(amounts={name: "1"})), slice_of(shared("a", size="8")))
    assert why == f"capacity: has no capacity {name}, of which 1 is requested"


def test_device_that_is_too_small_is_passed_over() -> None:
    gpus = slice_of(device("a", {}, {"memory": "8Gi"}), device("b", {}), device("c", {}, {"memory": "16Gi"}))
    assert taken(claim(want(amounts={"memory": "10Gi"})), gpus) == [("c", {})]


def test_all_devices_are_those_that_are_large_enough() -> None:
    gpus = slice_of(shared("a", memory="8Gi"), shared("b", memory="16Gi"), shared("c", memory="16Gi"))
    wanted = claim(want(allocationMode="All", amounts={"memory": "10Gi"}))
    assert [name for name, _ in taken(wanted, gpus)] == ["b", "c"]
    busy = holding("busy", claim(want(amounts={"memory": "10Gi"})), gpus)
    assert isinstance(attempt(wanted, gpus, others=(busy,)), Unsatisfiable)


def test_a_share_without_capacity() -> None:
    gpus = slice_of(shared("a"))
    one = holding("one", claim(want()), gpus)
    (result,) = results(claim(want()), gpus, others=(one,))
    assert result["shareID"]
    assert "consumedCapacity" not in result


def test_administrators_get_shares_that_nobody_else_is_charged_for() -> None:
    gpus = slice_of(shared("a", memory="16Gi"))
    monitor = holding("monitor", claim(want(adminAccess=True)), gpus)
    everything = claim(want(amounts={"memory": "16Gi"}))
    user = holding("user", everything, gpus, others=(monitor,))
    # Kubernetes 1.37 keeps administrators away from a device without capacity left.
    assert reason(claim(want(adminAccess=True)), gpus, others=(user,)).startswith("capacity: ")


def test_device_that_one_claim_has_whole_is_not_shared_later() -> None:
    before = holding("before", claim(want()), slice_of(device("a", {}, {"memory": "16Gi"})))
    assert reason(claim(want()), slice_of(shared("a", memory="16Gi")), others=(before,)).startswith(
        "allocated"
    )


def test_shared_is_what_selectors_see() -> None:
    gpus = slice_of(device("a", {}), shared("b"))
    assert [name for name, _ in taken(claim(want("device.allowMultipleAllocations")), gpus)] == ["b"]


CARD = slice_of(
    name="00000-counters", count=2, sharedCounters=[{"name": "card", "counters": {"mode": {"value": "1"}}}]
)


def modes(*devices: Object) -> tuple[Object, Object]:
    return CARD, slice_of(*devices, name="00001-devices", count=2)


def test_counters_are_charged_for_the_first_share_only() -> None:
    slices = modes(shared("vf2", counters="1", vfs="2"), shared("vf4", counters="1", vfs="4"))
    one_of = {"vfs": "1"}
    wanted = claim(want(name="one", amounts=one_of), want(name="two", amounts=one_of))
    assert taken(wanted, *slices) == [("vf2", one_of)] * 2
    first = holding("first", claim(want(amounts=one_of)), *slices)
    second = holding("second", claim(want(amounts=one_of)), *slices, others=(first,))
    outcome = attempt(claim(want(amounts=one_of)), *slices, others=(first, second))
    assert isinstance(outcome, Unsatisfiable)
    assert [found.clause for found in outcome.reasons if found.device] == ["capacity", "counters"]


def test_counters_of_a_share_that_a_search_takes_back_are_free_again() -> None:
    slices = modes(shared("vf2", counters="1", vfs="2"), shared("vf4", counters="1", vfs="4"))
    one_of = {"vfs": "1"}
    wanted = claim(*(want(name=name, amounts=one_of) for name in ("a", "b", "c")))
    assert taken(wanted, *slices) == [("vf4", one_of)] * 3
