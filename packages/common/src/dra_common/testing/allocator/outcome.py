"""What an allocation attempt comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Clause: TypeAlias = Literal[
    "claim",
    "class",
    "pool",
    "class selector",
    "request selector",
    "allocated",
    "picked",
    "capacity",
    "counters",
    "taint",
    "constraint",
    "count",
    "limit",
]
"""Which rule said no. *picked*: the device is in this allocation already."""


class DeviceId(NamedTuple):
    """How the whole cluster names a device."""

    driver: str
    pool: str
    device: str

    def __str__(self) -> str:
        return "/".join(self)


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that said no.

    Args:
        clause: the rule.
        detail: one sentence without the request and the device.
        request: the request, ``request/subrequest`` for one of several; empty = the whole claim.
        device: the device, empty = none in particular.
    """

    clause: Clause
    detail: str
    request: str = ""
    device: DeviceId | None = None

    def __str__(self) -> str:
        where = [f"request {self.request}"] if self.request else []
        where += [f"device {self.device}"] if self.device else []
        return ": ".join([*where, self.detail])


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Why nothing fits; ``str()`` is a line for the claim and one for each reason."""

    claim: str
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        lines = [f"claim {self.claim} cannot be allocated:", *(f"  {reason}" for reason in self.reasons)]
        return "\n".join(lines)

    def of(self, device: str) -> tuple[Reason, ...]:
        """Return the reasons that are about one device, by its name in the pool."""
        return tuple(reason for reason in self.reasons if reason.device and reason.device.device == device)


@dataclass(frozen=True, slots=True)
class Allocation:
    """A claim that fits.

    Args:
        claim: ``namespace/name``.
        devices: what was chosen, in the order of the results.
        status_allocation: ``status.allocation`` of the claim (results, config, nodeSelector).
    """

    claim: str
    devices: tuple[DeviceId, ...]
    status_allocation: Mapping[str, Any]


class Stop(Exception):
    """The whole attempt ends here, other devices are not tried: what the scheduler reports as an error."""

    def __init__(self, *reasons: Reason) -> None:
        super().__init__("; ".join(map(str, reasons)))
        self.reasons = reasons
