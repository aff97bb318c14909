"""A telemetry that remembers: what was counted, observed and told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from dra_common.telemetry import Reason, Row


@dataclass
class Ledger:
    """Implements :class:`dra_common.telemetry.Telemetry`.

    ``counts`` maps a row's name with its label values, ``name{a,b}``, to the sum; ``events`` are in their order.
    A label that the row does not have, or lacks, is an error here as it is for the real client.
    """

    counts: Counter[str] = field(default_factory=Counter)
    values: list[tuple[str, float]] = field(default_factory=list)
    events: list[tuple[Reason, str]] = field(default_factory=list)

    def count(self, row: Row, amount: float = 1, /, **labels: str) -> None:
        """Add to a sum."""
        self.counts[_key(row, labels)] += int(amount)

    def observe(self, row: Row, value: float, /, **labels: str) -> None:
        """Keep a value."""
        self.values.append((_key(row, labels), value))

    def event(self, reason: Reason, note: str) -> None:
        """Keep an Event."""
        self.events.append((reason, note))


def _key(row: Row, labels: dict[str, str]) -> str:
    if set(labels) != set(row.labels):
        msg = f"{row.name} has the labels {row.labels}, not {sorted(labels)}"
        raise AssertionError(msg)
    return f"{row.name}{{{','.join(labels[name] for name in row.labels)}}}" if labels else row.name
