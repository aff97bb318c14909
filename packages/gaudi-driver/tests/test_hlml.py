"""Health and identity by the management library; to the source the fake in C and the simulated one are the same."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dra_common.health import HealthMonitor
from dra_common.health import Policy as HealthPolicy
from dra_common.host.tree import FileTree
from dra_common.model import Finding, HealthState, Severity
from dra_common.pacing import Backoff
from dra_common.ports import Report
from dra_common.settings import HostSettings, Settings
from dra_common.testing.waiting import wait_until
from gaudi_driver.hlml import open_source
from gaudi_driver.hlml.library import (
    CODES,
    CRITICAL,
    DRAM,
    ECC_DOUBLE,
    TIMEOUT,
    Library,
    Occurrence,
    refused,
)
from gaudi_driver.hlml.machine import Machine
from gaudi_driver.hlml.native import open_library
from gaudi_driver.hlml.simulated import SimulatedLibrary
from gaudi_driver.hlml.source import HlmlSource, Pace
from gaudi_driver.simulation import SIMULATION
from gaudi_hlml import BDFS, GIB, HlmlFolder
from gaudi_machines import write_profile
from machines import folder, machines

BDF, *OTHERS = BDFS
CLOCK, ECC_SINGLE = 1 << 2, 1 << 4
OK = Finding("hlml", Severity.OK)
QUICK = Pace(wait=0.02, grace=0.0, hang=60.0, proof=0.0)

FUNCTIONS = (
    "init",
    "shutdown",
    "device_get_count",
    "device_get_handle_by_index",
    "device_get_handle_by_pci_bus_id",
    "device_get_pci_info",
    "device_get_serial",
    "device_get_uuid",
    "device_get_module_id",
    "device_get_memory_info",
    "event_set_create",
    "device_register_events",
    "event_set_wait",
    "event_set_free",
)
WHOLE = {"init", "device_get_count", "event_set_create", "event_set_wait"}
"""What fails for all devices, if it fails."""


class Rig:
    """A source of the management library of a made-up machine."""

    def __init__(self, hlml: HlmlFolder, load: Callable[[], Library]) -> None:
        self.hlml, self._load = hlml, load
        self.loads = self.rounds = 0
        self.interval = 0.02
        self.rings = threading.Semaphore(0)
        self.sources: list[HlmlSource] = []

    def make(self, pace: Pace = QUICK) -> HlmlSource:
        machine = Machine(FileTree(str(self.hlml.sysfs)))
        source = HlmlSource(self._counted, machine, self._asked, pace=pace, backoff=Backoff(0.01, 0.05))
        self.sources.append(source)
        return source

    def _counted(self) -> Library:
        self.loads += 1
        return self._load()

    def _asked(self) -> float:
        self.rounds += 1
        return self.interval

    def start(self, pace: Pace = QUICK) -> HlmlSource:
        source = self.make(pace)
        assert source.report() is None
        source.start(lambda: self.rings.release())  # noqa: PLW0108 - release takes a number
        return source

    def fine(self, pace: Pace = QUICK) -> HlmlSource:
        """Start one, and wait until it says that all devices are fine."""
        source = self.start(pace)
        wait_for(source, dict.fromkeys(BDFS, (OK,)))
        return source


@pytest.fixture(params=["c", "python"])
def rig(
    request: pytest.FixtureRequest, hlml: HlmlFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rig]:
    if request.param == "python":
        rig = Rig(hlml, lambda: SimulatedLibrary(hlml.folder))
    else:
        monkeypatch.setenv("FAKE_HLML", str(hlml.folder))
        shutil.copy(request.getfixturevalue("fake_hlml"), tmp_path / "libhlml.so")
        rig = Rig(hlml, lambda: open_library([str(tmp_path)], "libhlml.so"))
    yield rig
    for source in rig.sources:
        source.stop()
        source.stop()


def wait_for(source: HlmlSource, findings: dict[str, tuple[Finding, ...]]) -> Report:
    """Return the first report that says this, and is not away."""

    def said() -> Report | None:
        report = source.report()
        return report if report and report.findings == findings and not report.away else None

    report = wait_until(said, f"{findings}, not {source.report()}")
    assert report
    return report


def wait_away(source: HlmlSource) -> str:
    return wait_until(lambda: (report := source.report()) and report.away, "the library to be away") or ""


def wait_severity(source: HlmlSource, bdf: str, severity: Severity) -> Finding:
    """Return what is said of a device once this is the worst, while the others are fine."""

    def worst() -> Finding | None:
        report = source.report()
        if report is None or bdf not in report.findings:
            return None
        found = max(report.findings[bdf], key=lambda one: one.severity)
        assert all(report.findings[other] == (OK,) for other in BDFS if other != bdf)
        return found if found.severity is severity else None

    found = wait_until(worst, f"{bdf} to be {severity.name}, not {source.report()}")
    assert found
    return found


def all_reports(source: HlmlSource) -> list[Report]:
    """Start a source and return a list that will have every report."""
    reports: list[Report] = []
    source.start(lambda: reports.append(source.report() or Report()))
    return reports


def looks(source: HlmlSource, hlml: HlmlFolder, times: int = 2) -> None:
    """Wait until the devices were looked at again: a serial number that changes says so."""
    for number in range(times):
        hlml.tell(BDFS[-1], "serial", f"LOOK{number}")
        wait_until(lambda: serials(source).get(BDFS[-1]) == f"LOOK{number}", "another look")  # noqa: B023 - at once


def serials(source: HlmlSource) -> dict[str, object]:
    report = source.report() or Report()
    return {bdf: told["serial"] for bdf, told in report.attributes.items() if "serial" in told}


# --------------------------------------------------------------------- what it tells


def test_devices_that_are_fine_with_who_they_are(rig: Rig) -> None:
    report = wait_for(rig.start(), dict.fromkeys(BDFS, (OK,)))
    assert report.memory == dict.fromkeys(BDFS, 96 * GIB)
    assert report.attributes == {
        bdf: {"serial": f"AM5001613{number}", "uuid": f"01P0-HL2080A0-15-TF8A81-09-07-0{number}"}
        for number, bdf in enumerate(BDFS)
    }
    assert rig.rings.acquire(timeout=60)
    rounds = rig.rounds
    wait_until(lambda: rig.rounds > rounds + 5, "some more looks")
    # Nothing that was not told before.
    assert not rig.rings.acquire(blocking=False)


def test_what_a_board_does_not_have_is_left_out(rig: Rig) -> None:
    for name in ("serial", "uuid", "module_id", "memory_total"):
        (rig.hlml.folder / "devices" / BDF / name).unlink()
    report = rig.fine().report()
    assert report
    assert BDF not in report.attributes
    assert BDF not in report.memory
    assert set(report.attributes) == set(report.memory) == set(OTHERS)


@pytest.mark.parametrize("text", ["", "A" * 65, "caf\u00e9", "a\tb"])
def test_a_text_that_may_not_be_published_is_left_out(hlml: HlmlFolder, text: str) -> None:
    (hlml.folder / "devices" / BDF / "serial").write_bytes(text.encode())
    library = SimulatedLibrary(hlml.folder)
    with pytest.MonkeyPatch.context() as patch:
        # The simulated one knows ASCII only; the library itself may say anything.
        patch.setattr(library, "device_get_serial", lambda _: text)
        rig = Rig(hlml, lambda: library)
        source = rig.fine()
        source.stop()
    assert serials(source) == {}


def test_a_device_of_which_one_thing_cannot_be_read_keeps_what_was_known(rig: Rig) -> None:
    source = rig.fine()
    before = source.report()
    for function in ("serial", "uuid", "module_id", "memory_info"):
        rig.hlml.fail(f"device_get_{function}", 21, BDF)
    looks(source, rig.hlml)
    after = source.report()
    assert before
    assert after
    assert after.attributes[BDF] == before.attributes[BDF]
    assert after.memory == before.memory
    assert after.findings == before.findings


def test_a_device_that_only_the_library_knows_and_one_that_only_the_kernel_knows(rig: Rig) -> None:
    rig.hlml.unbind(BDF)
    rig.hlml.bind("0000:ff:00.0")
    report = rig.fine().report()
    assert report
    assert set(report.attributes) == set(BDFS)


def test_a_device_that_comes_and_one_that_goes(rig: Rig) -> None:
    source = rig.fine()
    rig.hlml.add("0000:cd:00.0")
    wait_for(source, dict.fromkeys([*BDFS, "0000:cd:00.0"], (OK,)))
    rig.hlml.unbind(BDF)
    shutil.rmtree(rig.hlml.folder / "devices" / BDF)
    wait_for(source, dict.fromkeys([*OTHERS, "0000:cd:00.0"], (OK,)))


# --------------------------------------------------------------------- what fails


@pytest.mark.defect(15)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_that_fails_makes_nobody_unhealthy_and_is_over_when_it_is_over(
    rig: Rig, function: str
) -> None:
    for code in CODES:
        rig.hlml.fail(function, code)
        source = rig.make()
        reports = all_reports(source)
        # A wait that is over without an event is what it should be.
        if function in WHOLE and (function, code) != ("event_set_wait", TIMEOUT):
            # What the library has begun already is gone on with, if it has.
            said = (function, code) if (function, code) != ("init", 5) else ("device_get_count", 1)
            assert wait_away(source).startswith(f"hlml_{said[0]} returned {said[1]}: ")
        else:
            wait_until(source.report, f"a report while {function} returns {code}")
        rig.hlml.mend(function)
        wait_for(source, dict.fromkeys(BDFS, (OK,)))
        source.stop()
        assert all(
            one.severity <= Severity.OK
            for report in reports
            for told in report.findings.values()
            for one in told
        )


@pytest.mark.defect(15)
@pytest.mark.parametrize("code", [2, 15, 21, 49])
@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name.startswith("device_")])
def test_what_fails_for_one_device_is_said_of_that_one(rig: Rig, function: str, code: int) -> None:
    rig.hlml.fail(function, code, BDF)
    source = rig.make()
    reports = all_reports(source)
    others = dict.fromkeys(OTHERS, (OK,))
    # Whoever cannot be found by number is found by address.
    said = Finding("hlml", Severity.UNKNOWN, f"hlml_{function} of {BDF} returned {code}: {CODES[code]}")
    deaf = function == "device_register_events"
    wait_for(source, {BDF: (said if deaf else OK,), **others})
    looks(source, rig.hlml)
    rig.hlml.mend(function, BDF)
    wait_for(source, {BDF: (OK,), **others})
    source.stop()
    assert all(report.findings[bdf] == (OK,) for report in reports for bdf in OTHERS)
    assert not any(report.away for report in reports)


def test_a_device_that_is_found_in_no_way_is_unknown(rig: Rig) -> None:
    rig.hlml.fail("device_get_handle_by_index", 15, BDF)
    rig.hlml.fail("device_get_handle_by_pci_bus_id", 15, BDF)
    source = rig.start()
    message = f"hlml_device_get_handle_by_pci_bus_id of {BDF} returned 15: device lost"
    wait_for(source, {BDF: (Finding("hlml", Severity.UNKNOWN, message),), **dict.fromkeys(OTHERS, (OK,))})
    rig.hlml.mend("device_get_handle_by_index", BDF)
    wait_for(source, dict.fromkeys(BDFS, (OK,)))


@pytest.mark.defect(7)
@pytest.mark.parametrize("function", ["device_get_count", "event_set_wait"])
def test_a_library_that_fails_while_it_runs_is_away_and_comes_back(rig: Rig, function: str) -> None:
    source = rig.fine()
    known = source.report()
    rig.hlml.fail(function, 9)
    said = wait_away(source)
    assert said == (
        f"hlml_{function} returned 9: driver not loaded (load the kernel module habanalabs on the host)"
    )
    report = source.report()
    assert known
    assert report
    assert (report.attributes, report.memory) == (known.attributes, known.memory)
    rig.hlml.mend(function)
    wait_for(source, dict.fromkeys(BDFS, (OK,)))


def test_a_failure_that_is_soon_over_is_not_told(rig: Rig) -> None:
    source = rig.make(Pace(wait=0.02, grace=3600.0))
    reports = all_reports(source)
    wait_for(source, dict.fromkeys(BDFS, (OK,)))
    for function in ("event_set_wait", "device_get_count"):
        failures = rig.loads
        rig.hlml.fail(function, 49)
        rig.hlml.tell(BDF, "serial", f"AFTER-{function}")
        wait_until(lambda: rig.loads > failures + 2, "it to be tried again and again")  # noqa: B023 - at once
        rig.hlml.mend(function)
        wait_until(lambda: serials(source)[BDF] == f"AFTER-{function}", "it to go on")  # noqa: B023 - at once
    assert not any(report.away for report in reports)


def test_who_devices_are_is_told_by_a_library_without_events(rig: Rig) -> None:
    rig.hlml.fail("event_set_create", 3)
    source = rig.start()
    assert "hlml_event_set_create returned 3: not supported" in wait_away(source)
    assert set(serials(source)) == set(BDFS)


def test_devices_that_cannot_be_listened_to_are_looked_at(rig: Rig) -> None:
    rig.hlml.fail("device_register_events", 3)
    source = rig.start()
    wait_until(lambda: set(serials(source)) == set(BDFS), "who they are")
    looks(source, rig.hlml)
    report = source.report()
    assert report
    assert not report.away
    assert {one.severity for told in report.findings.values() for one in told} == {Severity.UNKNOWN}


def test_nobody_waits_for_events_of_no_device(hlml: HlmlFolder) -> None:
    class Strict(SimulatedLibrary):
        def event_set_wait(self, events: int, milliseconds: int) -> Occurrence:
            if not self._sets[events].devices:
                raise refused("event_set_wait", 2)
            return super().event_set_wait(events, milliseconds)

    shutil.rmtree(hlml.folder / "devices")
    rig = Rig(hlml, lambda: Strict(hlml.folder))
    source = rig.start()
    wait_for(source, {})
    (hlml.folder / "devices").mkdir()
    hlml.add("0000:cd:00.0")
    wait_for(source, {"0000:cd:00.0": (OK,)})
    source.stop()


# --------------------------------------------------------------------- events


@pytest.mark.defect(15)
def test_a_critical_error_counts_until_the_device_was_reset_and_works(rig: Rig) -> None:
    source = rig.fine()
    rig.hlml.event(BDF, CRITICAL)
    said = wait_severity(source, BDF, Severity.CRITICAL)
    assert said.what == "CriticalError"
    assert "HLML reported a critical error; it counts until the kernel has reset the device" in said.message
    assert said.message.endswith("(serial AM50016130, module 1)")
    looks(source, rig.hlml)
    wait_severity(source, BDF, Severity.CRITICAL)
    rig.hlml.kernel(BDF, "status", "In reset")
    rig.hlml.kernel(BDF, "hard_reset_cnt", "1")
    looks(source, rig.hlml)
    wait_severity(source, BDF, Severity.CRITICAL)
    rig.hlml.kernel(BDF, "status", "operational")
    wait_for(source, dict.fromkeys(BDFS, (OK,)))
    rig.hlml.event(BDF, CRITICAL)
    wait_severity(source, BDF, Severity.CRITICAL)


def test_a_kernel_driver_that_is_bound_anew_has_reset_the_device(rig: Rig) -> None:
    source = rig.fine()
    rig.hlml.event(BDF, CRITICAL)
    wait_severity(source, BDF, Severity.CRITICAL)
    rig.hlml.unbind(BDF)
    looks(source, rig.hlml)
    wait_severity(source, BDF, Severity.CRITICAL)
    rig.hlml.bind(BDF)
    wait_for(source, dict.fromkeys(BDFS, (OK,)))


def test_after_its_reset_a_device_has_to_work_for_a_while(rig: Rig) -> None:
    source = rig.fine(Pace(wait=0.02, proof=3600.0, hold=0.0))
    rig.hlml.event(BDF, CRITICAL)
    wait_severity(source, BDF, Severity.CRITICAL)
    rig.hlml.kernel(BDF, "hard_reset_cnt", "1")
    looks(source, rig.hlml)
    wait_severity(source, BDF, Severity.CRITICAL)


def test_a_critical_error_outlives_a_library_that_goes_away(rig: Rig) -> None:
    source = rig.fine()
    rig.hlml.event(BDF, CRITICAL)
    wait_severity(source, BDF, Severity.CRITICAL)
    rig.hlml.fail("device_get_count", 49)
    wait_away(source)
    wait_severity(source, BDF, Severity.CRITICAL)
    rig.hlml.mend("device_get_count")
    wait_until(lambda: not (source.report() or Report(away="x")).away, "the library to be back")
    wait_severity(source, BDF, Severity.CRITICAL)


@pytest.mark.parametrize(("mask", "what"), [(ECC_DOUBLE, "ecc-double-bit"), (DRAM, "dram")])
def test_memory_errors_are_warnings_for_a_while(rig: Rig, mask: int, what: str) -> None:
    source = rig.fine()
    rig.hlml.event(BDF, mask)
    assert wait_severity(source, BDF, Severity.WARNING).what == what
    source.stop()
    source = rig.make(Pace(wait=0.02, hold=0.0))
    reports = all_reports(source)
    wait_for(source, dict.fromkeys(BDFS, (OK,)))
    rig.hlml.event(BDF, mask)
    wait_until(lambda: any(len(report.findings[BDF]) > 1 for report in reports), "the event")
    wait_for(source, dict.fromkeys(BDFS, (OK,)))


def test_what_is_daily_life_is_no_finding(rig: Rig) -> None:
    source = rig.make()
    reports = all_reports(source)
    wait_for(source, dict.fromkeys(BDFS, (OK,)))
    for mask in (CLOCK, ECC_SINGLE, CLOCK | ECC_SINGLE):
        rig.hlml.event(BDF, mask)
    rig.hlml.event(OTHERS[0], CLOCK | CRITICAL)
    # Each device's events come in order, so those of the first were passed over, or will be.
    wait_severity(source, OTHERS[0], Severity.CRITICAL)
    looks(source, rig.hlml)
    assert all(report.findings[BDF] == (OK,) for report in reports)


@pytest.mark.defect(15)
@pytest.mark.parametrize("function", ["device_get_serial", "device_get_pci_info", "device_get_uuid"])
def test_an_event_is_of_its_device_whatever_cannot_be_read_of_it(rig: Rig, function: str) -> None:
    """Intel's Go driver takes all devices for unhealthy if the serial number of one cannot be read."""
    rig.hlml.fail(function, 49, BDF)
    source = rig.fine()
    rig.hlml.event(BDF, CRITICAL)
    wait_severity(source, BDF, Severity.CRITICAL)


def test_an_event_of_a_device_without_a_name_is_told_once_and_is_nobodys(
    hlml: HlmlFolder, caplog: pytest.LogCaptureFixture
) -> None:
    class Nameless(SimulatedLibrary):
        def event_set_wait(self, events: int, milliseconds: int) -> Occurrence:
            found = super().event_set_wait(events, milliseconds)
            return Occurrence(99 if found.handle == 1 else found.handle, found.mask)

    rig = Rig(hlml, lambda: Nameless(hlml.folder))
    source = rig.make()
    reports = all_reports(source)
    wait_for(source, dict.fromkeys(BDFS, (OK,)))
    for _ in range(3):
        hlml.event(BDF, CRITICAL)
    hlml.event(OTHERS[0], CRITICAL)
    wait_severity(source, OTHERS[0], Severity.CRITICAL)
    looks(source, hlml)
    source.stop()
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == ["HLML: an event (bits 0x2) of a device that it does not name"]
    assert all(report.findings[BDF] == (OK,) for report in reports)


def test_a_library_that_looks_for_devices_at_its_start_only_is_started_again(hlml: HlmlFolder) -> None:
    class Lazy(SimulatedLibrary):
        def init(self) -> None:
            super().init()
            self._first = super()._devices()

        def _devices(self) -> list[str]:
            return self._first

    rig = Rig(hlml, lambda: Lazy(hlml.folder))
    source = rig.fine()
    hlml.add("0000:cd:00.0")
    wait_for(source, dict.fromkeys([*BDFS, "0000:cd:00.0"], (OK,)))
    source.stop()


def test_a_library_that_was_begun_already_is_gone_on_with(hlml: HlmlFolder) -> None:
    library = SimulatedLibrary(hlml.folder)
    library.init()
    Rig(hlml, lambda: library).fine().stop()


def test_an_older_library_is_asked_for_what_it_knows(hlml: HlmlFolder) -> None:
    class Older(SimulatedLibrary):
        def device_register_events(self, handle: int, mask: int, events: int) -> None:
            if mask & DRAM:
                raise refused("device_register_events", 2)
            super().device_register_events(handle, mask, events)

    rig = Rig(hlml, lambda: Older(hlml.folder))
    source = rig.fine()
    hlml.event(BDF, CRITICAL)
    wait_severity(source, BDF, Severity.CRITICAL)
    source.stop()


# --------------------------------------------------------------------- a library that is missing, late, or hangs


def test_a_missing_library_is_told_once_with_what_to_do(
    hlml: HlmlFolder, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    rig = Rig(hlml, lambda: open_library([str(tmp_path / "nowhere")], "libnone.so"))
    source = rig.make()
    caplog.set_level(logging.INFO)
    monitor = HealthMonitor([source], policy=lambda _: HealthPolicy())
    monitor.watch(60.0)
    healths = monitor.diagnose(list(BDFS), frozenset())
    for tries in range(5):
        wait_until(lambda: rig.loads > tries, "another try")  # noqa: B023 - at once
        healths = monitor.diagnose(list(BDFS), frozenset())
    monitor.stop()
    assert {health.state for health in healths.values()} == {HealthState.UNKNOWN}
    assert len(caplog.messages) == 1
    assert "health source hlml cannot tell, going on without it: there is no libnone.so in" in caplog.text
    assert "install Habana's firmware tools on the host" in caplog.text
    assert "--health-sources sysfs" in caplog.text


def test_a_library_that_is_installed_later_is_found(
    fake_hlml: Path, hlml: HlmlFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_HLML", str(hlml.folder))
    rig = Rig(hlml, lambda: open_library([str(tmp_path / "late")], "libhlml.so"))
    source = rig.start()
    assert "there is no libhlml.so" in wait_away(source)
    (tmp_path / "late").mkdir()
    shutil.copy(fake_hlml, tmp_path / "late" / "new")
    (tmp_path / "late" / "new").rename(tmp_path / "late" / "libhlml.so")
    wait_for(source, dict.fromkeys(BDFS, (OK,)))
    source.stop()


def test_the_interval_is_asked_for_each_time(rig: Rig) -> None:
    rig.interval = 3600.0
    source = rig.fine()
    rig.hlml.tell(BDF, "serial", "OTHER")
    # Events are heard all the same, at once.
    rig.hlml.event(BDF, CRITICAL)
    wait_severity(source, BDF, Severity.CRITICAL)
    rounds = rig.rounds
    wait_until(lambda: rig.rounds > rounds + 5, "some time without a look")
    assert serials(source)[BDF] == "AM50016130"
    rig.interval = 0.02
    wait_until(lambda: serials(source)[BDF] == "OTHER", "the next look")


@pytest.mark.parametrize(
    ("function", "step"),
    [
        ("init", "hlml_init"),
        ("device_get_serial", f"the look at {BDF}"),
        ("event_set_wait", "hlml_event_set_wait"),
    ],
)
def test_a_call_that_hangs_is_told_and_stop_returns(rig: Rig, function: str, step: str) -> None:
    if function != "init":
        rig.fine().stop()
    rig.hlml.hang(function)
    source = rig.start(Pace(wait=0.02, hang=0.05))
    said = f"{step} has not ended for more than 0.05 s; look at the kernel log of the host"
    wait_until(lambda: wait_away(source).startswith(said), said)
    source.stop()
    assert source._thread.is_alive()
    rig.hlml.release(function)
    wait_until(lambda: not source._thread.is_alive(), "the thread to end")


def test_a_call_that_hung_and_returned_is_over(rig: Rig) -> None:
    source = rig.fine(Pace(wait=0.02, hang=0.5))
    rig.hlml.event(BDF, CRITICAL)
    wait_severity(source, BDF, Severity.CRITICAL)
    rig.hlml.hang("device_get_count")
    wait_away(source)
    wait_severity(source, BDF, Severity.CRITICAL)
    rig.hlml.release("device_get_count")
    wait_until(lambda: not (source.report() or Report(away="x")).away, "the library to be back")


def test_stop_ends_it_in_the_middle_of_a_wait(rig: Rig) -> None:
    source = rig.fine(Pace())
    source.stop()
    wait_until(lambda: not source._thread.is_alive(), "the thread to end")
    before = source.report()
    rig.hlml.event(BDF, CRITICAL)
    assert source.report() is before


def test_one_that_never_began_can_be_stopped(rig: Rig) -> None:
    source = rig.make()
    source.stop()
    assert source.report() is None


def test_a_defect_of_ours_does_not_end_it(hlml: HlmlFolder, caplog: pytest.LogCaptureFixture) -> None:
    hlml.tell(BDF, "module_id", "three")
    rig = Rig(hlml, lambda: SimulatedLibrary(hlml.folder))
    source = rig.start()
    assert "a defect of this driver: invalid literal for int()" in wait_away(source)
    hlml.tell(BDF, "module_id", "3")
    wait_for(source, dict.fromkeys(BDFS, (OK,)))
    source.stop()
    assert "the management library could not be asked; trying again" in caplog.text


# --------------------------------------------------------------------- the machine


def test_a_kernel_that_counts_nothing_cannot_prove_anything(rig: Rig) -> None:
    (rig.hlml.sysfs / "bus/pci/devices" / BDF / "hard_reset_cnt").unlink()
    source = rig.fine()
    rig.hlml.event(BDF, CRITICAL)
    wait_severity(source, BDF, Severity.CRITICAL)
    rig.hlml.kernel(BDF, "hard_reset_cnt", "1")
    looks(source, rig.hlml)
    wait_severity(source, BDF, Severity.CRITICAL)


def test_no_kernel_driver_at_all(rig: Rig) -> None:
    for bdf in BDFS:
        rig.hlml.unbind(bdf)
    (rig.hlml.sysfs / "bus/pci/drivers/habanalabs").rmdir()
    rig.fine()


def test_a_reset_of_a_simulated_machine_is_a_proof(tmp_path: Path) -> None:
    bdf = "0000:43:00.0"
    with machines(SIMULATION) as boot:
        host = boot(write_profile(tmp_path, "serial: AM1, uuid: U-1, module_id: 5"))
        root = folder(host)
        source = HlmlSource(
            lambda: SimulatedLibrary(root / "hlml"), Machine(host.sysfs), lambda: 0.02, pace=QUICK
        )
        source.start(lambda: None)
        report = wait_for(source, {bdf: (OK,)})
        assert report.attributes == {bdf: {"serial": "AM1", "uuid": "U-1"}}
        assert report.memory == {bdf: 96 * GIB}
        with (root / "hlml/devices" / bdf / "events").open("a") as events:
            events.write(f"{CRITICAL}\n")
        wait_until(lambda: len((source.report() or Report()).findings[bdf]) > 1, "the event")
        host.sysfs.write(f"bus/pci/devices/{bdf}/hard_reset", "1")
        wait_for(source, {bdf: (OK,)})
        host.sysfs.write("bus/pci/drivers/habanalabs/unbind", bdf)
        wait_for(source, {})
        source.stop()


def test_the_source_of_a_simulated_machine_reads_its_folder(hlml: HlmlFolder) -> None:
    root = hlml.folder.parent
    settings = Settings("node-1", host=HostSettings(simulated_root=root))
    source = open_source(settings, lambda: 1.0)
    assert source.name == "hlml"
    source.start(lambda: None)
    wait_until(lambda: (report := source.report()) and set(report.findings) == set(BDFS), "all devices")
    source.stop()


def test_the_source_of_a_real_machine_looks_for_the_library(hlml: HlmlFolder) -> None:
    root = hlml.folder.parent
    host = HostSettings(sysfs_root=root / "sys", devfs_root=root / "dev", procfs_root=root / "proc")
    source = open_source(Settings("node-1", host=host), lambda: 1.0)
    source.start(lambda: None)
    said = wait_until(lambda: (report := source.report()) and report.away, "it to be away")
    source.stop()
    assert said
    assert "there is no libhlml.so in /usr/lib/habanalabs, /usr/local/lib/habanalabs" in said
