"""Events over real HTTP, on an API server that knows what an Event must say."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dra_common.cluster import connect
from dra_common.events import Events, Limits
from dra_common.telemetry import EVENTS, Reason
from dra_common.testing.apiserver import FakeApiServer
from dra_common.testing.ledger import Ledger

DRIVER, NODE = "x.example.com", "node-1"
PATH = "/events"
QUICK = Limits(burst=100, every=0.01, retry=0.05, retry_most=0.2)


class World:
    """An API server, and Events that are written to it."""

    def __init__(self, api: FakeApiServer, root: Path, stack: ExitStack) -> None:
        self.api, self.ledger = api, Ledger()
        self._root, self._stack = root, stack

    def start(self, limits: Limits = QUICK, node: str = NODE) -> Events:
        client = connect(str(self.api.kubeconfig(self._root / "kubeconfig")))
        self._stack.callback(client.close)
        events = Events(client, DRIVER, node, counts=self.ledger, limits=limits)
        events.start()
        self._stack.callback(events.stop)
        return events

    def written(self) -> list[dict[str, Any]]:
        return sorted(self.api.objects("Event"), key=lambda event: str(event["eventTime"]))

    def wait(self, condition: Callable[[], object], what: str) -> None:
        self.api.wait_for(condition, 30, what)

    def count(self, result: str) -> int:
        return self.ledger.counts[f"{EVENTS.name}{{{result}}}"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeApiServer() as api, ExitStack() as stack:
        yield World(api, tmp_path, stack)


def test_an_event_on_the_node(world: World) -> None:
    world.start().event(Reason.REVERT_FAILED, "claim default/train: not given back: EIO")
    world.wait(world.written, "the Event")
    (event,) = world.written()
    assert event["metadata"]["namespace"] == "default"
    assert event["metadata"]["name"].startswith(f"{NODE}.")
    assert event["regarding"] == {"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": NODE}
    assert (event["type"], event["reason"]) == ("Warning", "RevertFailed")
    assert event["note"] == "claim default/train: not given back: EIO"
    assert (event["reportingController"], event["reportingInstance"]) == (DRIVER, NODE)
    assert "series" not in event
    world.wait(lambda: world.count("written") == 1, "the count")


def test_good_news_are_normal_and_each_reason_is_accepted(world: World) -> None:
    events = world.start()
    for reason in Reason:
        events.event(reason, "x")
    world.wait(lambda: len(world.written()) == len(Reason), "all of them")
    types = {event["reason"]: event["type"] for event in world.written()}
    assert types == {reason.value: reason.type for reason in Reason}
    assert types["ClaimAdopted"] == "Normal"


def test_the_same_again_is_counted_on_the_first(world: World) -> None:
    events = world.start()
    for count in range(1, 5):
        events.event(Reason.CLAIM_GONE, "claim default/train is gone")
        world.wait(lambda count=count: world.count("written") == count, "the write")  # type: ignore[misc]
    (event,) = world.written()
    assert event["series"]["count"] == 4
    events.event(Reason.CLAIM_GONE, "another")
    world.wait(lambda: len(world.written()) == 2, "the other Event")


def test_an_event_that_expired_is_written_anew(world: World) -> None:
    events = world.start()
    events.event(Reason.CLAIM_GONE, "gone")
    world.wait(lambda: world.count("written") == 1, "the write")
    (event,) = world.written()
    world.api.delete("Event", event["metadata"]["name"], "default")
    events.event(Reason.CLAIM_GONE, "gone")
    world.wait(lambda: world.count("written") == 2, "the second write")
    (again,) = world.written()
    assert again["metadata"]["name"] != event["metadata"]["name"]


def test_an_old_event_is_not_counted_on(world: World) -> None:
    events = world.start(Limits(burst=100, every=0.01, series=0.0))
    for count in (1, 2):
        events.event(Reason.CLAIM_GONE, "gone")
        world.wait(lambda count=count: len(world.written()) == count, "the Event")  # type: ignore[misc]


def test_a_storm_is_a_few_writes_and_does_not_keep_other_reasons_out(world: World) -> None:
    events = world.start(Limits(burst=3, every=3600.0))
    for number in range(5000):
        events.event(Reason.RECORD_SET_ASIDE, f"record {number}")
    events.event(Reason.SLICES_REFUSED, "422")
    world.wait(lambda: "ResourceSlicesRefused" in {e["reason"] for e in world.written()}, "the other one")
    world.wait(lambda: len(world.written()) == 4, "the burst")
    assert len(world.api.writes) == 4
    assert len(events._waiting) <= Limits().notes


def test_what_had_to_wait_is_merged_and_counted(world: World) -> None:
    world.api.pause()
    events = world.start(Limits(burst=1, every=0.2, notes=2))
    for _ in range(500):
        events.event(Reason.SLICES_REFUSED, "422")
    world.api.resume()
    world.wait(lambda: sum(e.get("series", {}).get("count", 1) for e in world.written()) == 500, "all")
    assert len(world.written()) <= 2


def test_telling_never_waits_for_the_api_server(world: World) -> None:
    world.api.pause()
    events = world.start()
    done = threading.Event()

    def tell() -> None:
        for number in range(10_000):
            events.event(Reason.CLAIM_GONE, f"claim {number}")
        done.set()

    threading.Thread(target=tell, daemon=True).start()
    assert done.wait(60)
    assert len(events._waiting) <= QUICK.notes
    world.api.resume()


def test_without_the_right_one_line_and_silence(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fault = world.api.faults.add(status=403, method="POST", path=PATH)
    events = world.start()
    events.event(Reason.CLAIM_GONE, "gone")
    world.wait(lambda: world.count("dropped"), "the refusal")
    world.api.faults.clear()
    for number in range(100):
        events.event(Reason.CLAIM_GONE, f"claim {number}")
    events.stop()
    assert fault.hits == 1
    assert world.written() == []
    (record,) = [record for record in caplog.records if "Events" in record.getMessage()]
    assert record.levelno == logging.INFO
    assert "no Events are written until the next start" in record.getMessage()
    assert 'resources ["events"], verbs ["create"]' in record.getMessage()


def test_an_outage_is_waited_for_and_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fault = world.api.faults.add(status=503, method="POST", path=PATH, count=4)
    world.start().event(Reason.ADOPTION_FAILED, "cannot read it")
    world.wait(world.written, "the Event")
    world.wait(lambda: world.count("written") == 1, "the count")
    assert fault.hits == 4
    assert world.count("failed") == 4
    assert len([r for r in caplog.records if "Events wait for the API server" in r.getMessage()]) == 1
    assert "series" not in world.written()[0]


def test_an_event_that_is_refused_is_dropped_and_the_next_one_is_written(world: World) -> None:
    world.api.faults.add(status=422, method="POST", path=PATH, count=1)
    events = world.start()
    events.event(Reason.CLAIM_GONE, "first")
    world.wait(lambda: world.count("dropped") == 1, "the refusal")
    events.event(Reason.CLAIM_GONE, "second")
    world.wait(world.written, "the Event")
    assert [event["note"] for event in world.written()] == ["second"]


def test_a_long_note_and_a_long_node_name_are_cut_to_what_fits(world: World) -> None:
    node = "n" * 253
    world.start(node=node).event(Reason.RECORD_SET_ASIDE, "ä" * 2000)
    world.wait(world.written, "the Event")
    (event,) = world.written()
    assert len(event["note"].encode()) <= 1024
    assert event["note"].endswith("ä…")
    assert len(event["metadata"]["name"]) <= 253
    assert event["regarding"]["name"] == node
    assert len(event["reportingInstance"]) == 128


def test_what_is_told_before_the_start_is_written_after_it(world: World) -> None:
    client = connect(str(world.api.kubeconfig(world._root / "kubeconfig")))
    events = Events(client, DRIVER, NODE, limits=QUICK)
    events.event(Reason.CLAIM_ADOPTED, "early")
    events.start()
    world.wait(world.written, "the Event")
    events.stop()
    events.stop()
    events.event(Reason.CLAIM_ADOPTED, "late")
    client.close()
    assert [event["note"] for event in world.written()] == ["early"]
