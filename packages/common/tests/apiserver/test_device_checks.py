from __future__ import annotations

from typing import Any

import pytest
from dra_common.testing.apiserver.device_checks import check, has_extras
from dra_common.testing.apiserver.features import Features

FEATURES = Features.of("1.36", {})
TAINT = {"key": "gpu.intel.com/unhealthy", "effect": "NoExecute"}


def broken(
    device: dict[str, Any], *, per_device: bool = False, features: Features = FEATURES
) -> list[tuple[str, str]]:
    causes = check("d", {"name": "a", **device}, features, per_device=per_device)
    return [(cause.field, cause.reason.removeprefix("FieldValue")) for cause in causes]


def attributes(count: int) -> dict[str, Any]:
    return {f"a{number}": {"int": number} for number in range(count)}


def consumption(name: str = "a", counters: int = 1, **extra: Any) -> dict[str, Any]:
    return {"counterSet": name, "counters": {f"c{n}": {"value": "1"} for n in range(counters)}, **extra}


@pytest.mark.parametrize(
    "device",
    [
        {},
        {"attributes": attributes(32)},
        {"attributes": {"a": {"string": "x" * 64}, "b": {"bool": False}, "c": {"version": "1.2.3"}}},
        {"attributes": {"resource.kubernetes.io/pcieRoot": {"string": "pci0000:00"}}},
        {"attributes": {f"a{n}": {"ints": [1] * 16} for n in range(3)}},
        {"consumesCounters": [consumption("a", 32), consumption("b", 32, compatibilityGroups=["x", "y"])]},
        {"taints": [{**TAINT, "key": f"k{n}", "value": ""} for n in range(16)]},
        {"bindingConditions": ["a", "b", "c", "d"], "bindingFailureConditions": ["e"]},
    ],
)
def test_accepts(device: dict[str, Any]) -> None:
    assert broken(device) == []


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ({"attributes": attributes(33)}, ("d", "Invalid")),
        ({"attributes": attributes(32), "capacity": {"m": {"value": "1"}}}, ("d", "Invalid")),
        ({"attributes": {f"a{n}": {"ints": [1] * 25} for n in range(2)}}, ("d.attributes", "Invalid")),
        ({"attributes": {"a": {}}}, ("d.attributes[a]", "Required")),
        ({"attributes": {"a": {"int": 1, "bool": True}}}, ("d.attributes[a]", "Invalid")),
        ({"attributes": {"a": {"string": "x" * 65}}}, ("d.attributes[a]", "TooLong")),
        ({"attributes": {"a": {"string": "ä" * 33}}}, ("d.attributes[a]", "TooLong")),
        ({"attributes": {"a": {"strings": ["ok", "x" * 65]}}}, ("d.attributes[a]", "TooLong")),
        ({"attributes": {"a": {"version": "1.2"}}}, ("d.attributes[a].version", "Invalid")),
        ({"attributes": {"a": {"versions": ["1.2.3", "x"]}}}, ("d.attributes[a].version", "Invalid")),
        ({"attributes": {"pci-id": {"int": 1}}}, ("d.attributes[pci-id]", "Invalid")),
        ({"capacity": {"a b": {"value": "1"}}}, ("d.capacity[a b]", "Invalid")),
        ({"capacity": {"m": {}}}, ("d.capacity[m].value", "Required")),
        ({"consumesCounters": [consumption(n) for n in "abc"]}, ("d.consumesCounters", "TooMany")),
        (
            {"consumesCounters": [consumption(), consumption()]},
            ("d.consumesCounters[1].counterSet", "Duplicate"),
        ),
        ({"consumesCounters": [consumption("")]}, ("d.consumesCounters[0].counterSet", "Required")),
        ({"consumesCounters": [consumption("a", 0)]}, ("d.consumesCounters[0].counters", "Required")),
        ({"consumesCounters": [consumption("a", 33)]}, ("d.consumesCounters[0].counters", "TooMany")),
        (
            {"consumesCounters": [consumption(compatibilityGroups=["x", "y", "z"])]},
            ("d.consumesCounters[0].compatibilityGroups", "TooMany"),
        ),
        ({"taints": [{**TAINT, "key": f"k{n}"} for n in range(17)]}, ("d.taints", "TooMany")),
        ({"taints": [{"effect": "NoExecute"}]}, ("d.taints[0].key", "Required")),
        ({"taints": [{**TAINT, "value": "two words"}]}, ("d.taints[0].value", "Invalid")),
        ({"taints": [{"key": "k"}]}, ("d.taints[0].effect", "Required")),
        ({"taints": [{"key": "k", "effect": "Evict"}]}, ("d.taints[0].effect", "NotSupported")),
        ({"nodeName": "n"}, ("d.nodeName", "Forbidden")),
        ({"bindingConditions": ["a"]}, ("d.bindingFailureConditions", "Required")),
        ({"bindingFailureConditions": ["a"]}, ("d.bindingConditions", "Required")),
        (
            {"bindingConditions": ["a"], "bindingFailureConditions": ["a"]},
            ("d.bindingFailureConditions", "Duplicate"),
        ),
        (
            {"bindingConditions": list("abcde"), "bindingFailureConditions": ["x"]},
            ("d.bindingConditions", "TooMany"),
        ),
        (
            {"bindingConditions": ["a", "a"], "bindingFailureConditions": ["x"]},
            ("d.bindingConditions", "Duplicate"),
        ),
    ],
)
def test_refuses(device: dict[str, Any], expected: tuple[str, str]) -> None:
    assert broken(device) == [expected]


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ({"nodeName": "n"}, []),
        ({"allNodes": True}, []),
        ({}, [("d", "Required")]),
        ({"nodeName": "n", "allNodes": True}, [("d", "Invalid")]),
    ],
)
def test_a_device_says_its_place_when_the_slice_does_not(device: dict[str, Any], expected: list[Any]) -> None:
    assert broken(device, per_device=True) == expected


def test_1_34_allows_four_taints() -> None:
    taints = [{**TAINT, "key": f"k{n}"} for n in range(5)]
    early = Features.of("1.34", {})
    assert broken({"taints": taints[:4]}, features=early) == []
    assert broken({"taints": taints}, features=early) == [("d.taints", "TooMany")]


@pytest.mark.parametrize(
    ("device", "extra"),
    [
        ({}, False),
        ({"attributes": {"a": {"int": 1}}}, False),
        ({"attributes": {"a": {"ints": [1]}}}, True),
        ({"taints": [TAINT]}, True),
        ({"consumesCounters": []}, True),
    ],
)
def test_what_lowers_the_limit_of_a_slice(device: dict[str, Any], extra: bool) -> None:  # noqa: FBT001 (a column)
    assert has_extras(device) is extra
