"""What the three paths answer."""

from __future__ import annotations

import threading

from dra_common.metrics import Metrics, routes
from dra_common.readiness import CONDITIONS, Readiness
from dra_common.telemetry import DEVICES_HELD


def test_metrics_are_text_for_prometheus() -> None:
    answer = routes(Metrics("x.example.com", "1"), Readiness())["/metrics"]()
    assert answer.status == 200
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert b"intel_dra_build_info" in answer.body


def test_healthz_says_why_a_new_start_is_needed() -> None:
    readiness = Readiness()
    healthz = routes(Metrics("x.example.com", "1"), readiness)["/healthz"]
    # Not ready is not dead: a restart would only make it later.
    assert (healthz().status, healthz().body) == (200, b"ok\n")
    readiness.add_check(lambda: "the socket is gone")
    assert (healthz().status, healthz().body) == (503, b"the socket is gone\n")


def test_readyz_names_every_condition() -> None:
    readiness = Readiness()
    readyz = routes(Metrics("x.example.com", "1"), readiness)["/readyz"]
    readiness.met("recovered")
    readiness.unmet("registered", "the kubelet refused")
    answer = readyz()
    assert answer.status == 503
    assert answer.body.decode().splitlines() == [
        "[+]recovered ok",
        "[-]serving: not yet",
        "[-]registered: the kubelet refused",
        "[+]alive ok",
        "not ready",
    ]
    for condition in CONDITIONS:
        readiness.met(condition)
    assert readyz().status == 200
    assert readyz().body.decode().splitlines()[-1] == "ready"
    readiness.add_check(lambda: "stuck")
    assert readyz().status == 503
    assert b"[-]alive: stuck" in readyz().body


def test_probes_do_not_wait_for_a_scrape_and_a_second_scrape_is_refused_in_time() -> None:
    metrics, begun, go_on = Metrics("x.example.com", "1"), threading.Event(), threading.Event()

    def slow() -> dict[tuple[str, ...], float]:
        begun.set()
        assert go_on.wait(60)
        return {}

    metrics.gauge(DEVICES_HELD, slow)
    table = routes(metrics, Readiness(), wait=0.05)
    thread = threading.Thread(target=table["/metrics"])
    thread.start()
    try:
        assert begun.wait(60)
        assert table["/healthz"]().status == 200
        assert table["/readyz"]().status == 503
        refused = table["/metrics"]()
        assert (refused.status, refused.body) == (503, b"another scrape is still being answered\n")
    finally:
        go_on.set()
        thread.join()
