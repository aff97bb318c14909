"""How a device is, as somebody who watches it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from dra_common.model.device import Attribute, TaintEffect


class Severity(IntEnum):
    """How bad a finding is; numbered as in xpumd's interface (``deviceinfo.HealthStatus.severity``)."""

    UNKNOWN = 0
    OK = 1
    WARNING = 2
    CRITICAL = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a source says of one device.

    Args:
        what: what was looked at, in a few words (``memory``, ``pcie-fatal``); not empty.
        severity: how it is.
        message: one sentence for a person; may be empty.
    """

    what: str
    severity: Severity
    message: str = ""


class HealthState(StrEnum):
    """The values of the attribute ``health``, and of the kubelet's health stream."""

    UNKNOWN = "Unknown"
    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """All findings of one device, made into one.

    Args:
        reason: what is worst, as a taint's value can say it; empty unless unhealthy.
        message: for a person; empty if there is nothing to say.
        effect: of the taint that it gets; None = no taint.
        memory: bytes of local memory, for a device whose kernel driver does not tell; None = not known here either.
        attributes: what a source knows of it that the kernel does not tell; they win over the driver's.
    """

    state: HealthState = HealthState.UNKNOWN
    reason: str = ""
    message: str = ""
    effect: TaintEffect | None = None
    memory: int | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
