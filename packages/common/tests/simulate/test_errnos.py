from __future__ import annotations

import errno

import pytest
from dra_common.simulate.errnos import parse_bool, parse_unsigned, refuse


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("7", 7), ("7\n", 7), ("+7", 7), ("0x1F", 31), ("0X1f", 31), ("017", 15), ("65535", 65535)],
)
def test_numbers(text: str, number: int) -> None:
    assert parse_unsigned(text, 16) == number


@pytest.mark.parametrize(
    "text", ["", "\n", "x", "-1", " 1", "1 ", "1\n\n", "0x", "08", "65536", "1e3", "++1", "१"]
)
def test_no_numbers(text: str) -> None:
    with pytest.raises(OSError, match="Invalid") as caught:
        parse_unsigned(text, 16)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("text", ["1", "y", "Y", "t", "on", "On\n", "yes", "1\n", "true", "10"])
def test_true(text: str) -> None:
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", ["0", "n", "N", "f", "off", "oF", "no", "0\n", "false"])
def test_false(text: str) -> None:
    assert parse_bool(text) is False


@pytest.mark.parametrize("text", ["", "2", "o", "x", "\n", " 1"])
def test_neither(text: str) -> None:
    with pytest.raises(OSError, match="Invalid") as caught:
        parse_bool(text)
    assert caught.value.errno == errno.EINVAL


def test_a_refusal_says_what() -> None:
    error = refuse(errno.EBUSY, "0000:01:00.0")
    assert (error.errno, error.strerror, error.filename) == (
        errno.EBUSY,
        "Device or resource busy",
        "0000:01:00.0",
    )
