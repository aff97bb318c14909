"""Every mood of an API server, however long it lasts, is one line when it begins and one when it is over."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dra_common.pacing import Backoff
from dra_common.ports import ApiServer
from dra_common.publisher import Timing
from dra_common.telemetry import PUBLISH_ERRORS, SLICE_WRITES, Reason
from dra_common.testing.moods import MOODS, Mood
from publisher_bench import Between, bench, part

UNHURRIED = Timing(settle=0.01, first=0.2, most=0.2, refused=0.2, refused_most=0.2, burst=1000)
TRIES = 4


class Impatient(Between):
    """Waits for a list no longer than a test does, where the test is about waiting."""

    def __init__(self, api: ApiServer, mood: Mood) -> None:
        super().__init__(api)
        self._most = 0.3 if "no answer" in mood.says else 30.0

    def list(
        self, path: str, *, query: Mapping[str, str] | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        return self.api.list(path, query=query, timeout=min(timeout, self._most))


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


@pytest.mark.parametrize("mood", [mood for mood in MOODS if not mood.writes], ids=lambda mood: mood.name)
@pytest.mark.scenario(66)
def test_66_an_outage_of_many_tries_is_one_line_and_its_end_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mood: Mood, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What was capped for life (a minute, where a day was asked for) is capped for a test.
    monkeypatch.setattr("dra_common.cluster.answers._LONGEST_PAUSE", 0.4)
    with bench(tmp_path) as lab, lab.running(UNHURRIED, Impatient(lab.client, mood)) as publisher:
        lab.publish(publisher, part("a"))
        # Whoever writes finds out first, as in life; on a busy machine, too.
        publisher._watcher._backoff = Backoff(6.0, 6.0)
        caplog.set_level(logging.INFO, logger="dra_common")
        mood.begin(lab.server)
        publisher.publish([part("b")])
        lab.wait(lambda: sum(lab.notes.of(PUBLISH_ERRORS).values()) >= TRIES, "many tries")
        assert len(lines(caplog, logging.INFO)) == 1
        (said,) = lines(caplog, logging.WARNING)
        assert mood.says in said
        mood.end(lab.server)
        lab.settled(publisher)
        assert lab.whole("b")
        lab.wait(lambda: len(caplog.records) > 1, "the good news")
        lab.heard(publisher)
    assert lines(caplog, logging.WARNING) == [said]
    assert [line.partition(":")[0] for line in lines(caplog, logging.INFO)[1:]] == ["published"]


@pytest.mark.parametrize(
    "mood", [mood for mood in MOODS if mood.writes and mood.name != "well"], ids=lambda mood: mood.name
)
def test_a_server_without_watches_is_one_line_at_most_and_publishing_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mood: Mood
) -> None:
    with bench(tmp_path) as lab, lab.running(Timing(settle=0.01, first=0.02, most=0.05, burst=1000)) as it:
        lab.publish(it, part("a"))
        caplog.set_level(logging.INFO, logger="dra_common")
        mood.begin(lab.server)
        lab.server.drop_watches()
        lab.wait(lambda: sum(request.is_watch for request in lab.server.requests) > 20, "many watches")
        it.publish([part("b")])
        lab.wait(lambda: lab.whole("b"), "the write")
        mood.end(lab.server)
        lab.settled(it)
        lab.heard(it)
        told = int(bool(mood.says))
        lab.wait(lambda: len(caplog.records) == 1 + 2 * told, "the good news")
    assert len(lines(caplog, logging.WARNING)) == told
    assert all(mood.says in line for line in lines(caplog, logging.WARNING))


def test_watches_that_are_cut_after_each_event_are_no_line_and_bounded_in_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy that ends every request with its first bytes; the pacer is what bounds it, however often that is."""
    caplog.set_level(logging.INFO, logger="dra_common")
    paced = Timing(settle=0.01, first=0.02, most=0.05, burst=5, every=3600.0)
    with bench(tmp_path) as lab, lab.running(paced) as publisher:
        lab.publish(publisher, part("a"))
        for _ in range(4):
            lab.heard(publisher)
            lab.wait(lab.server.drop_watches, "a watch to cut")
        lab.wait(lambda: publisher._watcher._pacer.wait() > 3000.0, "the last turn")
        assert sum(request.is_watch for request in lab.server.requests) <= 5
    assert lines(caplog, logging.WARNING) == []


def test_what_a_publisher_does_is_counted(tmp_path: Path) -> None:
    with bench(tmp_path) as lab, lab.running() as publisher:
        lab.publish(publisher, part("a"), part("b"))
        lab.publish(publisher, part("a"))
        assert lab.notes.of(SLICE_WRITES) == {"create": 2, "delete": 1, "update": 1}
        lab.server.faults.add(status=500, method="PUT", count=2)
        lab.publish(publisher, part("c"))
        assert lab.notes.of(PUBLISH_ERRORS) == {"ServerError": 2}
        publisher.publish([part("Not A Label")])
        lab.wait(lambda: publisher.status().error, "the refusal")
        assert lab.notes.of(PUBLISH_ERRORS) == {"ServerError": 2, "Invalid": 1}
    ((reason, note),) = lab.notes.events
    assert reason is Reason.SLICES_REFUSED
    assert "spec.devices[0].name" in note, "the field"
