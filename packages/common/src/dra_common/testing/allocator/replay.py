"""An allocation that somebody else made, held against the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dra_common.testing.allocator.outcome import DeviceId, Reason
from dra_common.testing.allocator.requests import Alternatives
from dra_common.testing.allocator.search import Search

Chosen = Sequence[tuple[str, DeviceId]]
"""Name of a request as in the results, and the device chosen for it."""


class Replay(Search):
    """The search without a choice."""

    def objections(self, chosen: Chosen) -> tuple[Reason, ...]:
        """Return what speaks against these devices. Raises Stop for what no allocation can be made for."""
        return (*self._devices(chosen), *self._counts([name for name, _ in chosen]))

    def _devices(self, chosen: Chosen) -> Iterator[Reason]:
        requests = {request.name: request for slot in self._slots for request in slot}
        candidates = {candidate.id: candidate for candidate in self._usable}
        for name, device in chosen:
            if name not in requests:
                yield Reason("claim", "there is no such request", name, device)
            elif device not in candidates:
                yield Reason("pool", "is in no pool that the node can use", name, device)
            else:
                reason = self._refusal(requests[name], candidates[device])
                if reason:
                    yield reason
                self._pick(requests[name], candidates[device])

    def _counts(self, names: Sequence[str]) -> Iterator[Reason]:
        for slot in self._slots:
            taken = [request for request in slot if request.name in names]
            if len(taken) != 1:
                yield Reason("count", f"{len(taken)} of its alternatives were chosen", slot[0].base)
                continue
            yield from self._count(slot, names.count(taken[0].name), slot.index(taken[0]))

    def _count(self, slot: Alternatives, have: int, index: int) -> Iterator[Reason]:
        request = slot[index]
        wanted = len(self._matching(request)) if request.mode == "All" else request.count
        if have != wanted:
            yield Reason("count", f"has {have} devices instead of {wanted}", request.name)
