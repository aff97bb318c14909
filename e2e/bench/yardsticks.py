"""What is measured, how good is good enough, and what Intel's Go driver did on the same kind of machine.

The Go driver, with its limit of five requests a second lifted, was measured on Kubernetes 1.36.3 on such a one-node
cluster of two processors, where a GET of a claim took 3 ms.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Yardstick:
    """One kind of figure.

    Args:
        unit: of the figure, and of what it is held against.
        most: the most that is good enough, None if there is no such thing.
        go: what the Go driver had; two numbers are those of its best and its worst run.
    """

    unit: str
    most: float | None = None
    go: str = ""


YARDSTICKS: Mapping[str, Yardstick] = {
    # What nothing can be quicker than.
    "GET of a claim, p50": Yardstick("ms"),
    "GET of a claim, p99": Yardstick("ms"),
    "empty call, p50": Yardstick("ms"),
    "durable write, p50": Yardstick("ms"),
    "bare interpreter": Yardstick("ms"),
    "start to slice": Yardstick("ms", 700, "1286-1289"),
    "prepare, p50": Yardstick("ms", 5, "4.7-5.6"),
    "prepare, p99": Yardstick("ms", 13, "10.7-15"),
    "prepare : GET": Yardstick("ratio", 1.7, "1.6-1.9"),
    "unprepare, p50": Yardstick("ms", 5, "5.1-6.4"),
    "unprepare, p99": Yardstick("ms", 13, "13-19"),
    "storm, prepared": Yardstick("s", 0.3, "0.24-0.31"),
    "storm, unprepared": Yardstick("s", 0.3, "2.0-2.7"),
    "resident, idle": Yardstick("MiB", 72, "42"),
    "resident, used": Yardstick("MiB", 72, "45"),
    "of it anonymous, idle": Yardstick("MiB"),
    "of it anonymous, used": Yardstick("MiB"),
    "processor time": Yardstick("ms", 11, "11-13"),
    "pods running": Yardstick("s"),
    "pods without a claim": Yardstick("s"),
}
