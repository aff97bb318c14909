"""What is left of a pool's shared counters (KEP-4815)."""

from __future__ import annotations

from collections.abc import Container
from fractions import Fraction

from dra_common.testing.allocator.outcome import DeviceId
from dra_common.testing.allocator.pools import Candidate, Pool

Key = tuple[str, str, str, str]
"""Driver, pool, counter set, counter."""


class Counters:
    """Amounts left after devices that are in use and those being allocated."""

    def __init__(self, pools: tuple[Pool, ...], in_use: Container[DeviceId]) -> None:
        self._left: dict[Key, Fraction] = {
            (pool.driver, pool.name, name, counter): amount
            for pool in pools
            for name, counters in pool.counters.items()
            for counter, amount in counters.items()
        }
        for pool in pools:
            for candidate in (*pool.candidates, *pool.elsewhere) if not pool.problem else ():
                if candidate.id in in_use:
                    self.take(candidate)

    def refusal(self, candidate: Candidate) -> str:
        """Return which counter has too little left for the device, empty if none."""
        for key, amount in _needs(candidate):
            if self._left[key] < amount:
                return f"needs {amount} of counter {key[2]}.{key[3]}, {max(self._left[key], Fraction(0))} is left"
        return self._overdrawn(candidate) if candidate.consumes else ""

    def _overdrawn(self, candidate: Candidate) -> str:
        """After a driver has lowered a counter the scheduler takes nothing that consumes any of the pool's."""
        for (driver, pool, name, counter), left in self._left.items():
            if left < 0 and (driver, pool) == candidate.id[:2]:
                return f"counter {name}.{counter} of its pool is overdrawn"
        return ""

    def take(self, candidate: Candidate) -> None:
        """Charge a device."""
        for key, amount in _needs(candidate):
            self._left[key] -= amount

    def give_back(self, candidate: Candidate) -> None:
        """Undo :meth:`take`."""
        for key, amount in _needs(candidate):
            self._left[key] += amount


def _needs(candidate: Candidate) -> list[tuple[Key, Fraction]]:
    return [
        ((candidate.id.driver, candidate.id.pool, name, counter), amount)
        for name, counters in candidate.consumes.items()
        for counter, amount in counters.items()
    ]
