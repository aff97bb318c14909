"""The monitor: verdicts of all sources, each change told once, and nobody waited for too long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from dra_common.health import HealthMonitor, Policy
from dra_common.model import DeviceHealth, Finding, HealthState, Severity, TaintEffect
from dra_common.ports import Report
from dra_common.telemetry import HEALTH_CHANGES, Reason, Row
from dra_common.testing.waiting import wait_until

FINE = (Finding("all", Severity.OK),)
BROKEN = (Finding("memory", Severity.CRITICAL, "gone"),)
NOBODY: frozenset[str] = frozenset()


class Source:
    """Says what a test wants."""

    def __init__(self, name: str, report: Report | None = None) -> None:
        self.name, self.said, self.stopped = name, report, False
        self.changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def stop(self) -> None:
        self.stopped = True

    def report(self) -> Report | None:
        return self.said

    def say(self, report: Report) -> None:
        self.said = report
        self.changed()


class Notebook:
    """A telemetry that writes down what it is told."""

    def __init__(self) -> None:
        self.counts: dict[str, float] = {}
        self.events: list[tuple[Reason, str]] = []

    def count(self, row: Row, amount: float = 1, /, **labels: str) -> None:
        assert row is HEALTH_CHANGES
        self.counts[labels["state"]] = self.counts.get(labels["state"], 0) + amount

    def observe(self, row: Row, value: float, /, **labels: str) -> None:
        raise NotImplementedError

    def event(self, reason: Reason, note: str) -> None:
        self.events.append((reason, note))


@pytest.fixture
def told() -> Notebook:
    return Notebook()


@pytest.fixture
def one() -> Source:
    return Source("one", Report({"a": FINE, "0000:03:00.0": FINE}))


@pytest.fixture
def two() -> Source:
    return Source("two", Report())


@pytest.fixture
def monitor(one: Source, two: Source, told: Notebook) -> Iterator[HealthMonitor]:
    names = {"b": ("0000:03:00.0",)}
    monitor = HealthMonitor(
        [one, two],
        policy=lambda device: Policy(
            effect=TaintEffect.NO_SCHEDULE if device == "b" else TaintEffect.NO_EXECUTE
        ),
        names=lambda device: names.get(device, ()),
        telemetry=told,
    )
    yield monitor
    monitor.stop()
    assert one.stopped
    assert two.stopped


def states(monitor: HealthMonitor, *, gone: frozenset[str] = NOBODY) -> dict[str, str]:
    return {name: str(health.state) for name, health in monitor.diagnose(["a", "b", "c"], gone).items()}


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return said


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dra_common.health")


def test_devices_are_judged_by_all_sources_and_by_their_own_policy(
    monitor: HealthMonitor, two: Source
) -> None:
    assert states(monitor) == {"a": "Healthy", "b": "Healthy", "c": "Unknown"}
    two.said = Report({"a": BROKEN, "b": BROKEN})
    healths = monitor.diagnose(["a", "b"], NOBODY)
    assert [health.effect for health in healths.values()] == [TaintEffect.NO_EXECUTE, TaintEffect.NO_SCHEDULE]
    assert monitor.board.healths == healths


def test_a_device_that_is_not_found_is_unhealthy_whatever_sources_say(monitor: HealthMonitor) -> None:
    healths = monitor.diagnose(["a"], frozenset({"a"}))
    assert (healths["a"].state, healths["a"].reason) == (HealthState.UNHEALTHY, "absent")


def test_one_line_one_event_and_one_count_for_each_change(
    monitor: HealthMonitor, two: Source, told: Notebook, caplog: pytest.LogCaptureFixture
) -> None:
    states(monitor)
    assert lines(caplog) == []
    assert told.counts == {"unknown": 0, "healthy": 2, "unhealthy": 0}
    two.said = Report({"a": BROKEN})
    for _ in range(3):
        states(monitor)
    said = "a is unhealthy: memory (critical): gone"
    assert lines(caplog) == [said]
    two.said = Report({"a": (Finding("memory", Severity.CRITICAL, "gone, and a number that moves"),)})
    states(monitor)
    assert lines(caplog) == []
    two.said = Report({"a": (*BROKEN, Finding("bus", Severity.FAILED))})
    states(monitor)
    worse = "a is unhealthy: bus (failed); memory (critical): gone"
    assert lines(caplog) == [worse]
    two.said = Report()
    states(monitor)
    assert lines(caplog) == ["a is healthy again"]
    assert told.counts == {"unknown": 0, "healthy": 3, "unhealthy": 1}
    assert told.events == [
        (Reason.DEVICE_UNHEALTHY, said),
        (Reason.DEVICE_UNHEALTHY, worse),
        (Reason.DEVICE_RECOVERED, "a is healthy again"),
    ]


def test_who_vouched_for_a_device_and_goes_leaves_it_unknown(
    monitor: HealthMonitor, one: Source, caplog: pytest.LogCaptureFixture
) -> None:
    one.said = Report({"a": BROKEN, "0000:03:00.0": FINE})
    assert states(monitor) == {"a": "Unhealthy", "b": "Healthy", "c": "Unknown"}
    lines(caplog)
    one.said = Report(one.said.findings, away="it does not answer")
    for _ in range(3):
        assert states(monitor) == {"a": "Unhealthy", "b": "Unknown", "c": "Unknown"}
    assert lines(caplog) == ["health source one cannot tell, going on without it: it does not answer"]
    assert monitor.connected() == {("one",): 0.0, ("two",): 1.0}
    one.said = Report({"a": FINE, "0000:03:00.0": FINE})
    assert states(monitor) == {"a": "Healthy", "b": "Healthy", "c": "Unknown"}
    assert lines(caplog) == ["health source one is back", "a is healthy again"]


def test_a_start_waits_for_the_first_word_of_each(monitor: HealthMonitor, one: Source) -> None:
    word, one.said = one.said, None
    assert word
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(monitor.watch, 60)
        one.say(word)
        watching.result(60)
    assert states(monitor)["a"] == "Healthy"


def test_a_source_without_a_word_is_not_waited_for_too_long(monitor: HealthMonitor, one: Source) -> None:
    one.said = None
    monitor.watch(0.01)
    assert states(monitor) == {"a": "Unknown", "b": "Unknown", "c": "Unknown"}
    assert monitor.connected() == {("one",): 0.0, ("two",): 1.0}


def test_a_change_is_taken_in_by_a_thread_that_nothing_ends(monitor: HealthMonitor, two: Source) -> None:
    seen: list[str] = []

    def refresh() -> None:
        seen.append(states(monitor)["a"])
        if len(seen) == 1:
            raise RuntimeError

    monitor.watch(60)
    monitor.start(refresh)
    two.say(Report({"a": BROKEN}))
    wait_until(lambda: seen == ["Unhealthy"], "the change")
    two.say(Report())
    wait_until(lambda: seen == ["Unhealthy", "Healthy"], "the next change")
    assert monitor.why_dead() == ""


def test_memory_is_what_any_source_knows_of_the_device_itself(two: Source) -> None:
    names = {"b": ("0000:03:00.0",), "vf": ("0000:03:00.1", "0000:03:00.0")}
    monitor = HealthMonitor([two], policy=lambda _: Policy(), names=lambda device: names.get(device, ()))
    two.said = Report(memory={"0000:03:00.0": 2**30}, away="gone, but memory does not change")
    found = monitor.diagnose(["a", "b", "vf"], NOBODY)
    assert {name: health.memory for name, health in found.items()} == {"a": None, "b": 2**30, "vf": None}


def test_attributes_are_what_sources_know_of_the_device_itself(one: Source, two: Source) -> None:
    names = {"b": ("0000:03:00.0",), "vf": ("0000:03:00.1", "0000:03:00.0")}
    monitor = HealthMonitor([one, two], policy=lambda _: Policy(), names=lambda device: names.get(device, ()))
    one.said = Report(attributes={"b": {"serial": "1"}})
    two.said = Report(attributes={"0000:03:00.0": {"uuid": "2"}})
    found = monitor.diagnose(["a", "b", "vf"], NOBODY)
    told = {name: health.attributes for name, health in found.items()}
    assert told == {"a": {}, "b": {"serial": "1", "uuid": "2"}, "vf": {}}


@pytest.mark.parametrize("optional", [True, False])
def test_a_source_that_stays_away_is_told_to_the_cluster_once(
    two: Source, told: Notebook, monkeypatch: pytest.MonkeyPatch, *, optional: bool
) -> None:
    monkeypatch.setattr("dra_common.health.monitor.PATIENCE", 0.0)
    monitor = HealthMonitor([two], policy=lambda _: Policy(), optional=optional, telemetry=told)
    for _ in range(2):
        two.said = Report(away="no such socket")
        for _ in range(3):
            monitor.diagnose(["a"], NOBODY)
        two.said = Report()
        monitor.diagnose(["a"], NOBODY)
    event = (Reason.HEALTH_SOURCE_AWAY, "health source two is away: no such socket")
    assert told.events == ([] if optional else [event, event])


def test_nothing_is_known_of_health_without_sources(told: Notebook) -> None:
    monitor = HealthMonitor([], policy=lambda _: Policy(), telemetry=told)
    monitor.watch(60)
    assert monitor.diagnose(["a"], NOBODY) == {"a": DeviceHealth()}
    monitor.stop()
