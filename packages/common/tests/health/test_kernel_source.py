"""The source that reads sysfs: at once what is new, again and again what is not, and never held up by what hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dra_common.errors import HostError
from dra_common.health import KernelSource
from dra_common.host import RealHost, Roots
from dra_common.model import Finding, Severity, TaintEffect
from dra_common.ports import Host, Report, Uevent
from dra_common.testing.waiting import wait_until

GPU = "0000:03:00.0"
FINE = Finding("kernel", Severity.OK)
HOT = Finding("temperature", Severity.CRITICAL, "hot")


class Knowledge:
    """A driver's: a device is a name in a folder, and what it says is its sign."""

    def __init__(self) -> None:
        self.signs_of: Callable[[str], tuple[Finding, ...]] = lambda _: (FINE,)
        self.looks = 0

    def names(self, hardware: str) -> tuple[str, ...]:
        return (hardware,)

    def effect(self, hardware: str, default: TaintEffect | None) -> TaintEffect | None:
        raise NotImplementedError

    def signs(self, hardware: str, host: Host) -> tuple[Finding, ...]:
        self.looks += 1
        return self.signs_of(hardware)


@pytest.fixture
def knowledge() -> Knowledge:
    return Knowledge()


@pytest.fixture
def rings() -> threading.Semaphore:
    return threading.Semaphore(0)


Start = Callable[..., KernelSource]


@pytest.fixture
def start(tmp_path: Path, knowledge: Knowledge, rings: threading.Semaphore) -> Iterator[Start]:
    sources = []

    def make(every: float = 3600.0, hold: float = 3600.0) -> KernelSource:
        host = RealHost(Roots(sysfs=str(tmp_path)))
        source = KernelSource(knowledge, host, every=every, hold=hold)
        sources.append(source)
        assert source.report() is None
        source.start(lambda: rings.release())  # noqa: PLW0108 - release takes a number
        return source

    yield make
    for source in sources:
        source.stop()


def count(root: Path, fatal: int, nonfatal: int = 0) -> None:
    folder = root / "bus/pci/devices" / GPU
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "aer_dev_fatal").write_text(f"DLP {fatal}\nTOTAL_ERR_FATAL {fatal}\n")
    (folder / "aer_dev_nonfatal").write_text(f"DLP {nonfatal}\nTOTAL_ERR_NONFATAL {nonfatal}\n")


def whats(source: KernelSource, name: str = GPU) -> list[str]:
    report = source.report()
    return [finding.what for finding in report.findings.get(name, ())] if report else []


def test_what_is_new_is_known_when_seen_returns(start: Start, knowledge: Knowledge) -> None:
    source = start()
    assert source.report() == Report()
    source.seen({"a": GPU})
    assert source.report() == Report({GPU: (FINE,)})
    source.seen({"a": GPU})
    assert knowledge.looks == 1
    source.seen({"a": GPU, "b": "no address"})
    assert source.report() == Report({GPU: (FINE,), "b": (FINE,)})


def test_it_looks_again_by_itself_and_rings_when_something_changed(
    start: Start, knowledge: Knowledge, rings: threading.Semaphore
) -> None:
    source = start(every=0.01)
    source.seen({"a": GPU})
    assert rings.acquire(timeout=60)
    knowledge.signs_of = lambda _: (FINE, HOT)
    assert rings.acquire(timeout=60)
    assert whats(source) == ["kernel", "temperature"]
    before = knowledge.looks
    wait_until(lambda: knowledge.looks > before + 3, "some more looks")
    assert not rings.acquire(blocking=False)


def test_a_device_with_nothing_to_go_by_is_not_in_the_report(start: Start, knowledge: Knowledge) -> None:
    knowledge.signs_of = lambda _: ()
    source = start()
    source.seen({"a": GPU})
    assert source.report() == Report()


@pytest.mark.defect(15)
def test_a_device_that_cannot_be_read_is_unknown_and_why(start: Start, knowledge: Knowledge) -> None:
    def fail(_: str) -> tuple[Finding, ...]:
        raise HostError("no permission")

    knowledge.signs_of = fail
    source = start()
    source.seen({"a": GPU})
    assert source.report() == Report({GPU: (Finding("sysfs", Severity.UNKNOWN, "no permission"),)})


def test_a_defect_does_not_end_its_thread(start: Start, knowledge: Knowledge) -> None:
    def fail(_: str) -> tuple[Finding, ...]:
        raise RuntimeError

    knowledge.signs_of = fail
    source = start(every=0.01)
    source.seen({"a": GPU})
    knowledge.signs_of = lambda _: (FINE,)
    wait_until(lambda: whats(source) == ["kernel"], "another look")


def test_fatal_errors_stay_until_the_function_is_bound_again(start: Start, tmp_path: Path) -> None:
    count(tmp_path, 5)
    source = start(every=0.01)
    source.seen({"a": GPU})
    assert whats(source) == ["kernel"]
    count(tmp_path, 6, 1)
    wait_until(lambda: whats(source) == ["kernel", "pcie-fatal", "pcie-nonfatal"], "both errors")
    source.heard(Uevent("bind", f"/devices/pci0000:00/{GPU}", "pci"))
    wait_until(lambda: whats(source) == ["kernel"], "the function to be as new")


def test_an_error_that_passed_is_told_for_a_while(start: Start, tmp_path: Path) -> None:
    count(tmp_path, 0)
    source = start(every=0.01, hold=0.3)
    source.seen({"a": GPU})
    count(tmp_path, 0, 1)
    wait_until(lambda: whats(source) == ["kernel", "pcie-nonfatal"], "the error")
    wait_until(lambda: whats(source) == ["kernel"], "the error to pass")


def test_an_event_is_known_soon_and_ends_with_the_driver(start: Start, rings: threading.Semaphore) -> None:
    source = start()
    source.seen({"a": GPU})
    assert rings.acquire(timeout=60)
    place = f"/devices/pci0000:00/{GPU}"
    source.heard(Uevent("change", f"{place}/drm/card0", "drm", {"WEDGED": "rebind"}))
    assert rings.acquire(timeout=60)
    assert whats(source) == ["kernel", "wedged"]
    source.heard(Uevent("unbind", place, "pci"))
    assert rings.acquire(timeout=60)
    assert whats(source) == ["kernel"]


def test_a_look_that_hangs_holds_up_nobody_and_leaves_the_source_away(
    start: Start, knowledge: Knowledge
) -> None:
    source = start(every=0.05)
    source.seen({"a": GPU})
    entered, leave = threading.Event(), threading.Event()

    def hang(_: str) -> tuple[Finding, ...]:
        entered.set()
        leave.wait(60)
        return (FINE,)

    knowledge.signs_of = hang
    assert entered.wait(60)

    def away() -> str:
        report = source.report()
        return report.away if report else ""

    wait_until(lambda: "hangs in the kernel" in away(), "the source to be away")
    source.seen({"a": GPU, "b": "0000:04:00.0"})
    leave.set()
    wait_until(lambda: not away(), "the source to be back")
