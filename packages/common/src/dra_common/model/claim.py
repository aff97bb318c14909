"""ResourceClaims as this driver sees them (resource.k8s.io/v1 ``status.allocation``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# No dot, slash or underscore: a UID is a part of names of files, and must not mean anything else there.
_UID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,126}[A-Za-z0-9])?")


def is_uid(text: str) -> bool:
    """Whether ``text`` may be a claim's UID: API servers give RFC 4122 UUIDs, tests give shorter names."""
    return _UID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ClaimRef:
    """How the kubelet names a claim. Of an adopted claim only the UID is known until the kubelet asks for it."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.full_name} (uid {self.uid})"

    @property
    def is_named(self) -> bool:
        """Whether namespace and name are known."""
        return bool(self.name)

    @property
    def full_name(self) -> str:
        """``<namespace>/<name>``, ``?`` while it is not known."""
        return f"{self.namespace}/{self.name}" if self.is_named else "?"


@dataclass(frozen=True, slots=True)
class Allocated:
    """One entry of ``allocation.devices.results`` that belongs to this driver.

    Args:
        request: ``<request>`` or ``<request>/<subrequest>`` as in the allocation.
        share_id: lower-case UUID, only for devices that allow multiple allocations (KEP-5075).
        consumed_capacity: qualified name to quantity text, only with a share id.
    """

    request: str
    pool: str
    device: str
    share_id: str | None = None
    admin_access: bool = False
    consumed_capacity: Mapping[str, str] = field(default_factory=dict)

    @property
    def base_request(self) -> str:
        """The request's name without the subrequest: what the kubelet compares with."""
        return self.request.partition("/")[0]


@dataclass(frozen=True, slots=True)
class OpaqueConfig:
    """One opaque entry of ``allocation.devices.config`` that is addressed to this driver.

    Entries stand in the allocation's order: those of the DeviceClass first, then the claim's; the later wins.
    ``requests`` is empty for "all requests".
    """

    source: Literal["FromClass", "FromClaim"]
    requests: tuple[str, ...]
    parameters: Mapping[str, Any]

    def covers(self, result: Allocated) -> bool:
        """Whether this entry applies to the device of ``result``."""
        return not self.requests or result.request in self.requests or result.base_request in self.requests


@dataclass(frozen=True, slots=True)
class Claim:
    """An allocated claim: our results and our configuration only, in the allocation's order.

    ``pod_claim`` is what its pod calls it, if it was made from a template. ``classes`` is the name of the DeviceClass
    of each request, and of each subrequest (``<request>/<subrequest>``).
    """

    ref: ClaimRef
    results: tuple[Allocated, ...] = ()
    configs: tuple[OpaqueConfig, ...] = ()
    classes: Mapping[str, str] = field(default_factory=dict)
    pod_claim: str = ""
