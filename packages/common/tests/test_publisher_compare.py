"""When two slices say the same."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from dra_common.publisher.compare import content, digest, dropped_fields, fingerprint, view, with_times

TAINT = {"key": "gpu.intel.com/unhealthy", "effect": "NoSchedule"}
SPEC: dict[str, Any] = {
    "driver": "gpu.intel.com",
    "nodeName": "n1",
    "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 1},
    "devices": [
        {
            "name": "d0",
            "attributes": {"model": {"string": "A"}, "sriov": {"bool": False}, "numa": {"int": 0}},
            "capacity": {
                "memory": {"value": "8Gi", "requestPolicy": {"default": "1Gi", "validValues": ["1Gi", "2Gi"]}}
            },
            "consumesCounters": [{"counterSet": "p", "counters": {"mode": {"value": "1"}}}],
            "taints": [TAINT],
            "allowMultipleAllocations": True,
        },
        {"name": "d1"},
    ],
}
COUNTERS: dict[str, Any] = {
    **SPEC,
    "devices": [],
    "sharedCounters": [{"name": "p", "counters": {"m": {"value": "1"}}}],
}


def changed(change: Any, spec: dict[str, Any] = SPEC) -> dict[str, Any]:
    other = copy.deepcopy(spec)
    change(other)
    return other


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["devices"][0]["taints"][0].update(timeAdded="2026-01-01T00:00:00Z"),
        lambda spec: spec["devices"][0]["taints"][0].update(value=""),
        lambda spec: spec["devices"][0]["capacity"]["memory"].update(value="8192Mi"),
        lambda spec: spec["devices"][0]["capacity"]["memory"].update(value="8589934592"),
        lambda spec: spec["devices"][0]["consumesCounters"][0]["counters"]["mode"].update(value="1000m"),
        lambda spec: spec["devices"][1].update(
            attributes={}, capacity=None, taints=[], allowMultipleAllocations=False
        ),
        lambda spec: spec.update(sharedCounters=None, allNodes=False),
        lambda spec: spec["devices"][1].update(fieldOfTheFuture={"default": 1}),
        lambda spec: spec.update(fieldOfTheFuture="x"),
    ],
)
def test_these_say_the_same(change: Any) -> None:
    assert view(changed(change)) == view(SPEC)
    assert fingerprint(changed(change)) == fingerprint(SPEC)


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["devices"].reverse(),
        lambda spec: spec["devices"].pop(),
        lambda spec: spec["devices"][1].update(name="d2"),
        lambda spec: spec["devices"][0]["attributes"]["sriov"].update(bool=True),
        lambda spec: spec["devices"][0]["attributes"].pop("numa"),
        lambda spec: spec["devices"][0]["attributes"].update(numa={"string": "0"}),
        lambda spec: spec["devices"][0]["capacity"]["memory"].update(value="8G"),
        lambda spec: spec["devices"][0]["capacity"]["memory"].update(value="0"),
        lambda spec: spec["devices"][0]["capacity"]["memory"].pop("requestPolicy"),
        lambda spec: spec["devices"][0]["capacity"]["memory"]["requestPolicy"].update(default="2Gi"),
        lambda spec: spec["devices"][0]["capacity"]["memory"]["requestPolicy"]["validValues"].pop(),
        lambda spec: spec["devices"][0]["consumesCounters"][0]["counters"]["mode"].update(value="2"),
        lambda spec: spec["devices"][0]["consumesCounters"][0].update(counterSet="q"),
        lambda spec: spec["devices"][0].pop("consumesCounters"),
        lambda spec: spec["devices"][0]["taints"][0].update(effect="NoExecute"),
        lambda spec: spec["devices"][0]["taints"][0].update(value="x"),
        lambda spec: spec["devices"][0].pop("taints"),
        lambda spec: spec["devices"][0].pop("allowMultipleAllocations"),
        lambda spec: spec["devices"][1].update(bindingConditions=["a"]),
        lambda spec: spec["devices"][1].update(taints=[TAINT]),
    ],
)
def test_these_do_not(change: Any) -> None:
    assert view(changed(change)) != view(SPEC)
    assert content(changed(change)) != content(SPEC)
    assert fingerprint(changed(change)) != fingerprint(SPEC)


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["pool"].update(generation=2),
        lambda spec: spec["pool"].update(resourceSliceCount=2),
        lambda spec: spec.update(skipNodeOperations=["*"]),
    ],
)
def test_the_rest_of_the_spec_counts_but_is_no_content(change: Any) -> None:
    assert view(changed(change)) != view(SPEC)
    assert content(changed(change)) == content(SPEC)


def test_counter_sets_count() -> None:
    other = changed(lambda spec: spec["sharedCounters"][0]["counters"]["m"].update(value="2"), COUNTERS)
    assert view(other) != view(COUNTERS)
    assert dropped_fields(COUNTERS, other) == ("sharedCounters (changed)",)
    assert dropped_fields(COUNTERS, {**COUNTERS, "sharedCounters": None}) == ("sharedCounters",)


def test_text_that_is_no_quantity_is_compared_as_text() -> None:
    def set_to(text: str) -> dict[str, Any]:
        return changed(lambda spec: spec["devices"][0]["capacity"]["memory"].update(value=text))

    assert view(set_to("lots")) == view(set_to("lots"))
    assert view(set_to("lots")) != view(set_to("more"))
    assert view(set_to("1/0")) != view(set_to("1"))


def test_dropped_fields_are_named_once() -> None:
    def drop(spec: dict[str, Any]) -> None:
        for name in ("taints", "consumesCounters", "allowMultipleAllocations"):
            spec["devices"][0].pop(name)
        spec["devices"][0]["capacity"]["memory"].pop("requestPolicy")

    assert dropped_fields(SPEC, changed(drop)) == (
        "devices[].allowMultipleAllocations",
        "devices[].capacity[].requestPolicy",
        "devices[].consumesCounters",
        "devices[].taints",
    )
    assert dropped_fields(SPEC, SPEC) == ()
    other = changed(lambda spec: spec["devices"][0]["capacity"]["memory"].update(value="1Gi"))
    assert dropped_fields(SPEC, other) == ("devices[].capacity (changed)",)
    assert dropped_fields(SPEC, changed(lambda spec: spec["devices"].reverse())) == ("devices",)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d["taints"].append({**TAINT, "key": "other"}), "devices[].taints (changed)"),
        (lambda d: d["attributes"].update(added={"int": 1}), "devices[].attributes (changed)"),
        (
            lambda d: d["capacity"]["memory"]["requestPolicy"].update(default="2Gi"),
            "devices[].capacity[].requestPolicy (changed)",
        ),
    ],
)
def test_what_has_another_value_was_not_dropped(change: Any, field: str) -> None:
    """Only a field that is gone tells that a feature gate is off."""
    assert dropped_fields(SPEC, changed(lambda spec: change(spec["devices"][0]))) == (field,)


def test_what_is_not_ours_does_not_show_in_a_digest() -> None:
    def stored(**metadata: Any) -> dict[str, Any]:
        return {"metadata": {"name": "s", "ownerReferences": [{"uid": "u"}], **metadata}, "spec": SPEC}

    first = digest(stored(resourceVersion="1"))
    assert digest(stored(resourceVersion="2", labels={"a": "b"}, managedFields=[{}])) == first
    assert digest(stored(ownerReferences=[])) != first
    edited = changed(lambda spec: spec["devices"][0]["taints"].clear())
    assert digest({**stored(), "spec": edited}) != first


def test_times_of_taints_that_stay_are_kept() -> None:
    """Scenario 64."""
    moment = "2026-01-01T00:00:00Z"
    existing = {"d0": {"name": "d0", "taints": [{**TAINT, "timeAdded": moment}]}}
    other = {**TAINT, "value": "memory"}
    wanted = [{"name": "d0", "taints": [TAINT, other]}, {"name": "d1", "taints": [TAINT]}]
    assert with_times(wanted, existing) == [
        {"name": "d0", "taints": [{**TAINT, "timeAdded": moment}, other]},
        {"name": "d1", "taints": [TAINT]},
    ]
    assert wanted[0]["taints"] == [TAINT, other], "what was published is not touched"
