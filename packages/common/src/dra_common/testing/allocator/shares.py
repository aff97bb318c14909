"""Shares of devices, and what is left of their capacity (KEP-5075)."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from dra_common.testing.allocator.capacity import Taken, taken
from dra_common.testing.allocator.outcome import DeviceId
from dra_common.testing.allocator.pools import Candidate
from dra_common.testing.allocator.quantities import parse_quantity
from dra_common.testing.allocator.requests import Request
from dra_common.testing.allocator.usage import Amounts


class Shares:
    """Amounts taken by shares that are in use and by those being allocated."""

    def __init__(self, in_use: Mapping[DeviceId, Amounts]) -> None:
        self._amounts = {device: dict(amounts) for device, amounts in in_use.items()}
        self._count = dict.fromkeys(in_use, 1)
        self._known: dict[tuple[Request, DeviceId], Taken | str] = {}

    def there(self, candidate: Candidate) -> bool:
        """Whether somebody has a share of the device."""
        return candidate.shared and self._count.get(candidate.id, 0) > 0

    def refusal(self, request: Request, candidate: Candidate, *, ever: bool = False) -> str:
        """Return why the device's capacity is not enough, empty if it is; ``ever`` = even if nobody had a share.

        Raises Stop, as :func:`.capacity.taken` does.
        """
        share = self._taken(request, candidate)
        if isinstance(share, str):
            return share
        amounts = {} if ever else self._amounts.get(candidate.id, {})
        for name, amount in share.items():
            left = parse_quantity(str(candidate.raw["capacity"][name]["value"])) - amounts.get(name, 0)
            if parse_quantity(amount) > left:
                return f"{amount} of capacity {name} is wanted, {max(left, Fraction(0))} is left"
        return ""

    def take(self, request: Request, candidate: Candidate) -> Taken:
        """Charge a share that was not refused, and return what it takes; nothing of a device that is not shared."""
        share = self._taken(request, candidate)
        if isinstance(share, str) or not candidate.shared:
            return {}
        self._add(candidate, share, 1)
        return share

    def give_back(self, request: Request, candidate: Candidate) -> None:
        """Undo :meth:`take`."""
        share = self._taken(request, candidate)
        if not isinstance(share, str) and candidate.shared:
            self._add(candidate, share, -1)

    def _taken(self, request: Request, candidate: Candidate) -> Taken | str:
        key = (request, candidate.id)
        if key not in self._known:
            self._known[key] = taken(request, candidate)
        return self._known[key]

    def _add(self, candidate: Candidate, share: Taken, sign: int) -> None:
        self._count[candidate.id] = self._count.get(candidate.id, 0) + sign
        amounts = self._amounts.setdefault(candidate.id, {})
        for name, amount in share.items():
            amounts[name] = amounts.get(name, Fraction(0)) + sign * parse_quantity(amount)
