from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from dra_common.driver import Published
from dra_common.inventory import (
    Inventory,
    Known,
    absent_taint,
    cordoned_taint,
    denied_taint,
    look,
    with_taints,
)
from dra_common.model import (
    Capacity,
    CounterConsumption,
    CounterSet,
    Device,
    DeviceHealth,
    HealthState,
    Quantity,
    Snapshot,
    Taint,
    TaintEffect,
)
from dra_common.taints import revert_failed_taint
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

DRIVER = "gpu.intel.com"
ABSENT = Taint("gpu.intel.com/absent", TaintEffect.NO_SCHEDULE)
SHARED = Taint("gpu.intel.com/shared", TaintEffect.NO_SCHEDULE)
DENIED = Taint("gpu.intel.com/denied", TaintEffect.NO_SCHEDULE)
FAILED = Taint("gpu.intel.com/revert-failed", TaintEffect.NO_SCHEDULE)
NOTHING: frozenset[str] = frozenset()


def seen(*names: str) -> Published:
    return Published(tuple(Device(name) for name in names))


def names(snapshot: Snapshot | None) -> list[str]:
    """Devices in order; those that carry the taint of absence with a question mark."""
    assert snapshot is not None
    return [device.name + "?" * (ABSENT in device.taints) for device in snapshot.devices]


@pytest.fixture
def inventory() -> Inventory:
    return Inventory(DRIVER)


def test_taint_keys_are_fixed_and_evict_nobody() -> None:
    assert absent_taint(DRIVER) == ABSENT
    assert revert_failed_taint(DRIVER) == FAILED
    assert denied_taint(DRIVER) == DENIED
    assert absent_taint("qat.intel.com").key == "qat.intel.com/absent"


# --------------------------------------------------------------------------- shared by claims


def test_what_claims_share_is_shared_and_tainted_until_the_last_share_goes(inventory: Inventory) -> None:
    whole, shared = Device("a"), Device("a", allow_multiple_allocations=True)
    assert inventory.update(Published((shared,)), {"a"}, shared={"a"}).devices == (shared,)  # type: ignore[union-attr]
    assert inventory.leaving == frozenset()
    changed = inventory.update(Published((whole,)), {"a"}, shared={"a"})
    assert changed is not None
    assert changed.devices == (Device("a", taints=(SHARED,), allow_multiple_allocations=True),)
    assert changed.shared == inventory.leaving == {"a"}
    given = inventory.update(Published((whole,)), NOTHING)
    assert given is not None
    assert given.devices == (whole,)
    assert inventory.leaving == frozenset()


# --------------------------------------------------------------------------- denied by the operator


def denying(*denied: str, names: str = "abc") -> Published:
    return Published(tuple(Device(name) for name in names), denied=frozenset(denied))


def test_a_cordon_of_a_device_is_one_of_its_parts_too_and_no_other_taint_is(inventory: Inventory) -> None:
    fan, slow = cordoned_taint(DRIVER, "fan"), cordoned_taint(DRIVER, "slow")
    devices = tuple(Device(name) for name in ("pf", "vf", "mode", "other"))
    seen = Published(devices, parts={"vf": "pf", "mode": "pf"})
    snapshot = inventory.update(seen, (), {"pf": (FAILED, fan), "mode": (slow,), "vf": (FAILED,)})
    assert snapshot
    found = {device.name: device.taints for device in snapshot.devices}
    assert found == {"pf": (FAILED, fan), "vf": (FAILED, fan), "mode": (slow,), "other": ()}
    again = inventory.update(seen, (), {"pf": (FAILED,), "vf": (slow,)})
    assert again
    assert {device.name: device.taints for device in again.devices} == {
        "pf": (FAILED,),
        "vf": (slow,),
        "mode": (),
        "other": (),
    }


def test_a_denied_device_is_not_published(inventory: Inventory) -> None:
    assert names(inventory.update(denying("b"), NOTHING)) == ["a", "c"]
    assert names(inventory.update(denying(), NOTHING)) == ["a", "b", "c"]
    assert names(inventory.update(denying("a", "b", "c"), NOTHING)) == []


def test_a_denied_device_that_a_claim_holds_stays_tainted_until_it_is_given_back(
    inventory: Inventory,
) -> None:
    inventory.update(denying(), {"b"})
    changed = inventory.update(denying("b"), {"b"})
    assert names(changed) == ["a", "b", "c"]
    assert changed is not None
    assert [device.taints for device in changed.devices] == [(), (DENIED,), ()]
    assert names(inventory.update(denying("b"), NOTHING)) == ["a", "c"]


def test_a_denied_device_keeps_the_other_taints(inventory: Inventory) -> None:
    changed = inventory.update(denying("b"), {"b"}, {"b": (FAILED,)})
    assert changed is not None
    assert changed.devices[1].taints == (FAILED, DENIED)


def test_a_denied_device_that_vanishes_stays_denied(inventory: Inventory) -> None:
    """Else it would come back, offered, the moment that it is gone."""
    inventory.update(denying("b"), NOTHING)
    assert inventory.update(denying(names="ac"), NOTHING) is None
    inventory.update(denying("b"), {"b"})
    changed = inventory.update(denying(names="ac"), {"b"})
    assert changed is not None
    assert changed.devices[1].taints == (ABSENT, DENIED)


def test_the_counters_of_a_denied_device_stay(inventory: Inventory) -> None:
    sets = (CounterSet("pf", {"mode": Quantity(1)}),)
    device = Device("a", consumes=(CounterConsumption("pf", {"mode": Quantity(1)}),))
    denied = Published((device, Device("b")), sets, frozenset("a"))
    changed = inventory.update(denied, NOTHING)
    assert changed is not None
    assert (names(changed), changed.counter_sets) == (["b"], sets)


# --------------------------------------------------------------------------- content


def test_before_the_first_look_nothing_is_known(inventory: Inventory) -> None:
    assert inventory.snapshot == Snapshot(0)


def test_the_first_look_is_news_even_at_an_empty_node(inventory: Inventory) -> None:
    assert inventory.update(seen(), NOTHING) == Snapshot(1)
    assert inventory.update(seen(), NOTHING) is None


def test_devices_keep_the_driver_s_order_and_content(inventory: Inventory) -> None:
    sets = (CounterSet("pf", {"mode": Quantity(1)}),)
    devices = (Device("b", {"model": "Flex"}), Device("a", taints=(Taint("x/y", TaintEffect.NONE),)))
    assert inventory.update(Published(devices, sets), {"a"}) == Snapshot(1, devices, sets, frozenset({"a"}))


def test_equal_content_is_no_news(inventory: Inventory) -> None:
    first = inventory.update(seen("a", "b"), ["a"])
    assert inventory.update(seen("a", "b"), ("a",)) is None
    assert inventory.snapshot is first


def test_every_kind_of_change_is_news(inventory: Inventory) -> None:
    sets = (CounterSet("pf", {"mode": Quantity(1)}),)
    looks = [
        (seen("a"), NOTHING, {}),
        (seen("a", "b"), NOTHING, {}),
        (seen("b", "a"), NOTHING, {}),
        (seen("b", "a"), frozenset({"a"}), {}),
        (seen("b", "a"), frozenset({"a"}), {"a": (FAILED,)}),
        (Published(seen("b", "a").devices, sets), frozenset({"a"}), {"a": (FAILED,)}),
        (seen("b", "a"), NOTHING, {}),
    ]
    snapshots = [inventory.update(*one) for one in looks]
    assert [snapshot and snapshot.generation for snapshot in snapshots] == [1, 2, 3, 4, 5, 6, 7]


def test_a_hold_of_a_device_that_is_not_here_is_still_told(inventory: Inventory) -> None:
    inventory.update(seen("a"), {"elsewhere"})
    assert inventory.snapshot.held == {"elsewhere"}


# --------------------------------------------------------------------------- absence


def test_a_device_that_vanishes_is_tainted_and_removed_by_the_next_look(inventory: Inventory) -> None:
    inventory.update(seen("a", "b"), NOTHING)
    assert names(inventory.update(seen("a"), NOTHING)) == ["a", "b?"]
    assert inventory.unconfirmed == {"b"}
    assert names(inventory.update(seen("a"), NOTHING)) == ["a"]
    assert inventory.unconfirmed == NOTHING


def test_an_empty_look_empties_nothing_at_once(inventory: Inventory) -> None:
    inventory.update(seen("a", "b"), NOTHING)
    assert names(inventory.update(seen(), NOTHING)) == ["a?", "b?"]
    assert names(inventory.update(seen(), NOTHING)) == []


def test_a_device_that_comes_back_is_as_before(inventory: Inventory) -> None:
    before = inventory.update(seen("a", "b"), NOTHING)
    assert before is not None
    inventory.update(seen("a"), NOTHING)
    after = inventory.update(seen("a", "b"), NOTHING)
    assert after is not None
    assert after.devices == before.devices
    assert names(inventory.update(seen("a"), NOTHING)) == ["a", "b?"], "the count of looks starts anew"


def test_a_held_device_stays_as_long_as_it_is_held(inventory: Inventory) -> None:
    inventory.update(seen("a"), {"a"})
    assert names(inventory.update(seen(), {"a"})) == ["a?"]
    assert inventory.unconfirmed == NOTHING, "no look can remove it, so none needs to come soon"
    assert inventory.update(seen(), {"a"}) is None
    assert names(inventory.update(seen(), NOTHING)) == []


def test_a_device_that_vanishes_as_it_is_let_go_gets_its_second_look(inventory: Inventory) -> None:
    inventory.update(seen("a"), {"a"})
    assert names(inventory.update(seen(), NOTHING)) == ["a?"]
    assert inventory.unconfirmed == {"a"}


def test_an_absent_device_shows_what_it_was_when_last_seen(inventory: Inventory) -> None:
    own = Taint("gpu.intel.com/unhealthy", TaintEffect.NO_EXECUTE)
    device = Device("a", {"model": "Flex 170"}, taints=(own,))
    inventory.update(Published((device,)), NOTHING)
    snapshot = inventory.update(seen(), NOTHING)
    assert snapshot is not None
    assert snapshot.devices == (Device("a", {"model": "Flex 170"}, taints=(own, ABSENT)),)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ("abcd", "abd", "abc?d"),
        ("abcd", "bcd", "a?bcd"),
        ("abcd", "ab", "abc?d?"),
        ("abcd", "d", "a?b?c?d"),
        ("abcd", "dba", "dbc?a"),
        ("ab", "xby", "a?xby"),
        ("ab", "xay", "xab?y"),
    ],
)
def test_an_absent_device_keeps_its_place(inventory: Inventory, before: str, now: str, expected: str) -> None:
    inventory.update(seen(*before), NOTHING)
    assert "".join(names(inventory.update(seen(*now), NOTHING))) == expected


def consumer(name: str, counter_set: str, counter: str) -> Device:
    return Device(name, consumes=(CounterConsumption(counter_set, {counter: Quantity(1)}),))


def test_the_counters_of_an_absent_device_stay_as_long_as_it_does(inventory: Inventory) -> None:
    one, two = CounterSet("pf1", {"mode": Quantity(1)}), CounterSet("pf2", {"mode": Quantity(1)})
    both = Published((consumer("a", "pf1", "mode"), consumer("b", "pf2", "mode")), (one, two))
    left = Published((both.devices[0],), (one,))
    inventory.update(both, NOTHING)
    inventory.update(left, NOTHING)
    assert list(inventory.snapshot.counter_sets) == [one, two]
    inventory.update(left, NOTHING)
    assert list(inventory.snapshot.counter_sets) == [one]


def test_a_counter_that_only_an_absent_device_consumes_is_added_to_the_new_set(inventory: Inventory) -> None:
    old = CounterSet("pf", {"vfs": Quantity(7), "mode": Quantity(1)})
    new = CounterSet("pf", {"mode": Quantity(2)})
    inventory.update(Published((consumer("vf", "pf", "vfs"),), (old,)), NOTHING)
    inventory.update(Published((), (new,)), NOTHING)
    assert inventory.snapshot.counter_sets == (CounterSet("pf", {"vfs": Quantity(7), "mode": Quantity(2)}),)


# --------------------------------------------------------------------------- taints from elsewhere


def test_a_taint_from_elsewhere_comes_and_goes(inventory: Inventory) -> None:
    inventory.update(seen("a", "b"), NOTHING, {"a": (FAILED,), "gone": (FAILED,)})
    assert [device.taints for device in inventory.snapshot.devices] == [(FAILED,), ()]
    inventory.update(seen("a", "b"), NOTHING)
    assert [device.taints for device in inventory.snapshot.devices] == [(), ()]


def test_a_taint_from_elsewhere_comes_and_goes_also_while_the_device_is_absent(inventory: Inventory) -> None:
    inventory.update(seen("a"), {"a"}, {"a": (FAILED,)})
    inventory.update(seen(), {"a"}, {"a": (FAILED,)})
    assert list(inventory.snapshot.devices[0].taints) == [FAILED, ABSENT]
    inventory.update(seen(), {"a"})
    assert list(inventory.snapshot.devices[0].taints) == [ABSENT]


def test_no_taint_is_there_twice_and_the_driver_s_own_stands() -> None:
    own = Taint(FAILED.key, FAILED.effect, "why")
    other = Taint(FAILED.key, TaintEffect.NO_EXECUTE)
    known = Known((Device("a", taints=(own,)), Device("b")))
    tainted = with_taints(DRIVER, known, {"a": (FAILED, other), "b": (FAILED, FAILED)})
    assert [device.taints for device in tainted] == [(own, other), (FAILED,)]


# --------------------------------------------------------------------------- always

some_names = st.lists(st.sampled_from("abcdef"), unique=True)


@given(
    some_names, some_names, st.frozensets(st.sampled_from("abcdef")), st.frozensets(st.sampled_from("abcdef"))
)
def test_a_look_never_loses_what_it_sees_nor_what_is_held(
    before: list[str], now: list[str], absent: frozenset[str], held: frozenset[str]
) -> None:
    known = Known(seen(*before).devices, absent=absent & frozenset(before))
    after = look(known, seen(*now), held)
    there = [device.name for device in after.devices]
    assert len(there) == len(set(there))
    assert [name for name in there if name in now] == now
    assert after.absent == set(there) - set(now)
    expected = {name for name in set(before) - set(now) if name in held or name not in absent}
    assert after.absent == expected
    assert after == look(known, seen(*now), held), "a pure function of its arguments"


class Looks(RuleBasedStateMachine):
    """Any sequence of looks: what is published against a count, kept beside it, of the looks that missed a device."""

    def __init__(self) -> None:
        super().__init__()
        self.inventory = Inventory(DRIVER)
        self.missed: dict[str, int] = {}
        self.content: object = None
        self.generation = 0

    @rule(
        now=some_names,
        held=st.frozensets(st.sampled_from("abcdef")),
        failed=st.sets(st.sampled_from("abcdef")),
    )
    def look(self, now: list[str], held: frozenset[str], failed: set[str]) -> None:
        counts = {name: self.missed[name] + 1 for name in self.missed if name not in now}
        self.missed = {name: count for name, count in counts.items() if count < 2 or name in held}
        self.missed |= dict.fromkeys(now, 0)
        news = self.inventory.update(seen(*now), held, dict.fromkeys(failed, (FAILED,)))
        snapshot = self.inventory.snapshot
        content = (snapshot.devices, snapshot.counter_sets, snapshot.held)
        assert (news is None) is (content == self.content)
        self.generation += news is not None
        self.content = content
        for device in snapshot.devices:
            assert (FAILED in device.taints) is (device.name in failed)

    @invariant()
    def published_as_counted(self) -> None:
        shown = {device.name: ABSENT in device.taints for device in self.inventory.snapshot.devices}
        assert shown == {name: count > 0 for name, count in self.missed.items()}
        assert self.inventory.snapshot.generation == self.generation


TestLooks = Looks.TestCase


def test_readers_see_whole_snapshots_while_another_thread_writes(inventory: Inventory) -> None:
    """Each look has as many devices as held names, and a counter set of that size: no mixture is ever seen."""
    looks = 300
    started = threading.Barrier(4)

    def size(count: int) -> Published:
        devices = tuple(Device(f"d{index}") for index in range(count))
        return Published(devices, (CounterSet("n", {"n": Quantity(count)}),))

    def write() -> None:
        started.wait(10)
        for index in range(looks):
            count = 1 + index  # it only grows, so that nothing is ever absent
            inventory.update(size(count), {f"d{number}" for number in range(count)})

    def read() -> int:
        started.wait(10)
        last = 0
        while last < looks:
            snapshot = inventory.snapshot
            assert snapshot.generation >= last
            last = snapshot.generation
            assert len(snapshot.devices) == len(snapshot.held) == last
            assert not last or snapshot.counter_sets[0].counters["n"] == Quantity(last)
        return last

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read) for _ in range(3)]
        threads.submit(write).result(60)
        assert [reader.result(60) for reader in readers] == [looks] * 3


# --------------------------------------------------------------------------- health


class Doctor:
    """Says of every device what a test wants."""

    def __init__(self) -> None:
        self.says: dict[str, DeviceHealth] = {}
        self.asked: list[tuple[list[str], frozenset[str]]] = []

    def __call__(self, devices: Sequence[str], absentees: frozenset[str]) -> dict[str, DeviceHealth]:
        self.asked.append((list(devices), absentees))
        return {name: self.says.get(name, DeviceHealth()) for name in devices}


ILL = DeviceHealth(HealthState.UNHEALTHY, "memory", "3 errors", TaintEffect.NO_EXECUTE)


def test_health_is_an_attribute_and_a_taint_and_goes_with_recovery() -> None:
    doctor = Doctor()
    inventory = Inventory(DRIVER, doctor)
    doctor.says = {"a": DeviceHealth(HealthState.HEALTHY), "b": ILL}
    first = inventory.update(
        Published((Device("a", {"health": "Unknown", "model": "Flex"}), Device("b"))), NOTHING
    )
    assert first == Snapshot(
        1,
        (
            Device("a", {"health": "Healthy", "model": "Flex"}),
            Device(
                "b",
                {"health": "Unhealthy"},
                taints=(Taint(f"{DRIVER}/unhealthy", TaintEffect.NO_EXECUTE, "memory"),),
            ),
        ),
    )
    doctor.says = {
        "a": DeviceHealth(HealthState.HEALTHY, message="warm"),
        "b": DeviceHealth(HealthState.HEALTHY),
    }
    second = inventory.refresh()
    assert second is not None
    assert second.generation == 2
    assert [(device.attributes["health"], device.taints) for device in second.devices] == [
        ("Healthy", ())
    ] * 2


def test_a_message_alone_is_no_news_for_slices() -> None:
    doctor = Doctor()
    inventory = Inventory(DRIVER, doctor)
    doctor.says = {"a": ILL}
    inventory.update(seen("a"), NOTHING)
    doctor.says = {"a": replace(ILL, message="4 errors")}
    assert inventory.refresh() is None
    assert inventory.update(seen("a"), NOTHING) is None


def test_a_change_of_health_keeps_everything_else() -> None:
    doctor = Doctor()
    inventory = Inventory(DRIVER, doctor)
    inventory.update(seen("a", "b"), {"b"}, {"b": (FAILED,)})
    inventory.update(seen("b"), {"b"}, {"b": (FAILED,)})
    doctor.says = {"b": ILL}
    snapshot = inventory.refresh()
    assert snapshot is not None
    assert (names(snapshot), snapshot.held) == (["a?", "b"], frozenset({"b"}))
    assert [taint.key for taint in snapshot.devices[1].taints] == [FAILED.key, f"{DRIVER}/unhealthy"]
    assert doctor.asked[-1] == (["a", "b"], frozenset({"a"}))


def test_an_unhealthy_device_without_an_effect_has_no_taint() -> None:
    doctor = Doctor()
    doctor.says = {"a": replace(ILL, effect=None)}
    snapshot = Inventory(DRIVER, doctor).update(seen("a"), NOTHING)
    assert snapshot is not None
    assert snapshot.devices == (Device("a", {"health": "Unhealthy"}),)


def test_what_only_who_watches_knows_is_laid_over_what_is_published() -> None:
    doctor = Doctor()
    doctor.says = {"a": DeviceHealth(attributes={"serial": "AM50016138", "uuid": "01P0"})}
    inventory = Inventory(DRIVER, doctor)
    snapshot = inventory.update(Published((Device("a", {"serial": "", "model": "Gaudi2"}),)), NOTHING)
    assert snapshot is not None
    (device,) = snapshot.devices
    assert device.attributes == {
        "serial": "AM50016138",
        "uuid": "01P0",
        "model": "Gaudi2",
        "health": "Unknown",
    }


@pytest.mark.parametrize("state", HealthState)
def test_an_older_form_of_health_follows_it_where_there_is_one(state: HealthState) -> None:
    doctor = Doctor()
    doctor.says = {name: DeviceHealth(state) for name in "ab"}
    inventory = Inventory(DRIVER, doctor)
    snapshot = inventory.update(Published((Device("a", {"healthy": True}), Device("b"))), NOTHING)
    assert snapshot is not None
    first, second = (device.attributes for device in snapshot.devices)
    assert first == {"healthy": state is not HealthState.UNHEALTHY, "health": str(state)}
    assert second == {"health": str(state)}


def test_memory_that_only_who_watches_knows_is_a_capacity() -> None:
    doctor = Doctor()
    known = Capacity(Quantity.mebibytes(0))
    doctor.says = {name: DeviceHealth(memory=5 * 2**20 + 1) for name in "ab"}
    inventory = Inventory(DRIVER, doctor)
    snapshot = inventory.update(Published((Device("a"), Device("b", capacity={"memory": known}))), NOTHING)
    assert snapshot is not None
    assert [device.capacity["memory"].value for device in snapshot.devices] == [
        Quantity.mebibytes(5),
        Quantity.mebibytes(0),
    ]


def test_memory_that_only_who_watches_knows_is_not_put_onto_what_claims_share() -> None:
    """Without a policy the first claim would get all of it."""
    doctor = Doctor()
    doctor.says = {"a": DeviceHealth(memory=5 * 2**20)}
    shared = Device("a", allow_multiple_allocations=True)
    snapshot = Inventory(DRIVER, doctor).update(Published((shared,)), NOTHING)
    assert snapshot is not None
    assert dict(snapshot.devices[0].capacity) == {}


def test_before_the_first_look_health_is_no_news() -> None:
    doctor = Doctor()
    inventory = Inventory(DRIVER, doctor)
    assert inventory.refresh() is None
    assert inventory.snapshot == Snapshot(0)
    assert Inventory(DRIVER).update(seen("a"), NOTHING) == Snapshot(1, (Device("a"),))
