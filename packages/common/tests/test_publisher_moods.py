"""The publisher against servers, webhooks and writers that mean no good: what it costs them, and what it says."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dra_common.cluster import node_uid
from dra_common.errors import ServerError
from dra_common.ports import ApiServer, EventStream, WatchEvent
from dra_common.publisher import Publisher, Timing
from dra_common.slices import SliceContent
from dra_common.testing.apiserver import FakeApiServer
from publisher_bench import DRIVER, NODE, QUICK, TAINT, Bench, Between, bench, part

HOUR = 3600.0


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was logged as a warning or worse."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def numbered(count: int) -> list[SliceContent]:
    return [part("a", attributes={"x": {"int": index}}) for index in range(count)]


def edit(lab: Bench, **metadata: Any) -> None:
    """Write the first slice with other metadata, as a controller does that keeps its notes there."""
    item = lab.own()[0]
    lab.server.put("ResourceSlice", {**item, "metadata": {**item["metadata"], **metadata}})


# ---------------------------------------------------------------------- other writers


def test_notes_that_others_keep_on_our_slices_cost_no_request(lab: Bench) -> None:
    """A controller that counts in an annotation each second would otherwise cost a list a second on every node."""
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
        lab.server.forget_requests()
        for index in range(20):
            edit(lab, annotations={"beat": str(index)}, labels={"team": "x"})
        newest = int(lab.own()[0]["metadata"]["resourceVersion"])
        lab.wait(lambda: int(publisher._watcher._version) >= newest, "the events")
        lab.publish(publisher, part("b"))
        assert lab.asked()[:2] == ["GET", "PUT"]
        assert lab.asked().count("GET") == len(lab.asked()) // 2, (
            "a list for our own change, and one if it raced"
        )
        assert lab.own()[0]["metadata"]["labels"] == {"team": "x"}
        assert lab.devices() == ["b"]


def test_changes_that_ask_for_no_repair_are_looked_at_ever_more_rarely(lab: Bench) -> None:
    with lab.running(Timing(settle=0.01, burst=3, every=HOUR)) as publisher:
        lab.publish(publisher, part("a"))
        lab.server.forget_requests()
        owners = lab.own()[0]["metadata"]["ownerReferences"]
        other = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}
        for index in range(3):
            edit(lab, ownerReferences=[*owners, {**other, "name": f"p{index}"}])
            lab.wait(lambda: lab.asked() == ["GET"] * (index + 1), "the look at the edit")  # noqa: B023
            lab.settled(publisher)
        edit(lab, ownerReferences=owners)
        lab.wait(lambda: not publisher.status().synced, "the publisher to notice")
        assert publisher._due is not None
        assert publisher._due > time.monotonic() + HOUR / 2


# ---------------------------------------------------------------------- our own changes


def test_hardware_that_flickers_does_not_write_at_its_own_speed(lab: Bench) -> None:
    with lab.running(Timing(settle=0.01, burst=3, changes=HOUR)) as publisher:
        lab.publish(publisher, part("first"))
        lab.server.forget_requests()
        for content in numbered(20):
            publisher.publish([content])
        lab.wait(lambda: lab.holds(numbered(20)[-1]) or publisher._due, "the last one, or that it waits")
        assert len(lab.server.writes) <= 2
        lab.wipe()
        lab.wait(lambda: lab.holds(numbered(20)[-1]), "the repair, which brings the newest content")


# ---------------------------------------------------------------------- resourceVersions


class Opaque(Between):
    """Hands out resourceVersions that are no numbers, as other servers than kube-apiserver may."""

    def list(
        self, path: str, *, query: Mapping[str, str] | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        answer = self.api.list(path, query=query, timeout=timeout)
        return {**hidden(answer), "items": [hidden(item) for item in answer["items"]]}

    def create(self, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        return hidden(self.api.create(path, body, dry_run=dry_run))

    def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        metadata = {**body["metadata"], "resourceVersion": body["metadata"]["resourceVersion"][1:]}
        return hidden(self.api.replace(path, {**body, "metadata": metadata}))

    def delete(self, path: str, *, uid: str | None = None, resource_version: str | None = None) -> None:
        self.api.delete(path, uid=uid, resource_version=resource_version and resource_version[1:])

    def watch(
        self, path: str, *, query: Mapping[str, str] | None = None, resource_version: str
    ) -> EventStream:
        return HiddenStream(self.api.watch(path, query=query, resource_version=resource_version[1:]))


class HiddenStream:
    def __init__(self, stream: EventStream) -> None:
        self.stream = stream

    def __enter__(self) -> Iterator[WatchEvent]:
        events = self.stream.__enter__()
        return (WatchEvent(event.type, hidden(event.object)) for event in events)

    def __exit__(self, *why: object) -> None:
        self.stream.__exit__(*why)

    def close(self) -> None:
        self.stream.close()


def hidden(item: Mapping[str, Any]) -> dict[str, Any]:
    metadata = item["metadata"]
    return {**item, "metadata": {**metadata, "resourceVersion": f"v{metadata['resourceVersion']}"}}


def test_versions_need_not_be_numbers(lab: Bench, said: Callable[[], list[str]]) -> None:
    with lab.running(api=Opaque(lab.client)) as publisher:
        lab.publish(publisher, part("a"), part("b"))
        for content in numbered(5):
            lab.publish(publisher, content)
            assert lab.holds(content)
        for _ in range(3):
            lab.wipe()
            lab.wait(lambda: lab.holds(numbered(5)[-1]), "the repair")
            lab.settled(publisher)
        lab.server.forget_requests()
        lab.publish(publisher, part("c"))
        assert lab.asked()[:2] == ["GET", "PUT"]
    assert said() == []


def test_a_cluster_that_was_restored_from_a_backup_is_published_again(lab: Bench, tmp_path: Path) -> None:
    """Its versions begin lower, and a watch from a version of the future is refused for hours (504)."""
    with lab.running() as publisher:
        for index in range(50):
            lab.server.put("Node", {"metadata": {"name": f"other{index}"}})
        lab.publish(publisher, part("a"))
        lab.server.stop()
        port = int(lab.server.url.rpartition(":")[2])
        with FakeApiServer(port=port) as restored:
            restored.create("Node", {"metadata": {"name": NODE}})
            restored.wait_for(lambda: restored.objects("ResourceSlice"), timeout=60, what="the slices")


# ---------------------------------------------------------------------- watches


def test_without_watches_a_wipe_is_still_repaired(lab: Bench, said: Callable[[], list[str]]) -> None:
    """A role that grants everything but the verb watch."""
    fault = lab.server.faults.add(status=403, method="WATCH")
    with lab.running() as publisher:
        publisher.publish([part("a")])
        lab.wait(lambda: lab.whole("a") and fault.hits > 3, "the pool")
        lab.wipe()
        lab.wait(lambda: lab.whole("a"), "the repair")
    assert len(said()) == 1
    assert '"watch"' in said()[0]


# ---------------------------------------------------------------------- refusals


def test_half_of_a_refused_change_is_taken_back(lab: Bench, said: Callable[[], list[str]]) -> None:
    """The first slices of a pool were written when the server refuses the last: nobody may be left with half a pool."""
    good = part("a"), part("b"), part("c")
    with lab.running() as publisher:
        lab.publish(publisher, *good)
        publisher.publish([part("x"), part("y"), part("Not A Label")])
        lab.wait(lambda: publisher.status().error, "the refusal")
        lab.wait(lambda: lab.whole("a", "b", "c"), "what was accepted before")
        for _ in range(2):
            lab.wipe()
            lab.wait(lambda: lab.whole("a", "b", "c"), "the repair, although a change is still refused")
        lab.publish(publisher, part("x"), part("y"), part("z"))
        assert lab.whole("x", "y", "z")
    assert len(said()) == 1, "one line for the refusal, none for each try"
    assert "Not A Label" in said()[0]


def test_what_was_refused_is_not_tried_at_the_speed_of_the_wipes(lab: Bench) -> None:
    with lab.running(Timing(settle=0.01, burst=2, every=HOUR)) as publisher:
        lab.publish(publisher, part("a"))
        publisher.publish([part("Not A Label")])
        lab.wait(lambda: publisher.status().error, "the refusal")
        for _ in range(2):
            lab.wipe()
            lab.wait(lambda: lab.whole("a"), "the repair")
        lab.wipe()
        lab.wait(lambda: publisher._due and publisher._due > time.monotonic() + HOUR / 2, "a long pause")


class Webhook(Between):
    """Changes what is written before it is stored."""

    def __init__(self, api: ApiServer, change: Callable[[dict[str, Any]], object]) -> None:
        super().__init__(api)
        self.change = change

    def create(self, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        return self.api.create(path, self.changed(body), dry_run=dry_run)

    def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self.api.replace(path, self.changed(body))

    def changed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        spec = {**body["spec"], "devices": [dict(device) for device in body["spec"]["devices"]]}
        self.change(spec)
        return {**body, "spec": spec}


ADMIN = {"key": "example.com/maintenance", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda spec: spec["devices"][0].update(taints=[ADMIN]), "devices[].taints (changed)"),
        (lambda spec: spec["devices"].pop(), "devices"),
        (lambda spec: spec["pool"].update(resourceSliceCount=2), ""),
    ],
)
def test_a_webhook_is_no_feature_gate_and_gets_no_fight(
    lab: Bench, change: Callable[[dict[str, Any]], object], field: str
) -> None:
    """An administrator's taint must not look like a server without taints: that withdraws every tainted device."""
    with lab.running(api=Webhook(lab.client, change)) as publisher:
        lab.publish(publisher, part("a", "b", taints=[TAINT]))
        assert [(each.fields, each.features) for each in lab.dropped] == ([((field,), ())] if field else [])
        lab.server.forget_requests()
        edit(lab, ownerReferences=[{**lab.own()[0]["metadata"]["ownerReferences"][0], "name": "look again"}])
        lab.wait(lambda: lab.asked()[:1] == ["GET"], "a pass")
        lab.settled(publisher)
        assert len(lab.server.writes) <= 1
        assert len(lab.dropped) == bool(field)


# ---------------------------------------------------------------------- lines in the log


def test_an_outage_with_many_faces_is_a_line_for_each_face(lab: Bench, said: Callable[[], list[str]]) -> None:
    """A load balancer without backends: refused, 503, 429 and cut connections by turns, for as long as it takes."""
    moods: list[Any] = [500, 429, "drop", 503]
    with lab.running() as publisher:
        publisher.publish([part("a")])
        for mood in moods * 5:
            lab.server.faults.clear()
            fault = lab.server.faults.add(status=mood, path="resourceslices", retry_after=0)
            lab.wait(lambda: fault.hits > 1, "some tries")  # noqa: B023
        assert len(said()) == len(moods)
        lab.server.faults.clear()
        lab.settled(publisher)
        lab.server.faults.add(status=500, path="resourceslices")
        publisher.publish([part("b")])
        lab.wait(lambda: publisher.status().error, "the next outage")
    assert len(said()) == len(moods) + 1, "an outage that ended is over"


def test_a_missing_rule_after_another_is_said_too(lab: Bench, said: Callable[[], list[str]]) -> None:
    """Who grants list only, after the first line, is told about create."""
    lab.server.faults.add(status=403, method="GET", path="resourceslices", count=3)
    lab.server.faults.add(status=403, method="POST", count=3)
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
    assert ['verbs ["list"]' in line for line in said()] == [True, False]
    assert ['verbs ["create"]' in line for line in said()] == [False, True]


@pytest.mark.parametrize("status", [403, 404, 422])
def test_a_refusal_that_lasts_is_one_line(lab: Bench, said: Callable[[], list[str]], status: int) -> None:
    fault = lab.server.faults.add(status=status, method="POST")
    with lab.running(
        Timing(settle=0.01, first=0.001, most=0.002, refused=0.001, refused_most=0.002)
    ) as publisher:
        publisher.publish([part("a")])
        lab.wait(lambda: fault.hits > 100, "many tries")
    assert len(said()) == 1


def test_a_server_without_the_api_is_one_line_with_the_cure(
    lab: Bench, said: Callable[[], list[str]]
) -> None:
    """Kubernetes before 1.34, or the group switched off: it is asked on, and publishing begins when it is there."""
    fault = lab.server.faults.add(status=404, path="resource.k8s.io")
    with lab.running() as publisher:
        publisher.publish([part("a")])
        lab.wait(lambda: fault.hits > 20, "many tries")
        assert len(said()) == 1
        assert "resource.k8s.io/v1 needs Kubernetes 1.34 or newer" in said()[0]
        lab.server.faults.clear()
        lab.settled(publisher)
    assert lab.whole("a")


def test_an_error_nobody_foresaw_has_one_traceback(lab: Bench, caplog: pytest.LogCaptureFixture) -> None:
    tries = []

    def uid() -> str:
        tries.append(1)
        if len(tries) < 20:
            raise RuntimeError("bug")
        return node_uid(lab.client, NODE)

    publisher = Publisher(lab.client, driver=DRIVER, node=NODE, node_uid=uid, timing=QUICK)
    publisher.start()
    lab.publish(publisher, part("a"))
    publisher.stop()
    assert lab.whole("a")
    assert sum(record.exc_info is not None for record in caplog.records) == 1


# ---------------------------------------------------------------------- stopping


class Slow(Between):
    """Keeps writes until it is let go."""

    def __init__(self, api: ApiServer) -> None:
        super().__init__(api)
        self.asked, self.go = threading.Event(), threading.Event()

    def create(self, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        self.asked.set()
        assert self.go.wait(60)
        return self.api.create(path, body, dry_run=dry_run)


@pytest.mark.parametrize("works", [True, False])
def test_a_pass_that_was_cut_short_by_stop_is_neither_success_nor_failure(
    lab: Bench, caplog: pytest.LogCaptureFixture, *, works: bool
) -> None:
    caplog.set_level(logging.INFO, logger="dra_common")
    api = Slow(lab.client)
    with lab.running(Timing(join=0.05), api) as publisher:
        publisher.publish([part("a"), part("b")])
        assert api.asked.wait(60)
    if not works:
        lab.client.close()
    api.go.set()
    publisher._threads[0].join(60)
    assert len(lab.own()) == int(works)
    assert not publisher.status().synced
    assert caplog.records == []


# ---------------------------------------------------------------------- numbers without end


def test_a_generation_that_cannot_grow_is_left_behind(lab: Bench) -> None:
    """One edit with the highest number there is must not end publishing on this node for ever."""
    with lab.running() as publisher:
        lab.publish(publisher, part("a"), part("b"))
        lab.edit(lambda spec: spec["pool"].update(generation=2**63 - 1))
        lab.wait(lambda: lab.whole("a", "b") and lab.pools() == {(2, 2)}, "a pool that can grow")
        lab.publish(publisher, part("c"), part("d"))
        assert lab.pools() == {(3, 2)}


def test_a_watch_that_is_told_to_wait_waits(lab: Bench) -> None:
    tries: list[str] = []

    class Busy(Between):
        def watch(self, path: str, **_: Any) -> EventStream:
            tries.append(path)
            raise ServerError("busy", status=500)

    with lab.running(
        Timing(settle=0.01, first=0.001, most=0.002, burst=5, every=HOUR), Busy(lab.client)
    ) as it:
        it.publish([part("a")])
        lab.wait(lambda: it._watcher._pacer.wait() > HOUR, "a turn that is one later than the next")
        assert len(tries) == 5
