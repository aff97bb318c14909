"""Selectors mean what they mean in a cluster: values, missing things, errors."""

from __future__ import annotations

import pytest
from dra_common.testing.allocator.cel import Facts, Selector, SelectorError, compiled
from dra_common.testing.objects import device

GPU = Facts(
    "gpu.intel.com",
    device(
        "card",
        {
            "family": "Data Center Flex",
            "model": "Flex 170",
            "sriov": True,
            "numaNode": 1,
            "firmware": {"version": "2.10.0"},
            "names": {"strings": ["a", "b"]},
            "resource.kubernetes.io/pcieRoot": "pci0000:00",
            "gpu.intel.com/qualified": "yes",
        },
        {"memory": "16Gi", "millicores": "1k", "other.example/lanes": "16"},
    ),
)
A = 'device.attributes["gpu.intel.com"]'
C = 'device.capacity["gpu.intel.com"]'


@pytest.mark.parametrize(
    "expression",
    [
        'device.driver == "gpu.intel.com"',
        "device.allowMultipleAllocations == false",
        f'{A}.family == "Data Center Flex"',
        f"{A}.family == 'Data Center Flex'",
        f'{A}.sriov && {A}["sriov"]',
        f'{A}.qualified == "yes"',
        f"{A}.numaNode == 1 && {A}.numaNode + 1 > 1 && {A}.numaNode % 2 == 1",
        'device.attributes["resource.kubernetes.io"].pcieRoot == "pci0000:00"',
        f'{A}.model in ["Flex 140", "Flex 170"]',
        f'{A}.model.matches("^Flex [0-9]+$")',
        f'{A}.model.startsWith("Flex") && {A}.model.endsWith("170") && {A}.model.contains("x 1")',
        f'{A}.model.lowerAscii() == "flex 170" && {A}.model.split(" ")[1] == "170"',
        f'{A}.model.replace("Flex ", "").size() == 3',
        f'{A}.names.exists(name, name == "b") && "a" in {A}.names',
        f'{A}.exists(key, key == "family")',
        f"{A}.sriov ? true : false",
        f'cel.bind(gpu, {A}, gpu.family == "Data Center Flex" && gpu.sriov)',
        # What is not there can be asked for.
        f"has({A}.family) && !has({A}.missing)",
        f'!("missing" in {A}) && "family" in {A}',
        '!has(device.attributes["other.example"].x) && !("x" in device.attributes["other.example"])',
        'size(device.attributes["other.example"]) == 0',
        '!("other.example" in device.attributes) && size(device.attributes) == 2',
        f'{A}.?missing.orValue("d") == "d" && {A}.?family.orValue("d") == "Data Center Flex"',
        f'{A}[?"missing"].orValue("d") == "d"',
        'device.attributes[?"other.example"].?x.orValue(1) == 1',
        # A missing thing does not matter when the other side decides.
        f'{A}.missing == "x" || true',
        f'!({A}.missing == "x" && false)',
        f'{A}.numaNode != "1"',
        # Quantities.
        f'{C}.memory.compareTo(quantity("4Gi")) >= 0',
        f'{C}.memory.compareTo(quantity("16Gi")) == 0',
        f'{C}.memory.compareTo(quantity("32Gi")) == -1',
        f'{C}.memory.isGreaterThan(quantity("8Gi")) && !{C}.memory.isLessThan(quantity("8Gi"))',
        f'{C}.millicores == quantity("1000")',
        'device.capacity["other.example"].lanes.asInteger() == 16',
        'quantity("1Gi") == quantity("1024Mi") && quantity("1Gi") != quantity("1G")',
        'quantity("1Gi").add(quantity("1Gi")) == quantity("2Gi") && quantity("1Ki").sub(24).asInteger() == 1000',
        'quantity("500m").asApproximateFloat() == 0.5 && !quantity("500m").isInteger()',
        'isQuantity("1.5G") && !isQuantity("200K")',
        # Versions.
        f'{A}.firmware.isGreaterThan(semver("2.9.0")) && {A}.firmware.isLessThan(semver("3.0.0-rc.1"))',
        f'{A}.firmware.compareTo(semver("2.10.0")) == 0 && {A}.firmware == semver("2.10.0+build.7")',
        f"{A}.firmware.major() == 2 && {A}.firmware.minor() == 10 && {A}.firmware.patch() == 0",
        'semver("v1.2", true) == semver("1.2.0") && isSemver("1.2.3") && !isSemver("1.2") && isSemver("1.2", true)',
    ],
)
def test_true_on_this_device(expression: str) -> None:
    assert Selector(expression).matches(GPU) is True
    assert Selector(f"!({expression})").matches(GPU) is False


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        (f'{A}.missing == "x"', 'Key not found in map : "missing"'),
        (f"{A}.missing == 1 && true", 'Key not found in map : "missing"'),
        ('device.attributes["other.example"].x == 1', 'Key not found in map : "x"'),
        (f'{C}.missing.isGreaterThan(quantity("1"))', 'Key not found in map : "missing"'),
        (f'{A}.numaNode < "x"', "No matching overloads"),
        (f'{A}.family.isGreaterThan(quantity("1"))', "No matching overloads"),
        (f'{A}.firmware.isGreaterThan(quantity("1"))', "no such overload: Quantity where Semver is needed"),
        (f'{C}.memory.compareTo(quantity("a lot")) > 0', "'a lot' is not a quantity"),
        (f'{A}.firmware.isLessThan(semver("2"))', "'2' is not a semantic version"),
        ('quantity("500m").asInteger() == 0', "cannot convert value to integer"),
        ("1 / 0 == 1", "divide by zero"),
        ("9223372036854775807 + 1 > 0", "integer overflow"),
        (f"{A}.family", "gives STRING, not a bool"),
    ],
)
def test_error_on_this_device(expression: str, error: str) -> None:
    with pytest.raises(SelectorError) as caught:
        Selector(expression).matches(GPU)
    assert error in str(caught.value)
    assert "[" not in str(caught.value).partition(error)[0]


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ('device.drivr == "x"', "1:7: undeclared reference to 'device.drivr'"),
        ('devic.driver == "x"', "1:6: undeclared reference to 'devic.driver'"),
        ("device.driver ==", "1:17: Syntax error"),
        ('device.driver.like("x")', "1:19: undeclared reference to 'like'"),
        ("device.driver == 1", "1:15: found no matching overload for '_==_' applied to '(string, int)'"),
        (f"{C}.memory > 4", "found no matching overload for '_>_' applied to '(kubernetes.Quantity, int)'"),
        ('quantity("1").compareTo(semver("1.0.0")) > 0', "found no matching overload for 'compareTo'"),
        ("device.driver", "must give a bool, not STRING"),
        ("1", "must give a bool, not INT"),
    ],
)
def test_expression_that_no_api_server_would_take(expression: str, error: str) -> None:
    with pytest.raises(SelectorError) as caught:
        Selector(expression)
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_without_a_domain_belong_to_the_driver() -> None:
    other = Facts("other.example", device("x", {"family": "Data Center Flex"}))
    selector = compiled('device.attributes["gpu.intel.com"].?family.orValue("") == "Data Center Flex"')
    assert selector.matches(GPU)
    assert not selector.matches(other)


def test_same_expression_is_compiled_once() -> None:
    assert compiled("true") is compiled("true")


def test_device_that_may_be_shared() -> None:
    shared = Facts("d", device("x", allowMultipleAllocations=True))
    assert compiled("device.allowMultipleAllocations").matches(shared)


def test_what_an_expression_mentions_is_shown() -> None:
    expression = f'{A}.family == "x" && {C}.memory.isGreaterThan(quantity("1")) && {A}.sriov || {A}.?gone.orValue(true)'
    assert GPU.mentioned(expression) == (
        'family is "Data Center Flex", memory is "16Gi", sriov is true, gone is not set'
    )
    assert GPU.mentioned("device.driver == 'x'") == ""


@pytest.mark.parametrize(
    ("value", "error"),
    [({"version": "1"}, "'1' is not a semantic"), ({"colour": 1}, "unsupported"), ({}, "unsupported")],
)
def test_attribute_that_no_api_server_stores(value: dict[str, object], error: str) -> None:
    with pytest.raises(SelectorError, match=f"strange: {error}"):
        Facts("d", device("x", {"strange": value}))


def test_capacity_that_no_api_server_stores() -> None:
    with pytest.raises(SelectorError, match="memory: 'much' is not a quantity"):
        Facts("d", device("x", capacity={"memory": "much"}))
