"""The documented names are the published names, in both directions, on every simulated machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dra_common.driver import Published
from dra_common.health import Policy, verdict
from dra_common.inventory import Inventory, cordoned_taint
from dra_common.model import Attribute, Device, Finding, Severity, Snapshot, Taint, Version
from dra_common.publisher import Owner, plan_sync
from dra_common.simulate import SimulatedHost, Simulator, find_profile
from dra_common.slices import ServerFeatures, to_slices
from dra_common.taints import busy_taint, revert_failed_taint
from dra_common.testing.apiserver import FakeApiServer
from gpu_driver.driver import NAME, GpuDriver
from gpu_driver.policy import GpuMatch, GpuRule, GpuSriovPolicy
from gpu_driver.products import FAMILIES, PRODUCTS
from gpu_driver.sharing import Sharing
from gpu_driver.simulation import SIMULATION
from gpu_driver.vocabulary import ATTRIBUTES, CAPACITIES, COUNTERS, TAINTS
from gpu_trees import configured

TYPES: Mapping[str, type] = {"string": str, "bool": bool, "int": int, "version": Version}


def driver_of_modes() -> GpuDriver:
    """One that may divide every GPU, where that can be."""
    return configured(devices=(GpuRule(match=GpuMatch(), sriov=GpuSriovPolicy(modes=(2,))),))


@pytest.fixture(scope="module")
def machines() -> Mapping[str, Published]:
    """What is published of each machine that the driver ships."""
    driver, found = GpuDriver(), {}
    for name in SIMULATION.profiles:
        root = Path(tempfile.mkdtemp(prefix="gpu"))
        with Simulator(SIMULATION, find_profile(SIMULATION, name), root):
            hardware = driver.discover(SimulatedHost(root)).hardware
            found[name] = driver.publish(hardware)
            hardware = driver_of_modes().discover(SimulatedHost(root)).hardware
            found[f"{name}, with modes"] = driver_of_modes().publish(hardware)
            found[f"{name}, kernel drivers left alone"] = configured(manage_binding=False).publish(hardware)
            rules = (GpuRule(match=GpuMatch(), sharing=Sharing(max_clients=2)),)
            found[f"{name}, shared"] = configured(devices=rules).publish(hardware)
        shutil.rmtree(root)
    return found


@pytest.fixture(scope="module")
def devices(machines: Mapping[str, Published]) -> tuple[Device, ...]:
    return tuple(device for machine in machines.values() for device in machine.devices)


def in_trouble(machines: Mapping[str, Published]) -> tuple[Device, ...]:
    """A machine that loses a device while another, held one is cordoned, denied, ill, and could not be given back."""
    ill = verdict([Finding("memory", Severity.CRITICAL)], Policy())
    inventory = Inventory(NAME, lambda names, gone: {name: ill for name in names if name not in gone})
    published = machines["two-gpus"]
    first, second = published.devices
    inventory.update(published, ())
    snapshot = inventory.update(
        replace(published, devices=(second,), denied=frozenset({second.name})),
        {second.name},
        {second.name: (revert_failed_taint(NAME), busy_taint(NAME), cordoned_taint(NAME, "why"))},
    )
    assert snapshot is not None
    assert {device.name for device in snapshot.devices} == {first.name, second.name}
    still = inventory.update(published, {first.name}, {}, shared={first.name})
    assert still is not None
    return (*snapshot.devices, *still.devices)


def attributes(devices: tuple[Device, ...], name: str) -> list[Attribute]:
    return [device.attributes[name] for device in devices if name in device.attributes]


def test_every_published_attribute_has_a_row_and_the_reverse(devices: tuple[Device, ...]) -> None:
    assert {name for device in devices for name in device.attributes} == {term.name for term in ATTRIBUTES}


def test_every_published_capacity_has_a_row_and_the_reverse(devices: tuple[Device, ...]) -> None:
    assert {name for device in devices for name in device.capacity} == {term.name for term in CAPACITIES}


def test_every_published_taint_has_a_row_and_the_reverse(machines: Mapping[str, Published]) -> None:
    published = tuple(device for machine in machines.values() for device in machine.devices)
    taints: set[Taint] = {taint for device in (*published, *in_trouble(machines)) for taint in device.taints}
    assert {taint.key for taint in taints} == {term.key for term in TAINTS}
    effects = {term.key: {term.effect, term.other or term.effect} for term in TAINTS}
    valued = {term.key for term in TAINTS if term.value}
    for taint in taints:
        assert taint.effect in effects[taint.key]
        assert bool(taint.value) == (taint.key in valued)


def test_every_published_counter_has_a_row_and_the_reverse(machines: Mapping[str, Published]) -> None:
    sets = [each for machine in machines.values() for each in machine.counter_sets]
    assert {name for each in sets for name in each.counters} == {term.name for term in COUNTERS}
    for machine in machines.values():
        known = {each.name: each.counters for each in machine.counter_sets}
        assert known.keys() <= {device.name for device in machine.devices}
        for device in machine.devices:
            for use in device.consumes:
                assert use.counters.keys() <= known[use.counter_set].keys()


def test_a_slice_has_the_documented_names_with_the_documented_types(
    machines: Mapping[str, Published],
) -> None:
    """What a user reads with kubectl, of every machine in every way that it can be configured."""
    fields = {term.name: term.kind for term in ATTRIBUTES}
    seen: dict[str, set[str]] = {"attributes": set(), "capacity": set(), "counters": set()}
    for machine in machines.values():
        for spec in sliced(machine):
            for device in spec.get("devices", ()):
                for name, value in device["attributes"].items():
                    assert list(value) == [fields[name]], name
                for name, value in device["capacity"].items():
                    assert isinstance(value["value"], str), name
                seen["attributes"] |= device["attributes"].keys()
                seen["capacity"] |= device["capacity"].keys()
            for each in spec.get("sharedCounters", ()):
                seen["counters"] |= each["counters"].keys()
    rows = {"attributes": ATTRIBUTES, "capacity": CAPACITIES, "counters": COUNTERS}
    assert seen == {part: {term.name for term in terms} for part, terms in rows.items()}


def sliced(machine: Published) -> list[dict[str, Any]]:
    """The specs of its ResourceSlices for a server with all features, as an API server takes them."""
    snapshot = Snapshot(1, machine.devices, machine.counter_sets)
    made = to_slices(snapshot, driver=NAME, features=ServerFeatures.of((1, 36)))
    owner = Owner(NAME, "node-1", "0" * 8)
    with FakeApiServer(version="1.36") as server:
        stored = [
            server.create("ResourceSlice", item) for item in plan_sync(made.contents, (), owner).creates
        ]
    return [dict(item["spec"]) for item in stored]


def test_the_values_have_the_type_of_the_row(devices: tuple[Device, ...]) -> None:
    for term in ATTRIBUTES:
        assert {type(value) for value in attributes(devices, term.name)} == {TYPES[term.kind]}, term.name


def test_only_a_row_that_says_when_is_absent_anywhere(devices: tuple[Device, ...]) -> None:
    for term in (*ATTRIBUTES, *CAPACITIES):
        missing = [
            device.name for device in devices if term.name not in {**device.attributes, **device.capacity}
        ]
        assert term.absent or not missing, term.name


def test_no_name_stands_twice() -> None:
    named = [[term.name for term in terms] for terms in ((*ATTRIBUTES, *CAPACITIES), COUNTERS)]
    for names in (*named, [term.key for term in TAINTS]):
        assert len(names) == len(set(names))


def test_what_the_meanings_promise_of_values(devices: tuple[Device, ...]) -> None:
    assert set(attributes(devices, "type")) == {"gpu", "vf"}
    assert set(attributes(devices, "health")) == {"Unknown"}
    assert "" in attributes(devices, "driver")
    assert set(attributes(devices, "family")) <= FAMILIES
    whole = [device for device in devices if "mode" not in device.attributes]
    modes = [device for device in devices if device not in whole]
    assert {str(device.capacity["millicores"].value) for device in whole} == {"1k"}
    assert {device.attributes["mode"] for device in modes} == {"vf2"}
    assert all(device.name.endswith("-vf2") for device in modes)
    older = [
        (device.attributes["pciAddress"], device.attributes["resource.kubernetes.io/pciBusID"])
        for device in whole
    ]
    assert all(old == new for old, new in older)
    integrated = {
        str(device.capacity["memory"].value)
        for device in devices
        if PRODUCTS.get(str(device.attributes["pciId"]))
        and PRODUCTS[str(device.attributes["pciId"])].integrated
    }
    assert integrated == {"0"}
