"""From snapshots to slices that the server at hand understands."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import pytest
from dra_common.errors import Unreachable
from dra_common.model import Device, Snapshot, Taint, TaintEffect
from dra_common.slicer import Slicer
from dra_common.slices import SliceContent

DRIVER = "knob.example.com"
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
    """Tells its version after ``failures`` errors."""

    def __init__(self, failures: int = 0, version: tuple[int, int] = (1, 37)) -> None:
        self.failures, self.version, self.asked = failures, version, 0

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
    assert published.happened.acquire(timeout=10)
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
        assert published.happened.acquire(timeout=20)
    assert server.asked == 3
    assert caplog.text.count("nothing is published until the API server tells its version") == 1


def test_what_the_server_lacks_is_withdrawn_safely_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    published = Published()
    slicer = Slicer(DRIVER, publish=published, version=Server())
    slicer.take(Snapshot(1, (Device("a"), TAINTED)))
    slicer.start()
    assert published.happened.acquire(timeout=10)
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
    assert published.happened.acquire(timeout=10)
    assert published.names() == ["a"]


def test_a_device_that_breaks_a_rule_is_named_and_what_was_published_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    published = Published()
    slicer = Slicer(DRIVER, publish=published, version=Server())
    slicer.take(Snapshot(1, (Device("a"),)))
    slicer.start()
    assert published.happened.acquire(timeout=10)
    with caplog.at_level(logging.ERROR):
        slicer.take(Snapshot(2, (Device("Not_A_Label"),)))
    assert published.names() == ["a"]
    assert "Not_A_Label" in caplog.text
