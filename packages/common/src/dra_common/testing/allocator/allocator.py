"""The allocator's front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dra_common.testing.allocator.constraints import read_constraints
from dra_common.testing.allocator.outcome import Allocation, DeviceId, Reason, Stop, Unsatisfiable
from dra_common.testing.allocator.pools import gather_pools
from dra_common.testing.allocator.replay import Replay
from dra_common.testing.allocator.requests import read_requests
from dra_common.testing.allocator.result import status_allocation
from dra_common.testing.allocator.usage import claim_name, read_usage


class Allocator:
    """One node's devices as they are at one moment. It remembers nothing: what it allocates is for the caller to store.

    Args:
        slices: ResourceSlices of any node.
        classes: DeviceClasses.
        node: the node that devices must be usable from; empty = the only node that the slices name.
        allocated: ResourceClaims; devices of those that are allocated are in use.
        step_limit: devices tried before the search for a combination gives up.

    Raises ValueError if ``node`` is left out and the slices name several.
    """

    def __init__(
        self,
        slices: Iterable[Mapping[str, Any]],
        classes: Iterable[Mapping[str, Any]],
        *,
        node: str = "",
        allocated: Iterable[Mapping[str, Any]] = (),
        step_limit: int = 100_000,
    ) -> None:
        slices = tuple(slices)
        self._node = node or _only_node(slices)
        self._slices = slices
        self._classes = {item["metadata"]["name"]: item for item in classes}
        self._in_use = read_usage(allocated)
        self._step_limit = step_limit

    def allocate(self, claim: Mapping[str, Any]) -> Allocation | Unsatisfiable:
        """Return what fits ``claim``, or why nothing does. The claim is not changed."""
        name = claim_name(claim)
        try:
            picks = self._search(claim).run()
        except Stop as stop:
            return Unsatisfiable(name, stop.reasons)
        return Allocation(name, tuple(pick.candidate.id for pick in picks), status_allocation(claim, picks))

    def objections(self, claim: Mapping[str, Any], allocation: Mapping[str, Any]) -> tuple[Reason, ...]:
        """Return what speaks against an allocation (``status.allocation``) of somebody else, empty if it is legal.

        It need not be the one that :meth:`allocate` makes; shares and configuration are not looked at.
        """
        chosen = [
            (result["request"], DeviceId(result["driver"], result["pool"], result["device"]))
            for result in allocation["devices"].get("results", ())
        ]
        try:
            return self._search(claim).objections(chosen)
        except Stop as stop:
            return stop.reasons

    def _search(self, claim: Mapping[str, Any]) -> Replay:
        if claim.get("status", {}).get("allocation"):
            raise Stop(Reason("claim", "is allocated already"))
        return Replay(
            read_requests(claim, self._classes),
            # Made anew for each claim: constraints and counters are charged during the search.
            gather_pools(self._slices, self._node),
            read_constraints(claim),
            self._in_use,
            self._step_limit,
        )


def _only_node(slices: Iterable[Mapping[str, Any]]) -> str:
    nodes = {item["spec"]["nodeName"] for item in slices if item["spec"].get("nodeName")}
    if len(nodes) > 1:
        msg = f"the slices are of several nodes ({', '.join(sorted(nodes))}): say which with node="
        raise ValueError(msg)
    return next(iter(nodes), "")
