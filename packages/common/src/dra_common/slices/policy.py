"""The rules of request policies (KEP-5075), in whole numbers as servers before 1.37 compute them."""

from __future__ import annotations

from itertools import pairwise

from dra_common.errors import SliceError
from dra_common.model import Quantity, RequestPolicy

MAX_VALID_VALUES = 10


def check_policy(policy: RequestPolicy, capacity: Quantity, what: str) -> None:
    """Raise SliceError, prefixed with ``what``, unless the policy is one that fits a capacity of this size."""
    range_fields = (policy.minimum, policy.maximum, policy.step)
    if policy.valid_values and any(value is not None for value in range_fields):
        raise SliceError(f"{what}: has valid values and a range; they exclude each other")
    if policy.valid_values:
        _check_values(policy, capacity, what)
    elif policy.minimum is not None:
        _check_range(policy, policy.minimum, capacity, what)
    else:
        raise SliceError(f"{what}: needs valid values or a range with a minimum")


def _check_values(policy: RequestPolicy, capacity: Quantity, what: str) -> None:
    values = [value.value for value in policy.valid_values]
    if len(values) > MAX_VALID_VALUES:
        raise SliceError(f"{what}: has {len(values)} valid values, {MAX_VALID_VALUES} are allowed")
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise SliceError(f"{what}: valid values do not ascend")
    if values[0] < 0 or values[-1] > capacity.value:
        raise SliceError(f"{what}: valid values are not between 0 and the capacity {capacity}")
    if policy.default.value not in values:
        raise SliceError(f"{what}: the default {policy.default} is not one of the valid values")


def _check_range(policy: RequestPolicy, minimum: Quantity, capacity: Quantity, what: str) -> None:
    maximum = policy.maximum if policy.maximum is not None else capacity
    bounds = [0, minimum.value, policy.default.value, maximum.value, capacity.value]
    if bounds != sorted(bounds):
        raise SliceError(
            f"{what}: 0 <= minimum {minimum} <= default {policy.default} <= maximum {maximum} "
            f"<= capacity {capacity} does not hold"
        )
    if policy.step is not None:
        _check_step(policy, minimum.value, policy.step.value, capacity, what)


def _check_step(policy: RequestPolicy, minimum: int, step: int, capacity: Quantity, what: str) -> None:
    if step <= 0:
        raise SliceError(f"{what}: the step {policy.step} is not positive")
    if minimum + step > capacity.value:
        raise SliceError(f"{what}: minimum + step {policy.step} is more than the capacity {capacity}")
    for name, value in (("default", policy.default), ("maximum", policy.maximum)):
        if value is not None and (value.value - minimum) % step:
            raise SliceError(
                f"{what}: the {name} {value} is not the minimum plus a multiple of the step {policy.step}"
            )
