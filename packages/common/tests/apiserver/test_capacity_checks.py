from __future__ import annotations

from typing import Any

import pytest
from dra_common.testing.apiserver.capacity_checks import check_capacity


def broken(value: str, policy: dict[str, Any] | None, *, shared: bool = True) -> list[tuple[str, str]]:
    capacity: dict[str, Any] = {"value": value, **({"requestPolicy": policy} if policy is not None else {})}
    causes = check_capacity("c", capacity, shared=shared)
    return [(c.field.removeprefix("c.requestPolicy"), c.reason.removeprefix("FieldValue")) for c in causes]


@pytest.mark.parametrize(
    "policy",
    [
        None,
        {},
        {"default": "4Gi"},
        {"default": "4Gi", "validValues": ["4Gi"]},
        {"default": "8Gi", "validValues": ["1Gi", "8Gi"]},
        {"default": "2Gi", "validRange": {"min": "1Gi"}},
        {"default": "3Gi", "validRange": {"min": "1Gi", "max": "7Gi", "step": "2Gi"}},
    ],
)
def test_accepts(policy: dict[str, Any] | None) -> None:
    assert broken("8Gi", policy) == []


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"default": "9Gi"}, (".default", "Invalid")),
        ({"validValues": ["4Gi"]}, (".default", "Required")),
        ({"validRange": {"min": "1Gi"}}, (".default", "Required")),
        ({"default": "4Gi", "validValues": ["4Gi"], "validRange": {"min": "1"}}, ("", "Forbidden")),
        ({"default": "1Gi", "validValues": ["2Gi"]}, (".default", "Invalid")),
        ({"default": "1Gi", "validValues": ["1Gi", "9Gi"]}, (".validValues[1]", "Invalid")),
        ({"default": "1Gi", "validValues": ["2Gi", "1Gi"]}, (".validValues", "Invalid")),
        ({"default": "1Gi", "validValues": ["1Gi", "1024Mi"]}, (".validValues", "Duplicate")),
        ({"default": "1", "validValues": [str(n) for n in range(1, 12)]}, (".validValues", "TooMany")),
        ({"default": "1Gi", "validRange": {}}, (".validRange.min", "Required")),
        ({"default": "2Gi", "validRange": {"min": "1Gi", "max": "9Gi"}}, (".validRange", "Invalid")),
        ({"default": "5Gi", "validRange": {"min": "1Gi", "max": "4Gi"}}, (".validRange.default", "Invalid")),
        ({"default": "2Gi", "validRange": {"min": "1Gi", "step": "2Gi"}}, (".validRange.step", "Invalid")),
        (
            {"default": "1Gi", "validRange": {"min": "1Gi", "max": "4Gi", "step": "2Gi"}},
            (".validRange.step", "Invalid"),
        ),
        ({"default": "1Gi", "validRange": {"min": "1Gi", "step": "8Gi"}}, (".validRange.step", "Invalid")),
        ({"default": "1Gi", "validRange": {"min": "1Gi", "step": "0"}}, (".validRange.step", "Invalid")),
    ],
)
def test_refuses(policy: dict[str, Any], expected: tuple[str, str]) -> None:
    assert broken("8Gi", policy) == [expected]


def test_a_policy_needs_a_device_that_can_be_shared() -> None:
    assert broken("8Gi", {"default": "4Gi"}, shared=False) == [("", "Forbidden")]


def test_a_capacity_needs_a_value() -> None:
    (cause,) = check_capacity("c", {}, shared=False)
    assert (cause.field, cause.reason) == ("c.value", "FieldValueRequired")
