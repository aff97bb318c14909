"""One measured figure, and how several runs become one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the report.

    Args:
        group: what was measured, for example ``prepare``.
        case: under which circumstances, for example ``16 callers, 100 held``.
        value: the figure, in ``unit``.
        unit: ``ms``, ``s``, ``MiB``, ``requests`` …
        target: the most that is good enough, None if there is none.
        spread: p99 for latencies, the largest of the runs otherwise; None for a single value.
    """

    group: str
    case: str
    value: float
    unit: str
    target: float | None = None
    spread: float | None = None

    @property
    def missed(self) -> bool:
        """Whether there is a target and the figure is above it."""
        return self.target is not None and self.value > self.target

    def as_dict(self) -> dict[str, Any]:
        """Return the figure for JSON."""
        return {**asdict(self), "missed": self.missed}

    def cells(self) -> tuple[str, ...]:
        """Return the figure as cells of a table."""
        spread = "" if self.spread is None else f"{self.spread:.3g}"
        target = "" if self.target is None else f"{self.target:g}"
        return (
            self.group,
            self.case,
            f"{self.value:.4g}",
            spread,
            self.unit,
            target,
            "MISSED" if self.missed else "",
        )


HEADER = ("MEASURED", "CASE", "MEDIAN", "P99/MAX", "UNIT", "AT MOST", "")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` (0…1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def latency(group: str, case: str, seconds: Sequence[float], target: float | None = None) -> Figure:
    """Return p50 and p99 in milliseconds."""
    median = statistics.median(seconds) * 1000
    return Figure(group, case, median, "ms", target, percentile(seconds, 0.99) * 1000)


def runs(group: str, case: str, values: Sequence[float], unit: str, target: float | None = None) -> Figure:
    """Return the median and the largest of several runs."""
    return Figure(group, case, statistics.median(values), unit, target, max(values))


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that ``call`` took."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@contextmanager
def stopwatch(into: list[float]) -> Iterator[None]:
    """Append the seconds that the block took."""
    began = time.perf_counter()
    yield
    into.append(time.perf_counter() - began)
