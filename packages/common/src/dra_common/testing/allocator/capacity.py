"""What a request takes of a device's capacity: the request policies of consumable capacity (KEP-5075).

Every device has capacities, and a request may ask for an amount of them; of a device that does not allow multiple
allocations it gets all, whatever it asked for. Steps are computed in whole numbers, fractions rounded up, as by the
scheduler of Kubernetes 1.37: DRAFractionalCapacityRange is off there unless ``--min-compatibility-version`` is 1.37.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import Any

from dra_common.model import Quantity
from dra_common.testing.allocator.outcome import Reason, Stop
from dra_common.testing.allocator.pools import Candidate
from dra_common.testing.allocator.quantities import parse_quantity
from dra_common.testing.allocator.requests import Request

_INT64_MAX = 2**63 - 1

Taken = dict[str, str]
"""Name of a capacity as the device has it -> quantity that one share takes of it."""


def taken(request: Request, candidate: Candidate) -> Taken | str:
    """Return what ``request`` takes of each capacity, or why the device cannot give such an amount.

    Raises Stop for an amount that the scheduler's arithmetic cannot represent, where it gives up on the claim.
    """
    capacities: Mapping[str, Mapping[str, Any]] = candidate.raw.get("capacity", {})
    for name in request.capacity:
        # No domain is added or left out, unlike for attributes.
        if name not in capacities:
            return f"has no capacity {name}, of which {request.capacity[name]} is requested"
    amounts = {
        name: _amount(request, candidate, name, capacity) for name, capacity in sorted(capacities.items())
    }
    for name, amount in amounts.items():
        policy = capacities[name].get("requestPolicy", {})
        if not _valid(parse_quantity(amount), policy):
            return f"gives no {amount} of capacity {name}: {_offer(policy)}"
    return amounts


def _amount(request: Request, candidate: Candidate, name: str, capacity: Mapping[str, Any]) -> str:
    policy = capacity.get("requestPolicy", {})
    wanted = request.capacity.get(name)
    if wanted is None:
        return str(policy.get("default", capacity["value"]))
    if "validRange" in policy:
        try:
            return _rounded_up(wanted, policy["validRange"])
        except OverflowError as error:
            raise Stop(Reason("capacity", f"{name}: {error}", request.name, candidate.id)) from error
    values = map(str, policy.get("validValues", ()))
    return next((value for value in values if parse_quantity(wanted) <= parse_quantity(value)), wanted)


def _rounded_up(wanted: str, valid: Mapping[str, Any]) -> str:
    if parse_quantity(wanted) < parse_quantity(str(valid["min"])):
        return str(valid["min"])
    if "step" not in valid:
        return wanted
    least, step = _whole(valid["min"]), _whole(valid["step"])
    amount = least + -((least - _whole(wanted)) // step) * step
    if amount > _INT64_MAX:
        msg = f"{wanted} is an amount that the scheduler cannot compute with"
        raise OverflowError(msg)
    return str(Quantity(amount, "binary" if str(valid["step"]).endswith("i") else "decimal"))


def _whole(quantity: object) -> int:
    return ceil(parse_quantity(str(quantity)))


def _valid(amount: Fraction, policy: Mapping[str, Any]) -> bool:
    if "default" in policy and amount == parse_quantity(str(policy["default"])):
        return True
    if "validRange" in policy:
        valid = policy["validRange"]
        over = "max" in valid and amount > parse_quantity(str(valid["max"]))
        return not over and (
            "step" not in valid or (ceil(amount) - _whole(valid["min"])) % _whole(valid["step"]) == 0
        )
    values = [parse_quantity(str(value)) for value in policy.get("validValues", ())]
    return not values or amount in values


def _offer(policy: Mapping[str, Any]) -> str:
    if "validRange" in policy:
        return f"{policy['validRange'].get('max')} is the most"
    return f"only {', '.join(map(str, policy['validValues']))}"
