"""Every rule of the API, refused here with a name, a rule and a limit (scenarios 65 and 80)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from dra_common.errors import SliceError
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
from dra_common.slices import ServerFeatures, to_slices

ALL = ServerFeatures.of((1, 36))
EARLY = ServerFeatures((1, 34), taints=True)
MODE = CounterSet("p", {"mode": Quantity(1)})


def publish(
    *devices: Device, sets: tuple[CounterSet, ...] = (), driver: str = "d.example.com", features: Any = ALL
) -> None:
    to_slices(Snapshot(1, devices, sets), driver=driver, features=features)


def refused(message: str, *devices: Device, **more: Any) -> None:
    with pytest.raises(SliceError, match=re.escape(message)):
        publish(*devices, **more)


def with_attribute(name: str, value: Any) -> Device:
    return Device("gpu0", {name: value})


def shared(policy: RequestPolicy, value: int = 100) -> Device:
    return Device(
        "gpu0", capacity={"vfs": Capacity(Quantity(value), policy)}, allow_multiple_allocations=True
    )


def quantities(*values: int) -> tuple[Quantity, ...]:
    return tuple(Quantity(value) for value in values)


def in_range(default: int, low: int, high: int | None = None, step: int | None = None) -> RequestPolicy:
    return RequestPolicy(
        Quantity(default),
        minimum=Quantity(low),
        maximum=None if high is None else Quantity(high),
        step=None if step is None else Quantity(step),
    )


@pytest.mark.parametrize(
    "name", ["0000:03:00.0", "Card0", "card_0", "-a", "a-", "", "ca\nrd", "card0\n", "ü"]
)
def test_device_names_are_labels(name: str) -> None:
    refused(f"device {name!r}: its name is not a DNS-1123 label", Device(name))


def test_device_name_length() -> None:
    publish(Device("d" * 63))
    refused("its name has 64 characters, 63 are allowed", Device("d" * 64))


@pytest.mark.scenario(65)
def test_device_names_are_unique_in_the_pool() -> None:
    """Scenario 65: also when they would stand in different slices, where the server does not look."""
    devices = tuple(Device(f"d{index}") for index in range(129))
    refused("device d0: is there twice in the pool", *devices, Device("d0"))


@pytest.mark.parametrize("driver", ["Gpu.intel.com", "gpu_intel", "", "gpu..com", ".gpu"])
def test_driver_names(driver: str) -> None:
    refused(f"driver name {driver!r} is not a lower-case DNS-1123 subdomain", driver=driver)


def test_driver_name_length() -> None:
    refused("has 64 characters, 63 are allowed", driver="d" * 64)


@pytest.mark.parametrize("name", ["pci-id", "3d", "", "a.b", "model\n", "é"])
def test_attribute_names_are_c_identifiers(name: str) -> None:
    refused(f"device gpu0: attribute name {name!r} is not a C identifier", with_attribute(name, 1))


@pytest.mark.parametrize("name", ["/model", "Intel.com/model", "a_b/model", "a/b/model"])
def test_attribute_domains_are_subdomains(name: str) -> None:
    refused("is not a lower-case DNS-1123 subdomain", with_attribute(name, 1))


def test_attribute_name_lengths() -> None:
    publish(with_attribute("a" * 32, 1), Device("gpu1", {f"{'a' * 63}/{'b' * 32}": True}))
    refused("has 33 characters, 32 are allowed", with_attribute("a" * 33, 1))
    refused("has 64 characters, 63 are allowed", with_attribute(f"{'a' * 64}/b", 1))
    refused(
        "capacity name 'a-b' is not a C identifier", Device("gpu0", capacity={"a-b": Capacity(Quantity(1))})
    )


def test_one_name_with_and_without_the_driver_s_domain() -> None:
    refused(
        "device gpu0: attribute model is there twice",
        Device("gpu0", {"model": "a", "d.example.com/model": "b"}),
    )
    publish(Device("gpu0", {"model": "a", "other.example.com/model": "b"}, {"model": Capacity(Quantity(1))}))


def test_strings_have_64_bytes_not_characters() -> None:
    publish(with_attribute("model", "x" * 64), Device("gpu1", {"model": ""}))
    refused(
        "device gpu0: attribute model: the string has 65 bytes, 64 are allowed",
        with_attribute("model", "x" * 65),
    )
    refused("the string has 66 bytes, 64 are allowed", with_attribute("model", "é" * 33))


def test_strings_that_are_no_text() -> None:
    refused("is not valid UTF-8", with_attribute("model", "\udcff"))


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "01.2.3", "1.2.3-01", "1.2.3+", "", "1.2.3\n", "²"])
def test_versions_that_are_none(version: str) -> None:
    refused("is not a semantic version 2.0.0", with_attribute("fw", Version(version)))


@pytest.mark.parametrize("version", ["0.0.0", "1.2.3-rc.1+build.5", "10.20.30", "1.0.0-0a", "1.0.0--"])
def test_versions(version: str) -> None:
    publish(with_attribute("fw", Version(version)))


def test_version_length() -> None:
    refused("has 65 characters, 64 are allowed", with_attribute("fw", Version("1.0.0+" + "a" * 59)))


def test_integers_have_64_bits() -> None:
    publish(with_attribute("a", -(2**63)), Device("gpu1", {"a": 2**63 - 1}))
    refused("does not fit into 64 bits", with_attribute("a", 2**63))
    refused("does not fit into 64 bits", with_attribute("a", -(2**63) - 1))


@pytest.mark.parametrize("value", [1.5, None, ["a"]])
def test_other_types(value: object) -> None:
    refused("bool, int, string and version are allowed", with_attribute("a", value))


def test_attributes_and_capacities_together() -> None:
    attributes = {f"a{index}": index for index in range(30)}
    capacity = {f"c{index}": Capacity(Quantity(1)) for index in range(3)}
    publish(Device("gpu0", attributes, dict(list(capacity.items())[:2])))
    refused(
        "device gpu0: has 33 attributes and capacities, 32 are allowed", Device("gpu0", attributes, capacity)
    )


def test_capacities_are_not_negative() -> None:
    refused(
        "device gpu0: capacity memory: -1 is not between",
        Device("gpu0", capacity={"memory": Capacity(Quantity(-1))}),
    )
    refused("is not between 0 and 2^63-1", Device("gpu0", capacity={"memory": Capacity(Quantity(2**63))}))


# ---------------------------------------------------------------------- request policies


@pytest.mark.parametrize(
    "policy",
    [
        RequestPolicy(Quantity(1), quantities(*range(1, 11))),
        in_range(10, 10),
        in_range(30, 10, 90, 20),
        in_range(0, 0, 100, 100),
    ],
)
def test_policies(policy: RequestPolicy) -> None:
    publish(shared(policy))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (RequestPolicy(Quantity(1)), "needs valid values or a range"),
        (RequestPolicy(Quantity(1), maximum=Quantity(5)), "needs valid values or a range"),
        (RequestPolicy(Quantity(1), quantities(1), minimum=Quantity(1)), "exclude each other"),
        (RequestPolicy(Quantity(1), quantities(*range(1, 12))), "has 11 valid values, 10 are allowed"),
        (RequestPolicy(Quantity(1), quantities(2, 1)), "do not ascend"),
        (RequestPolicy(Quantity(1), quantities(1, 1)), "do not ascend"),
        (RequestPolicy(Quantity(3), quantities(1, 2)), "the default 3 is not one of the valid values"),
        (RequestPolicy(Quantity(1), quantities(1, 101)), "not between 0 and the capacity 100"),
        (in_range(5, 10), "0 <= minimum 10 <= default 5"),
        (in_range(50, 10, 40), "<= maximum 40 <= capacity 100 does not hold"),
        (in_range(10, 10, 101), "<= maximum 101 <= capacity 100 does not hold"),
        (in_range(25, 10, 90, 20), "the default 25 is not the minimum plus a multiple of the step 20"),
        (in_range(30, 10, 95, 20), "the maximum 95 is not the minimum plus a multiple of the step 20"),
        (in_range(10, 10, 10, 0), "the step 0 is not positive"),
        (in_range(90, 90, 90, 20), "minimum + step 20 is more than the capacity 100"),
    ],
)
def test_policies_that_are_none(policy: RequestPolicy, message: str) -> None:
    with pytest.raises(SliceError, match=re.escape(message)) as caught:
        publish(shared(policy))
    assert str(caught.value).startswith("device gpu0: capacity vfs: request policy: ")


def test_what_one_claim_would_get_of_a_shared_device_has_no_policy() -> None:
    whole = {"vfs": Capacity(Quantity(4), RequestPolicy(Quantity(1), quantities(1)))}
    refused(
        "capacity vfs has a request policy, but the device is not sharable",
        Device("gpu0", allow_multiple_allocations=True, alone=whole),
    )
    bad = {"a b": Capacity(Quantity(4))}
    refused("capacity name 'a b'", Device("gpu0", allow_multiple_allocations=True, alone=bad))


def test_a_policy_needs_a_sharable_device() -> None:
    capacity = {"vfs": Capacity(Quantity(4), RequestPolicy(Quantity(1), quantities(1)))}
    refused(
        "capacity vfs has a request policy, but the device is not sharable", Device("gpu0", capacity=capacity)
    )


# ---------------------------------------------------------------------- taints


def taints(count: int) -> tuple[Taint, ...]:
    return tuple(Taint(f"example.com/t{index}", TaintEffect.NO_SCHEDULE) for index in range(count))


def test_number_of_taints_by_release() -> None:
    publish(Device("gpu0", taints=taints(16)))
    refused("device gpu0: has 17 taints, 16 are allowed", Device("gpu0", taints=taints(17)))
    publish(Device("gpu0", taints=taints(4)), features=EARLY)
    refused("device gpu0: has 5 taints, 4 are allowed", Device("gpu0", taints=taints(5)), features=EARLY)


@pytest.mark.parametrize("key", ["", "a b", "Example.com/a", "-a", "example.com/", f"example.com/{'a' * 64}"])
def test_taint_keys(key: str) -> None:
    refused("device gpu0: taint key", Device("gpu0", taints=(Taint(key, TaintEffect.NONE),)))


@pytest.mark.parametrize("value", ["a b", "a" * 64, "x/y", "a\n"])
def test_taint_values(value: str) -> None:
    refused("device gpu0: taint a: value", Device("gpu0", taints=(Taint("a", TaintEffect.NONE, value),)))


# ---------------------------------------------------------------------- counters


def consumer(*entries: CounterConsumption) -> Device:
    return Device("gpu0", consumes=entries)


ONE = {"mode": Quantity(1)}


@pytest.mark.scenario(65)
def test_counter_sets_are_unique() -> None:
    """Scenario 65."""
    refused("counter set p: is there twice in the pool", sets=(MODE, MODE))


@pytest.mark.scenario(65)
def test_unknown_counter_set() -> None:
    """Scenario 65."""
    message = "device gpu0: consumes from the counter set 'q', which does not exist"
    refused(message, consumer(CounterConsumption("q", ONE)), sets=(MODE,))
    refused(message, consumer(CounterConsumption("q", ONE)), features=EARLY)


@pytest.mark.scenario(65)
def test_unknown_counter() -> None:
    """Scenario 65."""
    device = consumer(CounterConsumption("p", {**ONE, "vfs": Quantity(1)}))
    refused("device gpu0: counter set p has no counter 'vfs'", device, sets=(MODE,))


def test_a_device_consumes_from_two_sets_at_most() -> None:
    sets = tuple(CounterSet(name, ONE) for name in ("a", "b", "c"))
    entries = tuple(CounterConsumption(name, ONE) for name in ("a", "b", "c"))
    publish(consumer(*entries[:2]), sets=sets)
    refused("device gpu0: has 3 counter sets to consume from, 2 are allowed", consumer(*entries), sets=sets)
    refused("counter set a: is there twice", consumer(entries[0], entries[0]), sets=sets)


def test_counters_of_a_set() -> None:
    many = {f"c{index}": Quantity(1) for index in range(33)}
    publish(sets=(CounterSet("p", dict(list(many.items())[:32])),))
    refused("counter set p: has 33 counters, 32 are allowed", sets=(CounterSet("p", many),))
    refused("counter set p: has no counters", sets=(CounterSet("p", {}),))
    refused("counter set p: counter name 'Mode' is not", sets=(CounterSet("p", {"Mode": Quantity(1)}),))
    refused("counter set 'P': its name is not", sets=(CounterSet("P", ONE),))
    refused("counter set p: counter mode: -1 is not", sets=(CounterSet("p", {"mode": Quantity(-1)}),))
    refused(
        "device gpu0: counter set p: has no counters", consumer(CounterConsumption("p", {})), sets=(MODE,)
    )
