"""The rules of one capacity and its request policy (KEP-5075)."""

from __future__ import annotations

from fractions import Fraction

from dra_common.testing.apiserver.quantity import parse
from dra_common.testing.apiserver.resources import Json
from dra_common.testing.apiserver.status import Cause, duplicate, forbidden, invalid, required, too_many

VALID_VALUES = 10


def check_capacity(path: str, capacity: Json, *, shared: bool) -> list[Cause]:
    """Return the broken rules; ``shared`` = the device allows multiple allocations."""
    if "value" not in capacity:
        return [required(f"{path}.value")]
    policy = capacity.get("requestPolicy")
    if policy is None:
        return []
    path = f"{path}.requestPolicy"
    causes = _form(path, policy, shared=shared)
    if causes:
        return causes
    most = parse(capacity["value"])
    return (
        _range(f"{path}.validRange", policy, most) if "validRange" in policy else _values(path, policy, most)
    )


def _form(path: str, policy: Json, *, shared: bool) -> list[Cause]:
    if not shared:
        return [forbidden(path, "allowMultipleAllocations must be true")]
    if "validValues" in policy and "validRange" in policy:
        return [
            forbidden(
                path, "exactly one policy can be specified, cannot specify `validValues` and `validRange`"
            )
        ]
    if ("validValues" in policy or "validRange" in policy) and "default" not in policy:
        return [required(f"{path}.default")]
    return []


def _values(path: str, policy: Json, most: Fraction) -> list[Cause]:
    texts = policy.get("validValues", [])
    values = [parse(text) for text in texts]
    causes = []
    if len(values) > VALID_VALUES:
        causes.append(too_many(f"{path}.validValues", len(values), VALID_VALUES))
    if len(set(values)) != len(values):
        causes.append(duplicate(f"{path}.validValues", ", ".join(texts)))
    elif values != sorted(values):
        causes.append(invalid(f"{path}.validValues", ", ".join(texts), "must be sorted in ascending order"))
    for index, value in enumerate(values):
        if value > most:
            causes.append(
                invalid(f"{path}.validValues[{index}]", texts[index], "must not exceed the capacity")
            )
    if "default" in policy:
        causes += _default(path, policy["default"], values, most)
    return causes


def _default(path: str, text: str, values: list[Fraction], most: Fraction) -> list[Cause]:
    if parse(text) > most:
        return [invalid(f"{path}.default", text, "must not exceed the capacity")]
    if values and parse(text) not in values:
        return [invalid(f"{path}.default", text, "must be one of the valid values")]
    return []


def _range(path: str, policy: Json, most: Fraction) -> list[Cause]:
    given = policy["validRange"]
    if "min" not in given:
        return [required(f"{path}.min")]
    default, least = parse(policy["default"]), parse(given["min"])
    highest = parse(given.get("max", str(most)))
    causes = []
    if highest > most or least > highest:
        causes.append(invalid(path, given, "must be min <= max <= capacity"))
    if not least <= default <= highest:
        causes.append(invalid(f"{path}.default", policy["default"], "must be between min and max"))
    if "step" in given:
        causes += _step(f"{path}.step", given, default, most)
    return causes


def _step(path: str, given: Json, default: Fraction, most: Fraction) -> list[Cause]:
    step, least = parse(given["step"]), parse(given["min"])
    if step <= 0 or least + step > most:
        return [invalid(path, given["step"], "must be positive, and min + step must not exceed the capacity")]
    causes = []
    if "max" in given and (parse(given["max"]) - least) % step:
        causes.append(invalid(path, given["step"], "max - min must be a multiple of step"))
    if (default - least) % step:
        causes.append(invalid(path, given["step"], "default - min must be a multiple of step"))
    return causes
