"""Names of QAT devices: ``qatvf-0000-6b-00-1`` for a VF, as in Intel's Go driver, ``qat-0000-6b-00-0`` for a PF."""

from __future__ import annotations

import re

from dra_common.pci import dashed, is_bdf

_NAME = re.compile(
    r"qat(?:vf)?-([0-9a-f]{4,8})-([0-9a-f]{2})-([01][0-9a-f])-([0-7])",
    re.ASCII,
)


def vf_name(bdf: str) -> str:
    """Return the name of the virtual function at an address."""
    return f"qatvf-{dashed(bdf)}"


def pf_name(bdf: str) -> str:
    """Return the name of the physical function at an address."""
    return f"qat-{dashed(bdf)}"


def address_of(name: str) -> str:
    """Return the PCI address that a name is about, empty if it cannot be one of ours."""
    match = _NAME.fullmatch(name)
    bdf = "{}:{}:{}.{}".format(*match.groups()) if match else ""
    return bdf if is_bdf(bdf) else ""
