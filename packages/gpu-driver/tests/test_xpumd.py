"""The client of xpumd, against one that starts late, breaks off, is replaced and talks nonsense."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from dra_common.model import Finding, Severity
from dra_common.pacing import Backoff
from dra_common.ports import Report
from dra_common.testing.waiting import wait_until
from driver_nodes import short_folder
from fake_xpumd import GIB, FakeXpumd, device
from gpu_driver.xpumd import XpumdSource
from gpu_driver.xpumd._generated import xpumd_deviceinfo_pb2 as pb
from gpu_driver.xpumd.source import read

BDF = "0000:03:00.0"
OK = ("core", pb.OK, "", "")
BAD = ("memory", pb.CRITICAL, "ecc", "3 errors")
FINE = Report({BDF: (Finding("core", Severity.OK),)})
BROKEN = Report({BDF: (Finding("memory ecc", Severity.CRITICAL, "3 errors"),)})


@pytest.fixture
def socket() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder / "xpumd.sock"


@pytest.fixture
def rings() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def source(socket: Path, rings: threading.Semaphore) -> Iterator[XpumdSource]:
    source = XpumdSource(socket, grace=0.2, backoff=Backoff(0.01, 0.05))
    assert source.report() is None
    source.start(lambda: rings.release())  # noqa: PLW0108 - release takes a number
    yield source
    source.stop()
    source.stop()


def wait_for(source: XpumdSource, report: Report) -> None:
    wait_until(lambda: source.report() == report, f"{report}, not {source.report()}", seconds=60)


def wait_away(source: XpumdSource, findings: Report) -> str:
    def away() -> str:
        report = source.report()
        return report.away if report and report.findings == findings.findings else ""

    return wait_until(away, "xpumd to be away", seconds=60)


def test_what_it_tells_and_every_change(
    source: XpumdSource, socket: Path, rings: threading.Semaphore
) -> None:
    with FakeXpumd(socket) as xpumd:
        xpumd.tell(device(BDF, OK))
        wait_for(source, FINE)
        xpumd.tell(device(BDF, BAD))
        wait_for(source, BROKEN)
        while rings.acquire(blocking=False):
            pass
        xpumd.tell(device(BDF, BAD))
        xpumd.tell()
        wait_for(source, Report())
        # Once for the change, not for what was told again.
        assert rings.acquire(timeout=60)
        assert not rings.acquire(blocking=False)


def test_one_that_is_not_there_yet_is_away_and_found_when_it_comes(source: XpumdSource, socket: Path) -> None:
    said = wait_away(source, Report())
    assert said == f"{socket}: there is no such socket"
    with FakeXpumd(socket) as xpumd:
        xpumd.tell(device(BDF, OK))
        wait_for(source, FINE)


@pytest.mark.parametrize("code", [None, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
def test_a_stream_that_breaks_is_opened_again_however_often(
    source: XpumdSource, socket: Path, code: grpc.StatusCode | None
) -> None:
    """Defect 7 of Intel's Go driver: it asked a dead stream again and again, and ended itself after the fifth error."""
    with FakeXpumd(socket) as xpumd:
        xpumd.tell(device(BDF, BAD))
        for round_ in range(1, 12):
            wait_until(lambda: xpumd.connections >= round_, "another connection", seconds=60)  # noqa: B023 - at once
            wait_for(source, BROKEN)
            if code is None:
                xpumd.end()
            else:
                xpumd.fail(code)


def test_a_restart_within_the_grace_is_not_noticed(socket: Path) -> None:
    patient = XpumdSource(socket, grace=3600.0, backoff=Backoff(0.01, 0.05))
    reports = []
    with FakeXpumd(socket) as xpumd:
        xpumd.tell(device(BDF, OK))
        patient.start(lambda: reports.append(patient.report()))
        wait_for(patient, FINE)
    with FakeXpumd(socket) as xpumd:
        xpumd.tell(device(BDF, BAD))
        wait_for(patient, BROKEN)
    assert [report.away for report in reports if report] == [""] * len(reports)
    patient.stop()


def test_one_that_stays_away_keeps_what_it_said_and_says_why(source: XpumdSource, socket: Path) -> None:
    with FakeXpumd(socket) as xpumd:
        xpumd.tell(device(BDF, BAD, memory=(GIB,)))
        wait_for(source, replace(BROKEN, memory={BDF: GIB}))
    assert str(socket) in wait_away(source, BROKEN)
    report = source.report()
    assert report is not None
    assert report.memory == {BDF: GIB}


def test_a_stop_ends_an_open_stream_and_its_thread(socket: Path) -> None:
    before = set(threading.enumerate())
    source = XpumdSource(socket)
    with FakeXpumd(socket) as xpumd:
        source.start(lambda: None)
        xpumd.tell(device(BDF, OK))
        wait_for(source, FINE)
        source.stop()
    wait_until(
        lambda: not [one for one in set(threading.enumerate()) - before if one.name == "health-xpumd"],
        "its thread to end",
    )
    XpumdSource(socket).stop()


def test_memory_modules_are_summed() -> None:
    """The Go driver took the first one for all."""
    _, _, memory = read([device(BDF, memory=(8 * GIB, 8 * GIB)), device("0000:04:00.0")])
    assert memory == {BDF: 16 * GIB}


@pytest.mark.parametrize(
    ("bdf", "known"),
    [
        ("0000:03:00.0", BDF),
        ("03:00.0", BDF),
        (" 0000:03:00.0\n", BDF),
        ("0000:3A:00.0", "0000:3a:00.0"),
        ("", ""),
        ("../../etc", ""),
        ("0000:03:00.9", ""),
    ],
)
def test_addresses_are_read_as_sysfs_writes_them(bdf: str, known: str) -> None:
    findings, _, _ = read([device(bdf, OK)])
    assert list(findings) == [known] * bool(known)


@pytest.mark.parametrize(
    ("status", "finding"),
    [
        (("memory", pb.WARNING, "", ""), Finding("memory", Severity.WARNING)),
        (
            (" Memory \n ECC!", pb.FAILED, "x" * 500, "m"),
            Finding(f"Memory ECC! {'x' * 188}", Severity.FAILED, "m"),
        ),
        (("", pb.UNKNOWN, "", ""), Finding("xpumd", Severity.UNKNOWN)),
        (("new", 9, "", "worse than all"), Finding("new", Severity.FAILED, "worse than all")),
        (("odd", -3, "", ""), Finding("odd", Severity.UNKNOWN)),
    ],
)
def test_what_is_said_becomes_findings(status: tuple[str, int, str, str], finding: Finding) -> None:
    findings, _, _ = read([device(BDF, status)])
    assert findings == {BDF: (finding,)}


def test_fields_that_a_later_xpumd_adds_are_passed_over() -> None:
    """Also those that it has today and this driver does not read."""
    later = b"\x0a\x04uuid" + b"\x12\x03B60" + b"\x1a\x0e\x0a\x0c0000:03:00.0" + b"\xa2\x06\x02\x08\x01"
    message = b"\x0a" + bytes([len(later)]) + later
    response = pb.DeviceHealthResponse.FromString(b"\x0a" + bytes([len(message)]) + message)
    assert list(read(response.devices)[0]) == [BDF]
