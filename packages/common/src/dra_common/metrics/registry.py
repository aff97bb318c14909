"""The rows of :mod:`dra_common.telemetry` as metrics of prometheus-client."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dra_common.telemetry import BUILD_INFO, SECONDS, Row, Samples, rows

_log = logging.getLogger(__name__)

MOST_SERIES: Final = 200
"""Combinations of label values of one row; whatever comes beyond them is counted under :data:`OTHER`."""

OTHER: Final = "other"

Read = Callable[[], Samples]
"""Reads a gauge when it is scraped. May raise: the gauge is then missing from that scrape."""


class Metrics:
    """Counts for one driver; implements :class:`dra_common.telemetry.Counts`. Safe to use from all threads.

    It has a registry of its own, to which nothing is added but the table's rows and the numbers of the process
    (memory, CPU time, open files).

    Args:
        driver: value of the label ``driver``.
        version: of the driver, for the build information.
    """

    def __init__(self, driver: str, version: str) -> None:
        # Twice the series for the times at which they began, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._driver = driver
        self._registry = CollectorRegistry()
        self._counters = {row.name: self._counter(row) for row in rows() if row.kind == "counter"}
        self._histograms = {row.name: self._histogram(row) for row in rows() if row.kind == "histogram"}
        self._gauges = _Gauges(driver)
        self._seen: dict[str, set[tuple[str, ...]]] = {row.name: set() for row in rows()}
        self._lock = Lock()
        self._scraping = Lock()
        self._registry.register(self._gauges)
        ProcessCollector(registry=self._registry)
        self.gauge(BUILD_INFO, lambda: {(version, platform.python_version()): 1})

    def count(self, row: Row, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter; a call that cannot be right is logged, not raised."""
        try:
            self._counters[row.name].labels(**self._bounded(row, labels)).inc(amount)
        except (KeyError, ValueError) as error:
            _log.error("metric %s is not counted: %r", row.name, error)

    def observe(self, row: Row, value: float, /, **labels: str) -> None:
        """Put a value into a histogram; a call that cannot be right is logged, not raised."""
        try:
            self._histograms[row.name].labels(**self._bounded(row, labels)).observe(value)
        except (KeyError, ValueError) as error:
            _log.error("metric %s is not observed: %r", row.name, error)

    def gauge(self, row: Row, read: Read) -> None:
        """Ask ``read`` whenever this gauge is scraped."""
        self._gauges.add(row, read)

    def expose(self, wait: float) -> bytes | None:
        """Return everything in the text format, version 0.0.4.

        One scrape reads at a time; None if ``wait`` seconds were not enough for the turn to come.
        """
        if not self._scraping.acquire(timeout=wait):
            return None
        try:
            return generate_latest(self._registry)
        finally:
            self._scraping.release()

    def _counter(self, row: Row) -> Counter:
        counter = Counter(row.name, row.help, ("driver", *row.labels), registry=self._registry)
        if not row.labels:
            counter.labels(driver=self._driver)  # shown as 0 from the start
        return counter

    def _histogram(self, row: Row) -> Histogram:
        return Histogram(
            row.name, row.help, ("driver", *row.labels), registry=self._registry, buckets=SECONDS
        )

    def _bounded(self, row: Row, labels: dict[str, str]) -> dict[str, str]:
        """Return the labels to count under. A defect that makes values without end must not fill the memory."""
        values = tuple(labels.values())
        with self._lock:
            seen = self._seen[row.name]
            if values not in seen and len(seen) >= MOST_SERIES:
                labels = dict.fromkeys(labels, OTHER)
            else:
                seen.add(values)
        return {"driver": self._driver, **labels}


class _Gauges(Collector):
    """Gauges that are read when they are scraped; each row is shown, if only by its name."""

    def __init__(self, driver: str) -> None:
        self._driver = driver
        self._rows = tuple(row for row in rows() if row.kind == "gauge")
        self._reads: dict[str, Read] = {}
        self._failed: dict[str, str] = {}

    def add(self, row: Row, read: Read) -> None:
        self._reads[row.name] = read

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Return the names only: registering must read nothing."""
        return (GaugeMetricFamily(row.name, row.help) for row in self._rows)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for row in self._rows:
            family = GaugeMetricFamily(row.name, row.help, labels=("driver", *row.labels))
            for values, number in self._samples(row).items():
                family.add_metric((self._driver, *values), number)
            yield family

    def _samples(self, row: Row) -> Samples:
        read = self._reads.get(row.name)
        try:
            samples = read() if read else {}
        except Exception as error:  # noqa: BLE001 - one gauge must not cost the others, whatever is wrong with it
            if self._failed.get(row.name) != str(error):
                _log.warning("metric %s cannot be read: %s", row.name, error)
            self._failed[row.name] = str(error)
            return {}
        self._failed.pop(row.name, None)
        return samples
