"""Counters of PCIe errors, whose names the simulated kernel has too; what errors lead to is in the table."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from card import DEVICES, Card
from dra_common.simulate import aer
from errors import report


@pytest.mark.parametrize("severity", aer.ERRORS)
def test_what_is_counted(card: Card, severity: str) -> None:
    assert (card.folder / f"aer_dev_{severity}").read_text() == f"{aer.text(severity, {})}\n"


@pytest.mark.usefixtures("card")
def test_a_function_without_the_capability() -> None:
    folder = next(path for path in sorted(DEVICES.iterdir()) if _is_endpoint_without_errors(path))
    assert report(folder.name, "correctable", "RxErr") == errno.EPROTONOSUPPORT


def _is_endpoint_without_errors(folder: Path) -> bool:
    behind_a_port = len(folder.resolve().parts) > len(("/", "sys", "devices", "root", "function"))
    return behind_a_port and not (folder / "aer_dev_fatal").exists()
