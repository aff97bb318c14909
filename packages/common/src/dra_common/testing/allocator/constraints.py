"""Rules that look at several devices of a claim: matchAttribute and distinctAttribute."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from dra_common.testing.allocator.outcome import Reason, Stop
from dra_common.testing.allocator.pools import Candidate
from dra_common.testing.allocator.requests import Request


class Constraint:
    """One entry of ``spec.devices.constraints`` and the devices that were let in so far.

    Args:
        attribute: fully qualified name.
        requests: names it is about, requests or ``request/subrequest``; empty = all.
        distinct: whether all values must differ (KEP-5075) rather than be the same.
    """

    def __init__(self, attribute: str, requests: frozenset[str], *, distinct: bool) -> None:
        self._attribute = attribute
        self._requests = requests
        self._distinct = distinct
        self._taken: list[tuple[Candidate, Mapping[str, Any]]] = []

    def covers(self, request: Request) -> bool:
        """Whether devices of this request have to comply."""
        return not self._requests or not self._requests.isdisjoint({request.name, request.base})

    def refusal(self, candidate: Candidate) -> str:
        """Return why the device may not join those that are in, empty if it may."""
        value = candidate.attribute(self._attribute)
        if value is None:
            return f"{self} is not met: it has no such attribute"
        for other, taken in self._taken:
            if (value == taken) is self._distinct:
                same = "the same as" if self._distinct else f"not {_shown(taken)} as"
                return f"{self} is not met: it has {_shown(value)}, {same} device {other.id}"
        return ""

    def add(self, candidate: Candidate) -> None:
        """Let a device in that was not refused."""
        self._taken.append((candidate, candidate.attribute(self._attribute) or {}))

    def remove_last(self) -> None:
        """Take back the latest :meth:`add`."""
        self._taken.pop()

    def __str__(self) -> str:
        return f"{'distinctAttribute' if self._distinct else 'matchAttribute'} {self._attribute}"


def read_constraints(claim: Mapping[str, Any]) -> tuple[Constraint, ...]:
    """Return the constraints of a claim. Raises Stop for one that is of no known kind."""
    return tuple(_constraints(claim["spec"].get("devices", {}).get("constraints", ())))


def _constraints(entries: list[Mapping[str, Any]]) -> Iterator[Constraint]:
    for index, entry in enumerate(entries):
        requests = frozenset(entry.get("requests", ()))
        if entry.get("matchAttribute"):
            yield Constraint(entry["matchAttribute"], requests, distinct=False)
        elif entry.get("distinctAttribute"):
            yield Constraint(entry["distinctAttribute"], requests, distinct=True)
        else:
            raise Stop(Reason("claim", f"constraint {index + 1} is of no known kind"))


def _shown(value: Mapping[str, Any]) -> str:
    return json.dumps(next(iter(value.values()), None), ensure_ascii=False)
