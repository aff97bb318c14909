"""Metrics, probes and Events of the real ``gpu-driver run``, as Prometheus, a kubelet and an operator meet them."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from dra_common.telemetry import (
    API_REQUESTS,
    BUILD_INFO,
    CLAIM_OPERATIONS,
    CLAIM_SECONDS,
    CLAIMS,
    CLAIMS_IN_FLIGHT,
    DEVICES,
    DEVICES_HELD,
    EVENTS,
    PROCESS_ROWS,
    RECORDS_SET_ASIDE,
    SLICE_WRITES,
    SLICES_SYNCED,
    Row,
    rows,
)
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import is_alive, lines, names, refusal
from gpu_nodes import NAME, NODE, allocated, machine_only, running
from prometheus_client.parser import text_string_to_metric_families

ON = "--http-endpoint=127.0.0.1:0"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def shared() -> Iterator[SimulatedNode]:
    with running("two-gpus", ON) as node:
        yield node


@pytest.fixture
def node(shared: SimulatedNode) -> Iterator[SimulatedNode]:
    """The shared node; each test leaves it well and without claims."""
    yield shared
    shared.api.faults.clear()
    shared.api.resume()
    assert is_alive(shared)
    assert shared.leftovers() == []


def url(node: SimulatedNode, path: str) -> str:
    (port,) = re.findall(r"metrics, healthz and readyz on port (\d+)", node.log.read_text())[-1:]
    return f"http://127.0.0.1:{port}{path}"


def get(node: SimulatedNode, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url(node, path), timeout=60) as answer:  # noqa: S310 - our own, http
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(node: SimulatedNode) -> Samples:
    status, text = get(node, "/metrics")
    assert status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, row: Row, suffix: str = "", **labels: str) -> float:
    return samples.get((row.name + suffix, frozenset({"driver": NAME, **labels}.items())), 0.0)


def test_every_row_is_exposed_and_nothing_else(node: SimulatedNode) -> None:
    _, text = get(node, "/metrics")
    families = {family.name for family in text_string_to_metric_families(text)}
    assert families == {row.name.removesuffix("_total") for row in (*rows(), *PROCESS_ROWS)}


def at_rest(node: SimulatedNode) -> Samples:
    """Wait until the driver has heard that its slices are stored, and has looked at the server for the last time."""

    def rests() -> Samples | None:
        samples = scrape(node)
        # The version, the Node, and the version again once the slices are watched.
        asked = value(samples, API_REQUESTS, verb="get", code="200")
        return samples if value(samples, SLICES_SYNCED) == 1 and asked >= 3 else None

    found = wait_until(rests, "the driver to come to rest")
    assert found is not None
    return found


def test_before_and_after_a_claim(node: SimulatedNode) -> None:
    before = at_rest(node)
    assert value(before, DEVICES, health="unknown") == 2
    assert value(before, DEVICES_HELD) == 0
    assert value(before, SLICES_SYNCED) == 1
    assert value(before, SLICE_WRITES, verb="create") == 1
    ref = allocated(node, "one", names(node)[0])
    node.prepare(ref)
    during = scrape(node)
    node.unprepare(ref)
    after = scrape(node)
    done = {"operation": "prepare", "result": "success"}
    assert [value(each, CLAIM_OPERATIONS, **done) for each in (before, during, after)] == [0, 1, 1]
    assert [value(each, CLAIM_SECONDS, "_count", **done) for each in (before, during, after)] == [0, 1, 1]
    assert 0 < value(during, CLAIM_SECONDS, "_sum", **done) < 60
    assert value(after, CLAIM_OPERATIONS, operation="unprepare", result="success") == 1
    assert [value(each, CLAIMS, phase="prepared") for each in (before, during, after)] == [0, 1, 0]
    assert [value(each, DEVICES_HELD) for each in (before, during, after)] == [0, 1, 0]
    gets = [value(each, API_REQUESTS, verb="get", code="200") for each in (before, during, after)]
    assert gets[1] == gets[2] == gets[0] + 1
    (build,) = [dict(labels) for name, labels in after if name == BUILD_INFO.name]
    assert build.keys() == {"driver", "version", "python"}


def test_failures_are_counted_by_kind(node: SimulatedNode) -> None:
    first, second, third = (allocated(node, name, names(node)[0]) for name in ("first", "second", "third"))
    node.prepare(first)
    refusal(node, second)
    node.api.faults.add(status=403, path="/resourceclaims/third")
    refusal(node, third)
    node.unprepare(first)
    samples = scrape(node)
    assert value(samples, CLAIM_OPERATIONS, operation="prepare", result="DeviceHeld") == 1
    assert value(samples, CLAIM_OPERATIONS, operation="prepare", result="Forbidden") == 1
    assert value(samples, CLAIM_SECONDS, "_count", operation="prepare", result="error") == 2
    assert value(samples, API_REQUESTS, verb="get", code="403") == 1


def test_a_scrape_does_not_wait_for_a_slow_prepare(node: SimulatedNode) -> None:
    ref = allocated(node, "slow", names(node)[0])
    node.api.forget_requests()
    node.api.pause()
    thread = threading.Thread(target=lambda: node.kubelet.prepare([ref], NAME))
    thread.start()
    try:
        node.wait(lambda: [r for r in node.api.requests if "/resourceclaims/" in r.path], "the GET to hang")
        assert value(scrape(node), CLAIMS_IN_FLIGHT, operation="prepare") == 1
        assert get(node, "/healthz") == (200, "ok\n")
        assert get(node, "/readyz")[0] == 200
    finally:
        node.api.resume()
        thread.join()
    assert value(scrape(node), CLAIMS_IN_FLIGHT, operation="prepare") == 0
    node.unprepare(ref)


def test_silent_clients_do_not_keep_probes_out(node: SimulatedNode) -> None:
    address = ("127.0.0.1", int(url(node, "").rpartition(":")[2]))
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(address, timeout=60))
        assert get(node, "/healthz") == (200, "ok\n")


def test_readyz_follows_the_kubelet_and_healthz_the_sockets(node: SimulatedNode) -> None:
    assert get(node, "/readyz") == (
        200,
        "[+]recovered ok\n[+]serving ok\n[+]registered ok\n[+]alive ok\nready\n",
    )
    sockets = sorted(node.state.glob("*.sock"))
    assert sockets
    moved = [path.rename(path.with_suffix(".away")) for path in sockets]
    status, text = get(node, "/healthz")
    assert status == 503
    assert str(sockets[0]) in text
    status, text = get(node, "/readyz")
    assert status == 503
    assert f"[-]alive: {text.partition('[-]alive: ')[2].splitlines()[0]}" in text
    for path, back in zip(moved, sockets, strict=True):
        path.rename(back)
    assert get(node, "/healthz") == (200, "ok\n")


def test_off_by_default_and_a_taken_port_does_not_keep_it_from_serving() -> None:
    with machine_only("two-gpus") as node, socket.create_server(("127.0.0.1", 0)) as taken:
        node.start_driver()
        assert "healthz" not in node.log.read_text()
        assert node.stop_driver() == 0
        node.start_driver(f"--http-endpoint=127.0.0.1:{taken.getsockname()[1]}")
        node.wait_published()
        ref = allocated(node, "one", names(node)[0])
        node.prepare(ref)
        node.unprepare(ref)
        (line,) = [line for line in lines(node) if " WARNING " in line]
        assert f"127.0.0.1:{taken.getsockname()[1]}" in line
        assert "--http-endpoint" in line


def test_a_damaged_record_is_counted_and_told_on_the_node() -> None:
    with running("two-gpus", ON) as node:
        ref = allocated(node, "one", names(node)[0])
        node.prepare(ref)
        node.kill_driver()
        (record,) = node.state.glob("claims/*.json")
        record.write_text("{}")
        node.start_driver(ON)
        (event,) = node.wait(
            lambda: [each for each in node.api.objects("Event") if each["reason"] == "ClaimRecordSetAside"],
            "the Event",
        )
        assert event["regarding"]["name"] == NODE
        assert event["type"] == "Warning"
        assert record.name in event["note"]
        assert event["reportingController"] == NAME
        wait_until(lambda: value(scrape(node), EVENTS, result="written") >= 1, "the count", seconds=60)
        samples = scrape(node)
        assert value(samples, RECORDS_SET_ASIDE) == 1
        assert value(samples, CLAIMS, phase="set-aside") == 1


def test_without_the_right_to_write_events_everything_else_works() -> None:
    with machine_only("two-gpus") as node:
        fault = node.api.faults.add(status=403, path="/events")
        fields = node.api.faults.add(status=422, method="POST", path="/resourceslices", message="too pretty")
        node.start_driver(ON)
        node.wait(lambda: fields.hits and fault.hits, "the refusals")
        node.wait(lambda: "no Events are written" in node.log.read_text(), "the line")
        ref = allocated(node, "one", "0000-4d-00-0-0x56c0")
        node.prepare(ref)
        node.unprepare(ref)
        assert fault.hits == 1
        assert len([line for line in lines(node) if "no Events are written" in line]) == 1
        assert value(scrape(node), SLICES_SYNCED) == 0
        assert not [line for line in lines(node) if "Traceback" in line]
