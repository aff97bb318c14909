"""Addresses of PCI functions, and the device names that are made of them.

A name is address and device id, as in Intel's Go drivers: another card in the same slot is another device.
"""

from __future__ import annotations

import re

_BDF = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])", re.ASCII)
_NAME = re.compile(r"([0-9a-f]{4,8})-([0-9a-f]{2})-([01][0-9a-f])-([0-7])-(0x[0-9a-f]{4})", re.ASCII)


def is_bdf(text: str) -> bool:
    """Whether this is a PCI address as sysfs writes it: ``0000:03:00.0``."""
    return _BDF.fullmatch(text) is not None


def address(bdf: str) -> tuple[int, int, int, int]:
    """Return domain, bus, device and function of a PCI address. Raises ValueError if it is not one."""
    match = _BDF.fullmatch(bdf)
    if match is None:
        raise ValueError(f"{bdf!r} is not a PCI address")
    domain, bus, device, function = (int(part, 16) for part in match.groups())
    return domain, bus, device, function


def dashed(bdf: str) -> str:
    """Return an address as a part of names: ``0000-03-00-0``."""
    return bdf.replace(":", "-").replace(".", "-")


def undashed(text: str) -> str:
    """Return the address in such a part. Raises ValueError if there are not four fields."""
    domain, bus, device, function = text.split("-")
    return f"{domain}:{bus}:{device}.{function}"


def device_name(bdf: str, device_id: str) -> str:
    """Return the published name: PCI address and device id, ``0000-03-00-0-0x56c0``; a DNS-1123 label."""
    return f"{dashed(bdf)}-{device_id}"


def split_name(name: str) -> tuple[str, str] | None:
    """Return PCI address and device id of a published name, None if it cannot be one of ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    domain, bus, device, function, device_id = match.groups()
    return f"{domain}:{bus}:{device}.{function}", device_id
