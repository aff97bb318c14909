"""From snapshots to slices that the server at hand understands."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest
from dra_common.errors import ClusterError, ServerError, SettingsError, Throttled, Unreachable
from dra_common.model import Device, Snapshot, Taint, TaintEffect
from dra_common.pacing import Backoff
from dra_common.slicer import Slicer
from dra_common.slices import GATES, FeatureName, ServerFeatures, SliceContent, Withdrawn, parse_features
from dra_common.telemetry import PUBLISH_ERRORS, Reason
from dra_common.testing.waiting import wait_until
from notebook import Notebook

DRIVER = "knob.example.com"
WHY = f"the server has no device taints (feature gate DRADeviceTaints) to say {DRIVER}/bad"
TAINTED = Device("b", taints=(Taint(f"{DRIVER}/bad", TaintEffect.NO_SCHEDULE),))


class Published:
    def __init__(self) -> None:
        self.contents: list[Sequence[SliceContent]] = []
        self.happened = threading.Semaphore(0)

    def __call__(self, contents: Sequence[SliceContent]) -> None:
        self.contents.append(contents)
        self.happened.release()

    def names(self) -> list[str]:
        return [str(device["name"]) for content in self.contents[-1] for device in content.devices]


class Server:
    """Tells its version after ``failures`` errors, and which features are off."""

    def __init__(
        self, failures: int = 0, version: tuple[int, int] = (1, 37), off: Sequence[FeatureName] = ()
    ) -> None:
        self.failures, self.version, self.asked = failures, version, 0
        self.off: frozenset[FeatureName] = frozenset(off)
        self.probed: list[frozenset[FeatureName]] = []
        self.silent: ClusterError | None = None
        self.on_probe: Callable[[], object] = lambda: None

    def probe(self, features: Collection[FeatureName]) -> frozenset[FeatureName]:
        self.probed.append(frozenset(features))
        self.on_probe()
        if self.silent:
            raise self.silent
        return self.off & frozenset(features)

    def __call__(self) -> tuple[int, int]:
        self.asked += 1
        if self.asked <= self.failures:
            raise Unreachable("GET /version: connection refused")
        return self.version


def test_nothing_is_published_before_the_version_is_known_and_then_the_newest() -> None:
    published = Published()
    slicer = Slicer(DRIVER, publish=published, version=Server())
    slicer.take(Snapshot(1, (Device("old"),)))
    slicer.take(Snapshot(2, (Device("a"),)))
    assert published.contents == []
    slicer.start()
    assert published.happened.acquire(timeout=60)
    assert published.names() == ["a"]
    slicer.take(Snapshot(3, (Device("a"), Device("c"))))
    assert published.names() == ["a", "c"]
    slicer.stop()


def test_an_api_server_that_is_away_is_asked_again_and_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    published, server = Published(), Server(failures=2)
    slicer = Slicer(DRIVER, publish=published, version=server)
    slicer.take(Snapshot(1, (Device("a"),)))
    with caplog.at_level(logging.WARNING):
        slicer.start()
        assert published.happened.acquire(timeout=60)
    assert server.asked == 3
    assert caplog.text.count("nothing is published until the API server tells its version") == 1


def test_what_the_server_lacks_is_withdrawn_safely_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    published = Published()
    slicer = Slicer(DRIVER, publish=published, version=Server())
    slicer.take(Snapshot(1, (Device("a"), TAINTED)))
    slicer.start()
    assert published.happened.acquire(timeout=60)
    assert published.names() == ["a", "b"]
    with caplog.at_level(logging.WARNING):
        slicer.without(["taints"])
        slicer.take(Snapshot(2, (Device("a"), TAINTED, Device("c"))))
    assert published.names() == ["a", "c"]
    assert caplog.text.count("device b is not published") == 1
    slicer.take(Snapshot(3, (Device("a"), TAINTED), held=frozenset({"b"})))
    assert published.names() == ["a", "b"], "a device in use is not taken out of the slice under its user"


def test_an_old_server_never_gets_what_it_cannot_express() -> None:
    published = Published()
    slicer = Slicer(DRIVER, publish=published, version=Server(version=(1, 34)))
    slicer.take(Snapshot(1, (Device("a"), TAINTED)))
    slicer.start()
    assert published.happened.acquire(timeout=60)
    assert published.names() == ["a"]


def test_a_device_that_breaks_a_rule_is_named_and_what_was_published_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    published = Published()
    slicer = Slicer(DRIVER, publish=published, version=Server())
    slicer.take(Snapshot(1, (Device("a"),)))
    slicer.start()
    assert published.happened.acquire(timeout=60)
    with caplog.at_level(logging.ERROR):
        slicer.take(Snapshot(2, (Device("Not_A_Label"),)))
    assert published.names() == ["a"]
    assert "Not_A_Label" in caplog.text


# ---------------------------------------------------------------------- what the server is, and becomes


def made(server: Server, published: Published, **more: Any) -> Slicer:
    slicer = Slicer(DRIVER, publish=published, version=server, probe=server.probe, **more)
    slicer.take(Snapshot(1, (Device("a"), TAINTED)))
    slicer.start()
    return slicer


@pytest.mark.scenario(64)
def test_64_nothing_is_offered_without_its_taint_before_the_gates_are_known() -> None:
    """Learning it from what was dropped would offer a broken device for a moment."""
    published, server = Published(), Server(off=["taints"])
    slicer = made(server, published)
    assert published.happened.acquire(timeout=60)
    slicer.stop()
    assert [published.names()] == [["a"]]
    assert len(published.contents) == 1
    assert server.probed == [frozenset(GATES)]


@pytest.mark.scenario(64)
def test_64_dropped_fields_are_tried_again_each_hour_and_only_those() -> None:
    published, server = Published(), Server(off=["taints"])
    slicer = made(server, published, every=0.01)
    wait_until(lambda: len(server.probed) > 5, "some hours")
    assert set(server.probed[1:]) == {frozenset({"taints"})}
    assert len(published.contents) == 1, "no update loop"
    server.off = frozenset()
    wait_until(lambda: published.names() == ["a", "b"], "the device that can be tainted now")
    wait_until(lambda: server.probed[-1] == frozenset(), "nothing to ask any more")
    slicer.stop()


def test_what_the_publisher_saw_dropped_is_tried_again_too() -> None:
    published, server = Published(), Server()
    slicer = made(server, published)
    assert published.happened.acquire(timeout=60)
    slicer.without(["taints"])
    assert published.names() == ["a"]
    slicer.without(["taints"])
    assert len(published.contents) == 2
    slicer.look_again()
    wait_until(lambda: published.names() == ["a", "b"], "the device")
    assert server.probed[1] == frozenset({"taints"})
    slicer.stop()


def test_a_control_plane_that_is_upgraded_and_rolled_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="dra_common")
    published, server = Published(), Server(version=(1, 34))
    slicer = made(server, published)
    wait_until(lambda: published.contents and published.names() == ["a"], "what 1.34 can express")
    for version, names in (((1, 36), ["a", "b"]), ((1, 35), ["a"]), ((1, 37), ["a", "b"])):
        server.version = version
        slicer.look_again()
        wait_until(lambda: published.names() == names, f"what {version} can express")  # noqa: B023
    slicer.stop()
    assert len(published.contents) == 4
    assert [line for line in caplog.messages if "is Kubernetes" in line] == [
        f"the API server is Kubernetes 1.{minor}" for minor in (34, 36, 35, 37)
    ]


def test_the_same_server_again_is_one_question_and_no_line(caplog: pytest.LogCaptureFixture) -> None:
    published, server = Published(), Server()
    slicer = made(server, published)
    assert published.happened.acquire(timeout=60)
    caplog.set_level("INFO", logger="dra_common")
    for asked in range(2, 6):
        slicer.look_again()
        wait_until(lambda: server.asked == asked and len(server.probed) == asked, "the look")  # noqa: B023
    slicer.stop()
    assert set(server.probed[1:]) == {frozenset()}
    assert len(published.contents) == 1
    assert caplog.messages == []


def test_a_server_that_cannot_be_probed_is_believed_until_it_drops(caplog: pytest.LogCaptureFixture) -> None:
    """A webhook that supports no dry runs: its 400 must not keep the node unpublished."""
    published, server = Published(), Server(off=["taints"])
    server.silent = ServerError("no dry runs", status=500)
    slicer = made(server, published)
    assert published.happened.acquire(timeout=60)
    assert published.names() == ["a", "b"]
    slicer.without(["taints"])
    slicer.look_again()
    wait_until(lambda: len(server.probed) == 2, "the second look")
    slicer.stop()
    slicer._thread.join(60)
    assert published.names() == ["a"]
    assert caplog.messages == [str(Withdrawn("b", WHY))]


def test_what_is_dropped_while_the_server_answers_counts_for_more_than_its_answer() -> None:
    """Of two API servers behind one address one is older: what is written last is what a scheduler sees."""
    published, server = Published(), Server()
    slicer = made(server, published)
    assert published.happened.acquire(timeout=60)
    slicer.without(["taints"])
    server.on_probe = lambda: slicer.without(["taints"])
    slicer.look_again()
    wait_until(lambda: len(server.probed) == 2, "the look")
    slicer.stop()
    slicer._thread.join(60)
    assert published.names() == ["a"]


@pytest.mark.scenario(64)
def test_64_features_that_are_set_off_are_never_used_nor_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="dra_common")
    published, server = Published(), Server()
    slicer = made(server, published, off=("taints",))
    assert published.happened.acquire(timeout=60)
    slicer.stop()
    assert published.names() == ["a"]
    assert server.probed == [frozenset(GATES) - {"taints"}]
    assert (
        "not used in ResourceSlices, as set: DRADeviceTaints; a device that should keep pods away"
        in caplog.text
    )


def test_an_outage_later_on_is_not_this_ones_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    published, server = Published(), Server()
    slicer = made(server, published)
    assert published.happened.acquire(timeout=60)
    server.failures = server.asked + 2
    slicer.look_again()
    wait_until(lambda: server.asked > server.failures, "a look after the outage")
    slicer.stop()
    assert caplog.messages == []


def test_an_outage_with_many_faces_at_the_start_is_a_line_for_each(caplog: pytest.LogCaptureFixture) -> None:
    faces = [Unreachable("refused"), ServerError("503", status=503), Throttled("busy", retry_after=0.01)]
    asked = 0

    def version() -> tuple[int, int]:
        nonlocal asked
        asked += 1
        if asked <= 12:
            raise faces[asked % 3]
        return (1, 36)

    published = Published()
    slicer = Slicer(DRIVER, publish=published, version=version)
    slicer._backoff = Backoff(0.001, 0.002)
    slicer.take(Snapshot(1, (Device("a"),)))
    slicer.start()
    assert published.happened.acquire(timeout=60)
    slicer.stop()
    assert len(caplog.messages) == 3


def test_a_defect_does_not_end_the_asking(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Any] = [KeyError("bug"), KeyError("bug"), (1, 36)]

    def version() -> tuple[int, int]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return (1, 36)

    published = Published()
    slicer = Slicer(DRIVER, publish=published, version=version)
    slicer._backoff = Backoff(0.001, 0.002)
    slicer.take(Snapshot(1, (Device("a"),)))
    slicer.start()
    assert published.happened.acquire(timeout=60)
    slicer.stop()
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_a_snapshot_that_was_overtaken_is_not_published() -> None:
    """A look at the machine and a change of health come from two threads."""
    published, server = Published(), Server()
    slicer = made(server, published)
    assert published.happened.acquire(timeout=60)
    slicer.take(Snapshot(9, (Device("new"),)))
    slicer.take(Snapshot(8, (Device("old"),)))
    assert published.names() == ["new"]
    slicer.take(Snapshot(10, (Device("newer"),)))
    assert published.names() == ["newer"]
    slicer.stop()


@pytest.mark.scenario(65)
def test_65_what_breaks_a_rule_is_told_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="dra_common")
    published, server, notes = Published(), Server(), Notebook()
    slicer = made(server, published, telemetry=notes)
    assert published.happened.acquire(timeout=60)
    caplog.clear()
    for generation in range(2, 6):
        slicer.take(Snapshot(generation, (Device("twin"), Device("twin"))))
    assert published.names() == ["a", "b"]
    slicer.take(Snapshot(6, (Device("twin"),)))
    slicer.stop()
    assert published.names() == ["twin"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "device twin: is there twice in the pool" in caplog.messages[0]
    assert notes.of(PUBLISH_ERRORS) == {"SliceError": 1}
    assert [reason for reason, _ in notes.events] == [Reason.SLICES_REFUSED]


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("", ()),
        ("taints", ("taints",)),
        (" DRADeviceTaints , taints,", ("taints",)),
        ("consumable_capacity,DRAPartitionableDevices", ("partitionable", "consumable_capacity")),
    ],
)
def test_features_by_name_or_gate(text: str, features: tuple[FeatureName, ...]) -> None:
    assert parse_features(text, "--off") == features
    assert not ServerFeatures.of((1, 37)).without(*features).on & set(features)


def test_a_feature_that_is_none() -> None:
    with pytest.raises(
        SettingsError, match=r"--off 'tants' is not a feature .*taints \(or DRADeviceTaints\)"
    ):
        parse_features("taints,tants", "--off")
