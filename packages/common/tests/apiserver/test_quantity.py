from __future__ import annotations

import pytest
from dra_common.model import Quantity
from dra_common.testing.apiserver.quantity import canonical, parse
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("1000", "1k"),
        ("16384Mi", "16Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5", "500m"),
        ("1536", "1536"),
        ("1.5Ki", "1536"),
        ("1024", "1024"),
        ("1Ki", "1Ki"),
        ("0", "0"),
        ("0Gi", "0"),
        ("0.1Ki", "102400m"),
        ("1e3", "1e3"),
        ("1500e3", "1500e3"),
        ("1000000e3", "1e9"),
        ("-2000", "-2k"),
        ("+5", "5"),
        (".5", "500m"),
        ("0.0000000001", "1n"),
        ("100m", "100m"),
        ("1000m", "1"),
    ],
)
def test_prints_the_canonical_form(text: str, printed: str) -> None:
    assert canonical(text) == printed


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1KB", "1ki", "one", "1.2.3", "0x10", "1Gi ", "1e"])
def test_refuses_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        canonical(text)


@given(
    st.integers(-(10**15), 10**15),
    st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi"]),
    st.sampled_from(["", "e3"]),
)
def test_canonical_keeps_the_amount_and_is_stable(number: int, suffix: str, exponent: str) -> None:
    text = f"{number}{suffix or exponent}"
    assert parse(canonical(text)) == parse(text)
    assert canonical(canonical(text)) == canonical(text)


@given(st.integers(0, 2**40))
def test_what_the_driver_prints_in_decimal_comes_back_unchanged(value: int) -> None:
    assert canonical(str(Quantity(value))) == str(Quantity(value))


@given(st.integers(0, 2**30))
def test_what_the_driver_prints_as_mebibytes_comes_back_unchanged(count: int) -> None:
    assert canonical(str(Quantity.mebibytes(count))) == str(Quantity.mebibytes(count))
