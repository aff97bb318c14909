from __future__ import annotations

import re

import pytest
from dra_common.pci import address, device_name, is_bdf, split_name
from hypothesis import given
from hypothesis import strategies as st


def test_the_name_of_a_device() -> None:
    assert device_name("0000:03:00.0", "0x56c0") == "0000-03-00-0-0x56c0"
    assert split_name("0000-03-00-0-0x56c0") == ("0000:03:00.0", "0x56c0")


@given(
    st.integers(0, 0xFFFFF),
    st.integers(0, 255),
    st.integers(0, 31),
    st.integers(0, 7),
    st.integers(0, 0xFFFF),
)
def test_a_name_can_be_split_again(domain: int, bus: int, device: int, function: int, device_id: int) -> None:
    bdf = f"{domain:04x}:{bus:02x}:{device:02x}.{function}"
    name = device_name(bdf, f"0x{device_id:04x}")
    assert split_name(name) == (bdf, f"0x{device_id:04x}")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert address(bdf) == (domain, bus, device, function)


@pytest.mark.parametrize(
    "name",
    ["", "card0", "0000-03-00-0", "0000-03-00-0-56c0", "0000-03-00-8-0x56c0", "0000-03-00-0-0x56C0",
     "0000:03:00.0-0x56c0", "0000-03-20-0-0x56c0", "0000-03-00-0-0x56c0-vf4", "0000-03-00-0-0x56c0\n", "../../etc"],
)  # fmt: skip
def test_what_is_not_a_name_of_ours(name: str) -> None:
    assert split_name(name) is None


@pytest.mark.parametrize(
    "text", ["", "0000:03:00", "0000:03:00.8", "0000:03:20.0", "03:00.0", "0000:03:00.0 ", "x"]
)
def test_what_is_not_an_address(text: str) -> None:
    assert not is_bdf(text)
    with pytest.raises(ValueError, match="not a PCI address"):
        address(text)
