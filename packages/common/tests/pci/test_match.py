from __future__ import annotations

from typing import Any

import pytest
from dra_common.pci.match import PciMatch
from pydantic import ValidationError

BDF, ID = "0000:43:00.0", "0x1020"


@pytest.mark.parametrize(
    ("match", "covered"),
    [
        ({}, True),
        ({"pciId": "0x1020"}, True),
        ({"pciId": ["0x1060", "0x10?0"]}, True),
        ({"pciId": "0x1060"}, False),
        ({"pciAddress": "0000:4*"}, True),
        ({"pciAddress": "0000:44:00.0"}, False),
        ({"name": "0000-43-00-0-0x1020"}, True),
        ({"name": "*-0x1060"}, False),
        ({"pciId": "0x1020", "pciAddress": "0000:44:00.0"}, False),
    ],
)
def test_all_that_is_given_has_to_be_true(match: dict[str, Any], *, covered: bool) -> None:
    assert PciMatch.model_validate(match, by_alias=True).is_at(BDF, ID) is covered


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ({"pciId": "1020"}, "no device id such as"),
        ({"pciId": "0X1020"}, "never matches"),
        ({"pciAddress": "43:00.0"}, "no PCI address such as"),
        ({"pciAddress": "0000:4A:00.0"}, "never matches"),
        ({"name": "accel0"}, "no name of a device such as"),
        ({"name": ""}, "at least 1 character"),
    ],
)
def test_what_could_never_match_is_refused(match: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        PciMatch.model_validate(match, by_alias=True)
