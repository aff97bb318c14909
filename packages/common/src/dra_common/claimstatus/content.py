"""What ``status.devices`` of a ResourceClaim says after a report; pure (resource.k8s.io/v1 AllocatedDeviceStatus)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dra_common.model import ClaimRef

Identity = tuple[str, str, str | None]
"""Pool, device, share id: with the driver what names an allocated device."""

READY = "Ready"
"""The type of our condition, by convention of KEP-4817."""

_LONGEST_MESSAGE = 4096
"""Characters; the API allows 32768."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one claim.

    Args:
        ready: whether its devices can be used.
        reason: one word, CamelCase.
        message: for people.
        data: what is told of each device beyond that.
    """

    ref: ClaimRef
    ready: bool
    reason: str
    message: str
    data: Mapping[Identity, Mapping[str, Any]] = field(default_factory=dict)


def with_report(
    claim: Mapping[str, Any], report: Report, *, driver: str, pool: str, now: str
) -> dict[str, Any] | None:
    """Return the claim with this driver's entries as the report says; None if they say so already, or it has none.

    Entries of other drivers and other nodes stay, and so does what others said in ours. ``now`` is a time as the API
    writes it. A claim with another UID is another claim.
    """
    status = claim.get("status") or {}
    if (claim.get("metadata") or {}).get("uid") != report.ref.uid:
        return None
    before = status.get("devices") or []
    mine = {_identity(entry): entry for entry in before if _is_mine(entry, driver, pool)}
    allocated = dict.fromkeys(_allocated(status, driver, pool))
    entries = [_entry(mine.get(each, {}), each, report, driver, now) for each in allocated]
    devices = [*(entry for entry in before if not _is_mine(entry, driver, pool)), *entries]
    if not entries or _unordered(devices) == _unordered(before):
        return None
    return {**claim, "status": {**status, "devices": devices}}


def _allocated(status: Mapping[str, Any], driver: str, pool: str) -> Iterator[Identity]:
    allocation = status.get("allocation") or {}
    for result in (allocation.get("devices") or {}).get("results") or []:
        if _is_mine(result, driver, pool):
            yield _identity(result)


def _is_mine(entry: Mapping[str, Any], driver: str, pool: str) -> bool:
    return entry.get("driver") == driver and entry.get("pool") == pool


def _identity(entry: Mapping[str, Any]) -> Identity:
    return entry["pool"], entry["device"], entry.get("shareID")


def _entry(
    before: Mapping[str, Any], identity: Identity, report: Report, driver: str, now: str
) -> dict[str, Any]:
    pool, device, share = identity
    known = before.get("conditions") or []
    others = [condition for condition in known if condition.get("type") != READY]
    ours: Mapping[str, Any] = next((condition for condition in known if condition.get("type") == READY), {})
    entry = {**before, "driver": driver, "pool": pool, "device": device}
    entry |= {"shareID": share} if share else {}
    entry["conditions"] = [*others, _condition(ours, report, now)]
    entry.pop("data", None)
    data = report.data.get(identity)
    return {**entry, "data": dict(data)} if data else entry


def _condition(before: Mapping[str, Any], report: Report, now: str) -> dict[str, Any]:
    status = "True" if report.ready else "False"
    changed = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": READY,
        "status": status,
        "reason": report.reason,
        "message": report.message[:_LONGEST_MESSAGE],
        "lastTransitionTime": changed or now,
    }


def _unordered(entries: list[Mapping[str, Any]]) -> dict[tuple[str, Identity], Mapping[str, Any]]:
    """The list is a map in the API, with the identity as its key."""
    return {(entry["driver"], _identity(entry)): entry for entry in entries}
