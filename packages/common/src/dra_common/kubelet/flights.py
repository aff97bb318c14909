"""Which claims are being worked on, and since when: what metrics and the liveness probe ask for."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

WEDGED_SECONDS: Final = 600.0
"""Far beyond the kubelet's 45 s: when every worker has been on one claim for this long, nothing is prepared."""


@dataclass(slots=True, eq=False)
class Flight:
    """One claim of one call, from its submission to its end; ``begun`` is set when a worker takes it up."""

    operation: str
    submitted: float = field(default_factory=time.monotonic)
    begun: float | None = None

    @property
    def seconds(self) -> float:
        """How long ago it was submitted."""
        return time.monotonic() - self.submitted


class Flights:
    """All claims in flight. Safe to use from all threads.

    Args:
        operations: that are shown, if only as 0.
        workers: how many claims can be worked on at a time.
    """

    def __init__(self, operations: Sequence[str], workers: int) -> None:
        self._lock = threading.Lock()
        self._operations, self._workers = tuple(operations), workers
        self._flights: set[Flight] = set()

    def add(self, operation: str) -> Flight:
        """Note a claim that waits for a worker."""
        flight = Flight(operation)
        with self._lock:
            self._flights.add(flight)
        return flight

    def end(self, flight: Flight) -> None:
        """Forget it: it is done, or will never begin."""
        with self._lock:
            self._flights.discard(flight)

    def counts(self) -> Mapping[tuple[str, ...], float]:
        """Return (operation,) -> how many are in flight."""
        with self._lock:
            found = Counter(flight.operation for flight in self._flights)
        return {(operation,): found[operation] for operation in (*self._operations, *found)}

    def why_wedged(self) -> str:
        """Return what keeps every claim from being worked on, ``""`` if nothing does."""
        with self._lock:
            begun = [flight.begun for flight in self._flights if flight.begun is not None]
        late = sum(time.monotonic() - since > WEDGED_SECONDS for since in begun)
        if late < self._workers:
            return ""
        return f"all {self._workers} claim workers have hung for more than {WEDGED_SECONDS:.0f} s"
