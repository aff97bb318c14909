"""A telemetry that writes everything down."""

from __future__ import annotations

from collections import Counter

from dra_common.telemetry import Reason, Row


class Notebook:
    """``counts`` maps (name of the row, values of the labels) to what was added; ``events`` are in order."""

    def __init__(self) -> None:
        self.counts = Counter[tuple[str, ...]]()
        self.observed: list[tuple[str, float]] = []
        self.events: list[tuple[Reason, str]] = []

    def count(self, row: Row, amount: float = 1, /, **labels: str) -> None:
        assert set(labels) == set(row.labels), "the labels that the table declares"
        self.counts[row.name, *labels.values()] += int(amount)

    def observe(self, row: Row, value: float, /, **labels: str) -> None:
        assert set(labels) == set(row.labels), "the labels that the table declares"
        self.observed.append((row.name, value))

    def event(self, reason: Reason, note: str) -> None:
        self.events.append((reason, note))

    def of(self, row: Row) -> dict[str, int]:
        """Values of a row with one label."""
        return {labels[0]: count for (name, *labels), count in self.counts.items() if name == row.name}
