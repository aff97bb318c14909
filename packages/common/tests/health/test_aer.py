"""PCIe error counters: only what is added while we watch counts, and not for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from dra_common.health.aer import Errors, counted, findings, look
from dra_common.host import RealHost, Roots
from dra_common.model import Severity

GPU = "0000:03:00.0"


def whats(errors: Errors, now: float) -> list[tuple[str, Severity]]:
    return [(finding.what, finding.severity) for finding in findings(errors, now)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Undefined 0\nDLP 3\nTOTAL_ERR_FATAL 3\n", 3),
        ("TOTAL_ERR_FATAL 0", 0),
        ("DLP 3\n", None),
        ("TOTAL_ERR_FATAL many\n", None),
        ("TOTAL_ERR_FATAL 1\nSomething_new 2\n", None),
        ("", None),
    ],
)
def test_the_last_line_is_the_sum(tmp_path: Path, text: str, count: int | None) -> None:
    folder = tmp_path / "bus/pci/devices" / GPU
    folder.mkdir(parents=True)
    (folder / "aer_dev_fatal").write_text(text)
    host = RealHost(Roots(sysfs=str(tmp_path)))
    assert counted(host, GPU, "fatal") == count
    assert counted(host, GPU, "nonfatal") is None


def test_what_was_counted_before_says_nothing_of_now() -> None:
    assert whats(look(Errors(), 7, 9, now=0, hold=300), 0) == []


def test_a_fatal_error_stays_and_one_that_is_not_passes() -> None:
    known = look(Errors(), 0, 0, now=0, hold=300)
    known = look(known, 0, 1, now=10, hold=300)
    assert whats(known, 10) == [("pcie-nonfatal", Severity.WARNING)]
    known = look(known, 2, 1, now=20, hold=300)
    assert whats(known, 20) == [("pcie-fatal", Severity.CRITICAL), ("pcie-nonfatal", Severity.WARNING)]
    known = look(known, 2, 1, now=311, hold=300)
    assert whats(known, 311) == [("pcie-fatal", Severity.CRITICAL)]
    assert findings(known, 311)[0].message.startswith("2 fatal")


def test_counters_that_fell_are_those_of_another_device() -> None:
    known = look(look(Errors(), 0, 0, now=0, hold=300), 2, 2, now=1, hold=300)
    assert whats(look(known, 0, 0, now=2, hold=300), 2) == []


def test_counters_that_cannot_be_read_for_once_change_nothing() -> None:
    known = look(look(Errors(), 0, 0, now=0, hold=300), 1, 0, now=1, hold=300)
    assert whats(look(known, None, None, now=2, hold=300), 2) == [("pcie-fatal", Severity.CRITICAL)]
