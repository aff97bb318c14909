"""The search: the first set of devices, in slice and list order, that satisfies all requests together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dra_common.testing.allocator.constraints import Constraint
from dra_common.testing.allocator.counters import Counters
from dra_common.testing.allocator.outcome import Clause, DeviceId, Reason, Stop
from dra_common.testing.allocator.pools import Candidate, Pool
from dra_common.testing.allocator.requests import Alternatives, Request
from dra_common.testing.allocator.rules import deselected, tainted
from dra_common.testing.allocator.shares import Shares
from dra_common.testing.allocator.usage import Usage

RESULTS_LIMIT = 32
"""Most results of one allocation (resource.k8s.io/v1, AllocationResultsMaxSize)."""


@dataclass(frozen=True)
class Pick:
    """One device chosen for one request, and what is taken of it if others may have it too."""

    request: Request
    candidate: Candidate
    share: Mapping[str, str] = field(default_factory=dict)


class Search:
    """One attempt. :meth:`run` returns the picks, or raises Stop with the reasons.

    Args:
        slots: the claim's requests.
        pools: the node's pools, in the order in which they are tried.
        constraints: the claim's.
        in_use: what other claims have.
        step_limit: devices tried before the search gives up.
    """

    def __init__(
        self,
        slots: tuple[Alternatives, ...],
        pools: tuple[Pool, ...],
        constraints: tuple[Constraint, ...],
        in_use: Usage,
        step_limit: int,
    ) -> None:
        self._slots = slots
        self._pools = pools
        self._usable = tuple(candidate for pool in pools if not pool.problem for candidate in pool.candidates)
        self._constraints = constraints
        self._in_use = in_use
        self._counters = Counters(pools, in_use)
        self._shares = Shares(in_use.shared)
        self._steps_left = step_limit
        self._picks: list[Pick] = []
        self._deselected: dict[tuple[Request, DeviceId], Reason | None] = {}
        self._refusals: dict[tuple[str, DeviceId | None, Clause], Reason] = {}
        self._most: dict[Request, int] = {}

    def run(self) -> tuple[Pick, ...]:
        """Return one pick for each result, in order. Raises Stop."""
        for request in (request for slot in self._slots for request in slot if request.mode == "All"):
            self._check_all(request)
        if self._slot(0):
            return tuple(self._picks)
        raise Stop(*self._reasons())

    def _slot(self, index: int) -> bool:
        """Satisfy the requests from ``index`` on."""
        if index == len(self._slots):
            return True
        return any(self._whole(index, request) for request in self._slots[index])

    def _whole(self, index: int, request: Request) -> bool:
        wanted = self._matching(request) if request.mode == "All" else ()
        count = len(wanted) if request.mode == "All" else request.count
        if len(self._picks) + count > RESULTS_LIMIT:
            detail = f"{len(self._picks) + count} devices are more than the {RESULTS_LIMIT} of an allocation"
            self._note(Reason("limit", detail, request.name))
            return False
        if request.mode == "All":
            return bool(wanted) and self._all(index, request, wanted)
        return self._exact(index, request, 0, 0)

    def _exact(self, index: int, request: Request, have: int, start: int) -> bool:
        """Pick ``count - have`` more devices, none before ``start``: their order within a request has no meaning."""
        self._most[request] = max(self._most.get(request, 0), have)
        if have == request.count:
            return self._slot(index + 1)
        for position in range(start, len(self._usable)):
            if self._take(request, self._usable[position]):
                if self._exact(index, request, have + 1, position + 1):
                    return True
                self._put_back()
        return False

    def _all(self, index: int, request: Request, wanted: tuple[Candidate, ...]) -> bool:
        before = len(self._picks)
        for have, candidate in enumerate(wanted):
            self._most[request] = max(self._most.get(request, 0), have)
            if not self._take(request, candidate):
                break
        else:
            self._most[request] = len(wanted)
            if self._slot(index + 1):
                return True
        while len(self._picks) > before:
            self._put_back()
        return False

    def _take(self, request: Request, candidate: Candidate) -> bool:
        self._steps_left -= 1
        if self._steps_left < 0:
            raise Stop(Reason("limit", "gave up: too many combinations of devices", request.name))
        reason = self._refusal(request, candidate)
        if reason is not None:
            self._note(reason)
            return False
        self._pick(request, candidate)
        return True

    def _pick(self, request: Request, candidate: Candidate) -> None:
        # Of a device's shares only the first one is charged counters.
        if not self._shares.there(candidate):
            self._counters.take(candidate)
        share = self._shares.take(request, candidate)
        for constraint in self._constraints:
            if constraint.covers(request):
                constraint.add(candidate)
        self._picks.append(Pick(request, candidate, share))

    def _put_back(self) -> None:
        pick = self._picks.pop()
        self._shares.give_back(pick.request, pick.candidate)
        if not self._shares.there(pick.candidate):
            self._counters.give_back(pick.candidate)
        for constraint in self._constraints:
            if constraint.covers(pick.request):
                constraint.remove_last()

    def _refusal(self, request: Request, candidate: Candidate) -> Reason | None:
        """The rules in the scheduler's order: what is cheap first, and no CEL on devices that are in use."""
        return (
            self._used(request, candidate)
            or self._select(request, candidate)
            or self._short(request, candidate)
            or self._counted(request, candidate)
            or tainted(request, candidate)
            or self._constrained(request, candidate)
        )

    def _used(self, request: Request, candidate: Candidate) -> Reason | None:
        for pick in self._picks:
            if pick.candidate is candidate and not candidate.shared:
                detail = f"is picked already, for request {pick.request.name}"
                return Reason("picked", detail, request.name, candidate.id)
        holder = None if request.admin else self._in_use.whole.get(candidate.id)
        return (
            Reason("allocated", f"is allocated to claim {holder}", request.name, candidate.id)
            if holder
            else None
        )

    def _select(self, request: Request, candidate: Candidate) -> Reason | None:
        key = (request, candidate.id)
        if key not in self._deselected:
            self._deselected[key] = deselected(request, candidate)
        return self._deselected[key]

    def _short(self, request: Request, candidate: Candidate) -> Reason | None:
        """Too little capacity; it keeps administrators away too (Kubernetes 1.37)."""
        detail = self._shares.refusal(request, candidate)
        return Reason("capacity", detail, request.name, candidate.id) if detail else None

    def _counted(self, request: Request, candidate: Candidate) -> Reason | None:
        detail = "" if self._shares.there(candidate) else self._counters.refusal(candidate)
        return Reason("counters", detail, request.name, candidate.id) if detail else None

    def _constrained(self, request: Request, candidate: Candidate) -> Reason | None:
        covering = (constraint for constraint in self._constraints if constraint.covers(request))
        detail = next(filter(None, (constraint.refusal(candidate) for constraint in covering)), "")
        if not detail:
            return None
        reason = Reason("constraint", detail, request.name, candidate.id)
        if request.mode == "All":
            # A claim for all devices that a constraint keeps some from is an error for the scheduler.
            raise Stop(reason)
        return reason

    def _check_all(self, request: Request) -> None:
        for pool in self._pools:
            if pool.problem:
                detail = f"asks for all devices, but pool {pool} is {pool.problem}"
                raise Stop(Reason("pool", detail, request.name))
        self._matching(request)

    def _matching(self, request: Request) -> tuple[Candidate, ...]:
        """All devices that the selectors mean and that are large enough, free or not."""
        found = []
        for candidate in self._usable:
            reason = self._select(request, candidate) or self._too_small(request, candidate)
            if reason is None:
                found.append(candidate)
            else:
                self._note(reason)
        return tuple(found)

    def _too_small(self, request: Request, candidate: Candidate) -> Reason | None:
        detail = self._shares.refusal(request, candidate, ever=True)
        return Reason("capacity", detail, request.name, candidate.id) if detail else None

    def _note(self, reason: Reason) -> None:
        """Keep the first reason of each kind for each device: a search meets the same ones over and over."""
        self._refusals.setdefault((reason.request, reason.device, reason.clause), reason)

    def _reasons(self) -> list[Reason]:
        """Requests that could not be satisfied first as a whole, then device by device."""
        requests = [request for slot in self._slots for request in slot]
        short = [request for request in requests if self._falls_short(request)]
        names = {request.name for request in short or requests}
        devices = sorted(
            (reason for reason in self._refusals.values() if reason.request in names),
            key=lambda reason: [request.name for request in requests].index(reason.request),
        )
        pools = [Reason("pool", f"pool {pool} is {pool.problem}") for pool in self._pools if pool.problem]
        return [*pools, *map(self._shortage, short), *devices]

    def _falls_short(self, request: Request) -> bool:
        if request.mode == "All":
            return self._most.get(request, 0) < max(1, len(self._matching(request)))
        return request in self._most and self._most[request] < request.count

    def _shortage(self, request: Request) -> Reason:
        had = self._most.get(request, 0)
        wants = (
            "all devices" if request.mode == "All" else f"{request.count} device{'s' * (request.count != 1)}"
        )
        looked = len(self._usable)
        detail = f"wants {wants} of class {request.class_name}; {had} of the node's {looked} fit"
        return Reason("count", detail, request.name)
