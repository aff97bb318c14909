"""The devices that a node can use, from ResourceSlices: their order and which pools are complete (KEP-4381)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from dra_common.testing.allocator.cel import Facts
from dra_common.testing.allocator.outcome import DeviceId
from dra_common.testing.allocator.quantities import parse_quantity

Amounts = dict[str, dict[str, Fraction]]
"""Counter set -> counter -> amount."""


@dataclass(eq=False)
class Candidate:
    """One device of a complete pool."""

    id: DeviceId
    raw: Mapping[str, Any]
    node: str | None

    @cached_property
    def facts(self) -> Facts:
        """What selectors see. Raises SelectorError."""
        return Facts(self.id.driver, self.raw)

    @cached_property
    def consumes(self) -> Amounts:
        """What it takes out of the pool's counter sets."""
        return {
            entry["counterSet"]: _amounts(entry["counters"]) for entry in self.raw.get("consumesCounters", ())
        }

    def attribute(self, name: str) -> Mapping[str, Any] | None:
        """Return the value of a fully qualified attribute, also if it is published without the driver's domain."""
        attributes: Mapping[str, Any] = self.raw.get("attributes", {})
        domain, _, identifier = name.partition("/")
        found: Mapping[str, Any] | None = attributes.get(name)
        return attributes.get(identifier) if found is None and domain == self.id.driver else found


@dataclass(eq=False)
class Pool:
    """All slices of one pool at its highest generation. ``problem`` says why nothing may be taken from it."""

    driver: str
    name: str
    candidates: tuple[Candidate, ...] = ()
    counters: Amounts = field(default_factory=dict)
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.driver}/{self.name}"


def gather_pools(slices: Iterable[Mapping[str, Any]], node: str) -> tuple[Pool, ...]:
    """Return the pools that ``node`` can use, sorted by driver and name; incomplete and invalid ones too."""
    pools: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for item in slices:
        spec = item["spec"]
        if spec.get("nodeName") == node or spec.get("allNodes") is True:
            pools.setdefault((spec["driver"], spec["pool"]["name"]), []).append(item)
    return tuple(_pool(*key, pools[key]) for key in sorted(pools))


def _pool(driver: str, name: str, slices: Sequence[Mapping[str, Any]]) -> Pool:
    generation = max(item["spec"]["pool"]["generation"] for item in slices)
    current = [item for item in slices if item["spec"]["pool"]["generation"] == generation]
    current.sort(key=lambda item: item["metadata"]["name"])
    wanted = current[0]["spec"]["pool"]["resourceSliceCount"]
    if len(current) != wanted:
        problem = f"incomplete: {len(current)} of {wanted} slices of generation {generation}"
        return Pool(driver, name, problem=problem)
    candidates = tuple(_candidates(driver, name, current))
    sets = [entry for item in current for entry in item["spec"].get("sharedCounters", ())]
    pool = Pool(driver, name, candidates, {entry["name"]: _amounts(entry["counters"]) for entry in sets})
    pool.problem = _fault(pool, [entry["name"] for entry in sets])
    return pool


def _candidates(driver: str, pool: str, slices: Sequence[Mapping[str, Any]]) -> Iterator[Candidate]:
    for item in slices:
        for device in item["spec"].get("devices", ()):
            yield Candidate(DeviceId(driver, pool, device["name"]), device, item["spec"].get("nodeName"))


def _fault(pool: Pool, sets: Sequence[str]) -> str:
    names = [candidate.id.device for candidate in pool.candidates]
    for kind, values in (("device name", names), ("counter set", sets)):
        twice = next((value for value in values if list(values).count(value) > 1), None)
        if twice is not None:
            return f"invalid: duplicate {kind} {twice}"
    for candidate in pool.candidates:
        for name, counters in candidate.consumes.items():
            for counter in counters:
                if counter not in pool.counters.get(name, {}):
                    return (
                        f"invalid: device {candidate.id.device} consumes {name}.{counter}, which is not there"
                    )
    return ""


def _amounts(counters: Mapping[str, Any]) -> dict[str, Fraction]:
    return {name: parse_quantity(str(counter["value"])) for name, counter in counters.items()}
