"""A measured figure beside what it is held against."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from dra_common.testing.benchmark.figures import Figure, percentile

from bench.yardsticks import YARDSTICKS

HEADER = ("MEASURED", "CASE", "MEDIAN", "WORST", "UNIT", "AT MOST", "GO DRIVER", "")


def figure(name: str, case: str, values: Sequence[float]) -> Figure:
    """Return the median of several values, and the largest if there are several. Raises KeyError for no yardstick."""
    yardstick = YARDSTICKS[name]
    worst = max(values) if len(values) > 1 else None
    return Figure(name, case, statistics.median(values), yardstick.unit, yardstick.most, worst)


def latencies(name: str, case: str, seconds: Sequence[float]) -> Iterator[Figure]:
    """Return p50 and, where it has a yardstick, p99, in milliseconds."""
    milliseconds = [value * 1000 for value in seconds]
    yield figure(f"{name}, p50", case, milliseconds)
    tail = YARDSTICKS.get(f"{name}, p99")
    if tail:
        yield Figure(
            f"{name}, p99", case, percentile(milliseconds, 0.99), tail.unit, tail.most, max(milliseconds)
        )


def as_dict(measured: Figure) -> dict[str, Any]:
    """Return a row for JSON."""
    return {**measured.as_dict(), "go": YARDSTICKS[measured.group].go}


def cells(measured: Figure) -> tuple[str, ...]:
    """Return a row of the table, which says whether the target is met."""
    *start, missed = measured.cells()
    met = "" if measured.target is None else "met"
    return (*start, YARDSTICKS[measured.group].go, missed or met)
