"""Quantities and semantic versions, by the examples of their own specifications."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from dra_common.model import Quantity
from dra_common.testing.allocator.quantities import parse_quantity
from dra_common.testing.allocator.versions import Semver
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1", 1),
        ("+5", 5),
        ("-5", -5),
        ("1.5", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("1k", 1000),
        ("1M", 10**6),
        ("1G", 10**9),
        ("1T", 10**12),
        ("1P", 10**15),
        ("1E", 10**18),
        ("1Ki", 1024),
        ("1Mi", 1024**2),
        ("1.5Gi", 3 * 512 * 1024**2),
        ("1Ti", 1024**4),
        ("1Pi", 1024**5),
        ("1Ei", 1024**6),
        ("100m", Fraction(1, 10)),
        ("1u", Fraction(1, 10**6)),
        ("1n", Fraction(1, 10**9)),
        ("1e3", 1000),
        ("1E3", 1000),
        ("12e-1", Fraction(6, 5)),
    ],
)
def test_quantity(text: str, value: Fraction | int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1K", "1ki", "Mi", "one", "1,5", "1.2.3", "--1", "1e", "1iK", "0x10"]
)
def test_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@given(st.integers(0, 2**62), st.sampled_from(["binary", "decimal"]))
def test_quantities_that_drivers_publish_are_read_back(value: int, family: str) -> None:
    assert parse_quantity(str(Quantity(value, "binary" if family == "binary" else "decimal"))) == value


ASCENDING = [
    "0.9.0",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.2",
    "1.0.10",
    "1.10.0",
    "10.0.0",
]


def test_versions_are_ordered_by_precedence() -> None:
    for lower, higher in pairwise(map(Semver.parse, ASCENDING)):
        assert lower.compare(higher) == -1
        assert higher.compare(lower) == 1


def test_build_metadata_does_not_count() -> None:
    assert Semver.parse("1.2.3+a") == Semver.parse("1.2.3+b.7")
    assert Semver.parse("1.2.3-rc.1+a").compare(Semver.parse("1.2.3-rc.1")) == 0
    assert str(Semver.parse("1.2.3-rc.1+a")) == "1.2.3-rc.1"


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "v1.2.3", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2.3.4", "1.2.x"]
)
def test_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="is not a semantic version"):
        Semver.parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("v1.0.0", "1.0.0"),
        ("1", "1.0.0"),
        ("1.2", "1.2.0"),
        ("01.02.03", "1.2.3"),
        ("v01.2.0-rc.1", "1.2.0-rc.1"),
    ],
)
def test_normalized_version(text: str, value: str) -> None:
    assert Semver.parse(text, normalize=True) == Semver.parse(value)


@pytest.mark.parametrize("text", ["1.2-rc.1", "1+a", "vv1", "", "one"])
def test_no_version_even_if_normalized(text: str) -> None:
    with pytest.raises(ValueError, match="is not a semantic version"):
        Semver.parse(text, normalize=True)
