"""The devices that a node can use, from ResourceSlices: their order and which pools are complete (KEP-4381)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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

    @property
    def shared(self) -> bool:
        """Whether it allows multiple allocations (KEP-5075)."""
        return self.raw.get("allowMultipleAllocations") is True

    def attribute(self, name: str) -> Mapping[str, Any] | None:
        """Return the value of a fully qualified attribute, also if it is published without the driver's domain."""
        attributes: Mapping[str, Any] = self.raw.get("attributes", {})
        domain, _, identifier = name.partition("/")
        found: Mapping[str, Any] | None = attributes.get(name)
        return attributes.get(identifier) if found is None and domain == self.id.driver else found


@dataclass(eq=False)
class Pool:
    """All slices of one pool at its highest generation. ``problem`` says why nothing may be taken from it.

    ``elsewhere`` are devices that only other nodes can use; they consume the same counters.
    """

    driver: str
    name: str
    candidates: tuple[Candidate, ...] = ()
    elsewhere: tuple[Candidate, ...] = ()
    counters: Amounts = field(default_factory=dict)
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.driver}/{self.name}"


Slices = Sequence[Mapping[str, Any]]


def gather_pools(slices: Iterable[Mapping[str, Any]], node: str) -> tuple[Pool, ...]:
    """Return the pools that ``node`` can use, sorted by driver and name; incomplete and invalid ones too."""
    pools: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for item in sorted(slices, key=lambda item: str(item["metadata"]["name"])):
        pools.setdefault((item["spec"]["driver"], item["spec"]["pool"]["name"]), []).append(item)
    gathered = (_pool(*key, pools[key], node) for key in sorted(pools))
    return tuple(pool for pool in gathered if pool)


def _pool(driver: str, name: str, slices: Slices, node: str) -> Pool | None:
    """None: no slice is for the node, or those that are belong to a generation that is being replaced elsewhere."""
    here = _newest([item for item in slices if _is_for(item, node)])
    if not here:
        return None
    generation, wanted = (here[0]["spec"]["pool"][key] for key in ("generation", "resourceSliceCount"))
    whole = here
    if len(here) != wanted:
        whole = _newest(slices)
        if whole[0]["spec"]["pool"]["generation"] != generation:
            return None
    if len(whole) != wanted:
        problem = f"incomplete: {len(whole)} of {wanted} slices of generation {generation}"
        return Pool(driver, name, problem=problem)
    others = [item for item in whole if item not in here]
    sets = [entry for item in whole for entry in item["spec"].get("sharedCounters", ())]
    counters = {entry["name"]: _amounts(entry["counters"]) for entry in sets}
    pool = Pool(driver, name, _candidates(here), _candidates(others), counters)
    pool.problem = _fault(pool, [entry["name"] for entry in sets])
    return pool


def _newest(slices: Slices) -> Slices:
    highest = max((item["spec"]["pool"]["generation"] for item in slices), default=0)
    return [item for item in slices if item["spec"]["pool"]["generation"] == highest]


def _is_for(item: Mapping[str, Any], node: str) -> bool:
    return item["spec"].get("nodeName") == node or item["spec"].get("allNodes") is True


def _candidates(slices: Slices) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            DeviceId(item["spec"]["driver"], item["spec"]["pool"]["name"], device["name"]),
            device,
            item["spec"].get("nodeName"),
        )
        for item in slices
        for device in item["spec"].get("devices") or ()
    )


def _fault(pool: Pool, sets: Sequence[str]) -> str:
    names = [candidate.id.device for candidate in pool.candidates]
    for kind, values in (("device name", names), ("counter set", sets)):
        twice = next((value for value in values if list(values).count(value) > 1), None)
        if twice is not None:
            return f"invalid: duplicate {kind} {twice}"
    for candidate in (*pool.candidates, *pool.elsewhere):
        for name, counters in candidate.consumes.items():
            for counter in counters:
                if counter not in pool.counters.get(name, {}):
                    return (
                        f"invalid: device {candidate.id.device} consumes {name}.{counter}, which is not there"
                    )
    return ""


def _amounts(counters: Mapping[str, Any]) -> dict[str, Fraction]:
    return {name: parse_quantity(str(counter["value"])) for name, counter in counters.items()}
