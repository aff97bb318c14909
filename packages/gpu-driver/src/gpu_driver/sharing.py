"""One GPU for several claims at once: what the policy ``sharing`` makes of a device (consumable capacity, KEP-5075).

The scheduler counts what the claims take; nothing here or in the kernel holds a container to it. Pure.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Annotated

from dra_common.model import Capacity, Device, Quantity, RequestPolicy
from dra_common.policy import PolicyModel
from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

CLIENTS = "clients"
"""The capacity that shared GPUs alone have: each claim takes one, unless it asks for more."""

_MIB = 1 << 20
_MOST_CLIENTS = 1000
_MOST_VALUES = 10
_SUFFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    f"{letter}i": 1024**power for power, letter in enumerate("KMGT", 1)
}
_AMOUNT = r"[0-9]{1,15}(k|M|G|T|Ki|Mi|Gi|Ti)?"


def _number(value: object) -> object:
    """Turn a Kubernetes quantity into a number; what is none stays, and is refused."""
    if not isinstance(value, str):
        return value
    if not (match := re.fullmatch(_AMOUNT, value, re.ASCII)):
        raise ValueError(f"{value!r} is no whole amount such as 250, 4Gi or 500M")
    suffix = match[1] or ""
    return int(value.removesuffix(suffix)) * _SUFFIXES[suffix]


Amount = Annotated[
    int,
    BeforeValidator(_number),
    Field(ge=0, lt=2**60),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_AMOUNT}$"}]}
    ),
]
"""A whole number, also with a suffix: ``250``, ``4Gi``."""


class Portion(PolicyModel):
    """How much of something one claim gets of a shared GPU.

    Args:
        default: what a claim gets that does not ask for an amount; without it, the GPU's divided by `maxClients`.
        min: who asks for less gets this much.
        max: nobody gets more.
        step: claims get `min` and a multiple of this, as much as they ask for or the next more.
        values: the only amounts there are, ascending, in place of `min`, `max` and `step`; claims get the next that is
            enough. Those that a GPU does not have are left out.
    """

    default: Amount | None = None
    min: Amount | None = None
    max: Amount | None = None
    step: Annotated[Amount | None, Field(gt=0)] = None
    values: Annotated[tuple[Amount, ...], Field(max_length=_MOST_VALUES)] = ()

    @model_validator(mode="after")
    def _is_possible(self) -> Portion:
        if self.values:
            self._check_values()
        else:
            self._check_range()
        return self

    def _check_values(self) -> None:
        if {self.min, self.max, self.step} != {None}:
            raise ValueError("`values` excludes `min`, `max` and `step`")
        if list(self.values) != sorted(set(self.values)):
            raise ValueError("`values` must ascend")
        if self.default is not None and self.default not in self.values:
            raise ValueError("`default` must be one of `values`")

    def _check_range(self) -> None:
        given = [each for each in (self.min, self.default, self.max) if each is not None]
        if given != sorted(given):
            raise ValueError("`min` <= `default` <= `max` must hold")
        if self.step and any((each - (self.min or 0)) % self.step for each in given):
            raise ValueError("`default` and `max` must be `min` and a multiple of `step`")

    def policy(self, total: Quantity, clients: int, unit: int) -> RequestPolicy:
        """Return how claims take parts of ``total``, of which ``clients`` of them could have equal ones.

        ``unit`` is the least that makes sense, and what equal parts are rounded down to. Raises ValueError saying what
        does not fit.
        """
        part = total.value // clients // unit * unit
        if self.values:
            return self._of_values(total, part)
        # Whoever says that claims get less than makes sense is believed.
        said = [each for each in (self.default, self.max) if each is not None]
        return self._of_range(total, part, min([self.step or min(unit, total.value), *said]))

    def _of_values(self, total: Quantity, part: int) -> RequestPolicy:
        values = [value for value in self.values if value <= total.value]
        equal = max((value for value in values if value <= part), default=self.values[0])
        default = self._checked(equal if self.default is None else self.default, total)
        return RequestPolicy(default, tuple(replace(total, value=value) for value in values))

    def _of_range(self, total: Quantity, part: int, least: int) -> RequestPolicy:
        least = least if self.min is None else self.min
        most = None if self.max is None or self.max > total.value else self.max
        bounded = max(least, min(part, total.value if most is None else most))
        equal = bounded - (bounded - least) % (self.step or 1)
        default = self._checked(equal if self.default is None else self.default, total)
        if self.step and least + self.step > total.value:
            return RequestPolicy(default, (default,))
        amount = partial(replace, total)
        return RequestPolicy(
            default,
            minimum=amount(value=least),
            maximum=None if most is None else amount(value=most),
            step=amount(value=self.step) if self.step else None,
        )

    def _checked(self, default: int, total: Quantity) -> Quantity:
        if default > total.value:
            raise ValueError(f"a claim would get {replace(total, value=default)}, and there is {total}")
        return replace(total, value=default)


class Sharing(PolicyModel):
    """How one GPU is given to several claims at once.

    Args:
        max_clients: how many claims at most.
        memory: how much of its memory a claim gets. It is counted, and enforced by nobody.
        millicores: how much of its 1000 millicores a claim gets. It is counted, and enforced by nobody.
    """

    max_clients: Annotated[int, Field(ge=1, le=_MOST_CLIENTS)]
    memory: Portion = Portion()
    millicores: Portion = Portion()


def share(device: Device, sharing: Sharing) -> Device:
    """Return the device as several claims can have it at once. Raises ValueError saying why it cannot be shared so."""
    most = sharing.max_clients
    capacity = {**device.capacity, CLIENTS: Capacity(Quantity(most), _clients(most))}
    for name, portion, unit in (("memory", sharing.memory, _MIB), ("millicores", sharing.millicores, 1)):
        # Without any of it, as integrated graphics have no memory, there is nothing to divide.
        if name in capacity and capacity[name].value.value:
            try:
                policy = portion.policy(capacity[name].value, most, unit)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            capacity[name] = replace(capacity[name], policy=policy)
    return replace(device, allow_multiple_allocations=True, capacity=capacity, alone=device.capacity)


def _clients(most: int) -> RequestPolicy:
    """Each claim takes one, or up to all: then it is alone."""
    one = Quantity(1)
    return RequestPolicy(one, (one,)) if most == 1 else RequestPolicy(one, minimum=one, step=one)
