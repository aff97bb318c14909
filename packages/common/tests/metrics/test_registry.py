"""The metrics: every row is exposed and none other, in text that Prometheus reads; labels cannot grow without end."""

from __future__ import annotations

import logging
import platform
import threading
from functools import partial

import pytest
from dra_common.errors import StateError
from dra_common.metrics import Metrics
from dra_common.metrics.registry import MOST_SERIES
from dra_common.telemetry import (
    API_REQUESTS,
    BUILD_INFO,
    CLAIM_OPERATIONS,
    CLAIM_SECONDS,
    CLAIMS,
    DEVICES_HELD,
    PROCESS_ROWS,
    PUBLISH_ERRORS,
    RECORDS_SET_ASIDE,
    SECONDS,
    Row,
    Samples,
    rows,
)
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

DRIVER = "x.example.com"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(DRIVER, "1.2.3")


def scrape(metrics: Metrics) -> dict[str, Metric]:
    """Parse what Prometheus would be sent; family name -> family."""
    text = metrics.expose(30)
    assert text is not None
    families = list(text_string_to_metric_families(text.decode()))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def value(metrics: Metrics, row: Row, **labels: str) -> float | None:
    wanted = {"driver": DRIVER, **labels}
    family = scrape(metrics)[row.name.removesuffix("_total")]
    return next((s.value for s in family.samples if s.name == row.name and s.labels == wanted), None)


def test_every_row_is_exposed_and_nothing_else(metrics: Metrics) -> None:
    families = scrape(metrics)
    wanted = {row.name.removesuffix("_total"): row for row in (*rows(), *PROCESS_ROWS)}
    assert families.keys() == wanted.keys()
    for name, row in wanted.items():
        assert families[name].type == row.kind
        assert families[name].documentation == row.help


def test_labels_are_those_of_the_row_and_the_driver(metrics: Metrics) -> None:
    fill(metrics)
    families = scrape(metrics)
    for row in rows():
        family = families[row.name.removesuffix("_total")]
        assert family.samples, row.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == {"driver", *row.labels}
            assert sample.labels["driver"] == DRIVER
            assert not sample.name.endswith("_created")
    assert all(
        not s.labels for row in PROCESS_ROWS for s in families[row.name.removesuffix("_total")].samples
    )


def one_sample(values: tuple[str, ...]) -> Samples:
    return {values: 1.0}


def fill(metrics: Metrics) -> None:
    for row in rows():
        labels = dict.fromkeys(row.labels, 'a "strange\\value"\n')
        if row.kind == "counter":
            metrics.count(row, **labels)
        elif row.kind == "histogram":
            metrics.observe(row, 0.3, **labels)
        elif row is not BUILD_INFO:
            metrics.gauge(row, partial(one_sample, tuple(labels.values())))


def test_build_information(metrics: Metrics) -> None:
    assert value(metrics, BUILD_INFO, version="1.2.3", python=platform.python_version()) == 1


def test_counters_without_labels_begin_at_zero(metrics: Metrics) -> None:
    assert value(metrics, RECORDS_SET_ASIDE) == 0
    metrics.count(RECORDS_SET_ASIDE)
    metrics.count(RECORDS_SET_ASIDE, 2)
    assert value(metrics, RECORDS_SET_ASIDE) == 3


def test_histograms_reach_from_a_millisecond_to_the_kubelets_deadline(metrics: Metrics) -> None:
    for seconds in (0.0009, 0.02, 44.0, 100.0):
        metrics.observe(CLAIM_SECONDS, seconds, operation="prepare", result="success")
    samples = scrape(metrics)[CLAIM_SECONDS.name].samples
    buckets = {s.labels["le"]: s.value for s in samples if s.name.endswith("_bucket")}
    assert list(map(float, buckets)) == [*SECONDS, float("inf")]
    assert [buckets[le] for le in ("0.001", "0.01", "0.025", "20.0", "45.0", "+Inf")] == [1, 1, 2, 2, 3, 4]


def test_two_drivers_in_one_process_do_not_mix(metrics: Metrics) -> None:
    other = Metrics("y.example.com", "1")
    other.count(RECORDS_SET_ASIDE)
    assert value(metrics, RECORDS_SET_ASIDE) == 0


def test_gauges_are_read_at_each_scrape(metrics: Metrics) -> None:
    held = [1.0]
    metrics.gauge(DEVICES_HELD, lambda: {(): held[0]})
    assert value(metrics, DEVICES_HELD) == 1
    held[0] = 7
    assert value(metrics, DEVICES_HELD) == 7


def test_a_gauge_that_cannot_be_read_is_missing_and_told_once(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [True]

    def read() -> dict[tuple[str, ...], float]:
        if broken[0]:
            raise StateError("cannot list claims")
        return {("prepared",): 3}

    metrics.gauge(CLAIMS, read)
    for _ in range(3):
        assert scrape(metrics)[CLAIMS.name].samples == []
    assert [record.getMessage() for record in caplog.records] == [
        f"metric {CLAIMS.name} cannot be read: cannot list claims"
    ]
    broken[0] = False
    assert value(metrics, CLAIMS, phase="prepared") == 3


def test_label_values_without_end_are_counted_as_other(metrics: Metrics) -> None:
    for number in range(10 * MOST_SERIES):
        metrics.count(PUBLISH_ERRORS, error=f"error {number}")
    metrics.count(PUBLISH_ERRORS, error="error 7")
    samples = [s for s in scrape(metrics)["intel_dra_publish_errors"].samples if s.name.endswith("_total")]
    assert len(samples) == MOST_SERIES + 1
    assert value(metrics, PUBLISH_ERRORS, error="error 7") == 2
    assert value(metrics, PUBLISH_ERRORS, error="other") == 9 * MOST_SERIES


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        (CLAIM_OPERATIONS, {"operation": "prepare"}),
        (CLAIM_OPERATIONS, {"operation": "prepare", "result": "x", "claim": "y"}),
        (DEVICES_HELD, {}),
        (Row("intel_dra_unknown_total", "counter", "Not in the table."), {}),
    ],
    ids=["missing", "surplus", "gauge", "unknown"],
)
def test_a_wrong_call_is_told_and_harms_nobody(
    metrics: Metrics, caplog: pytest.LogCaptureFixture, row: Row, labels: dict[str, str]
) -> None:
    metrics.count(row, **labels)
    metrics.observe(row, 1.0, **labels)
    assert len(caplog.records) == 2
    assert all(row.name in record.getMessage() for record in caplog.records)
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    assert "intel_dra_unknown" not in scrape(metrics)


def test_many_threads_lose_no_count(metrics: Metrics) -> None:
    def work() -> None:
        for number in range(500):
            metrics.count(API_REQUESTS, verb="get", code=str(200 + number % 3))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [value(metrics, API_REQUESTS, verb="get", code=code) for code in ("200", "201", "202")]
    assert sum(filter(None, found)) == 8 * 500


def test_scrapes_take_turns_and_do_not_wait_for_ever(metrics: Metrics) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> dict[tuple[str, ...], float]:
        begun.set()
        assert go_on.wait(60)
        return {(): 1}

    metrics.gauge(DEVICES_HELD, slow)
    thread = threading.Thread(target=lambda: metrics.expose(30))
    thread.start()
    try:
        assert begun.wait(60)
        assert metrics.expose(0.01) is None
    finally:
        go_on.set()
        thread.join()
    assert metrics.expose(0.01) is not None
