"""From a ResourceClaim as the API server stores it to what concerns this driver on this node."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dra_common.errors import ClaimMismatch, DeviceUnknown
from dra_common.model import Allocated, Claim, ClaimRef, OpaqueConfig, is_uid

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
"""Annotation of a claim that was made from a template."""
_SHARE = re.compile(r"[0-9a-f-]{1,64}")


def check_uid(ref: ClaimRef) -> None:
    """Refuse a UID that could not be a file name. Raises ClaimMismatch."""
    if not is_uid(ref.uid):
        msg = f"claim {ref.namespace}/{ref.name}: UID {ref.uid!r} is not one that an API server gives"
        raise ClaimMismatch(msg)


def read_allocation(raw: Mapping[str, Any], ref: ClaimRef, *, driver: str, pool: str) -> Claim:
    """Keep our results and our opaque configuration of a ResourceClaim (resource.k8s.io/v1).

    Results and configuration of other drivers are ignored. Raises ClaimMismatch (other UID, not allocated, not of
    the documented shape), DeviceUnknown (a pool of our driver that is not this node's).
    """
    uid = _mapping(raw.get("metadata")).get("uid")
    if uid != ref.uid:
        msg = f"claim {ref}: it was replaced, the API server now has UID {uid}"
        raise ClaimMismatch(msg, cure="delete the pod; a new one gets the new claim")
    allocation = _mapping(_mapping(raw.get("status")).get("allocation"))
    if not allocation:
        msg = f"claim {ref}: it is not allocated"
        raise ClaimMismatch(msg, cure="the scheduler allocates it when its pod is placed; it is tried again")
    devices = _mapping(allocation.get("devices"))
    results = tuple(
        _result(entry, ref, pool)
        for entry in _entries(devices.get("results"))
        if entry.get("driver") == driver
    )
    configs = tuple(
        _config(entry, ref)
        for entry in _entries(devices.get("config"))
        if _mapping(entry.get("opaque")).get("driver") == driver
    )
    return Claim(ref, results, configs, _classes(raw), _pod_claim(raw))


def _pod_claim(raw: Mapping[str, Any]) -> str:
    """Return what the pod calls the claim; empty where the name could not be one, and be a part of a path."""
    name = str(_mapping(_mapping(raw.get("metadata")).get("annotations")).get(_POD_CLAIM, ""))
    return name if _LABEL.fullmatch(name) else ""


def _classes(raw: Mapping[str, Any]) -> dict[str, str]:
    """Return the DeviceClass of each request and subrequest; one that is not of the documented shape has none."""
    devices = _mapping(_mapping(raw.get("spec")).get("devices"))
    found = {}
    for request in _entries(devices.get("requests")):
        name = str(request.get("name", ""))
        found[name] = _mapping(request.get("exactly")).get("deviceClassName")
        for sub in _entries(request.get("firstAvailable")):
            found[f"{name}/{sub.get('name', '')}"] = sub.get("deviceClassName")
    return {name: device_class for name, device_class in found.items() if isinstance(device_class, str)}


def _result(entry: Mapping[str, Any], ref: ClaimRef, pool: str) -> Allocated:
    request, device = str(entry.get("request", "")), str(entry.get("device", ""))
    share = entry.get("shareID")
    if entry.get("pool") != pool:
        msg = f"claim {ref}: device {device} is in pool {entry.get('pool')}, this node has pool {pool} only"
        raise DeviceUnknown(msg, cure="check that --node-name is the node's name, then re-create the claim")
    if not request or not _LABEL.fullmatch(device) or not (share is None or _SHARE.fullmatch(str(share))):
        result = f"request {request!r}, device {device!r}, shareID {share!r}"
        msg = f"claim {ref}: an allocation result is malformed: {result}"
        raise ClaimMismatch(msg, cure="re-create the claim")
    return Allocated(
        request=request,
        pool=pool,
        device=device,
        share_id=None if share is None else str(share),
        admin_access=entry.get("adminAccess") is True,
        consumed_capacity={
            str(name): str(text) for name, text in _mapping(entry.get("consumedCapacity")).items()
        },
    )


def _config(entry: Mapping[str, Any], ref: ClaimRef) -> OpaqueConfig:
    source = entry.get("source")
    if source not in ("FromClass", "FromClaim"):
        msg = f"claim {ref}: opaque configuration from unknown source {source!r}"
        raise ClaimMismatch(msg, cure="re-create the claim")
    requests = [] if entry.get("requests") is None else entry["requests"]
    # Nothing in place of a list may read as "for all requests".
    if not isinstance(requests, list) or not all(isinstance(name, str) for name in requests):
        msg = f"claim {ref}: opaque configuration for malformed requests {requests!r}"
        raise ClaimMismatch(msg, cure="re-create the claim")
    parameters = _mapping(_mapping(entry.get("opaque")).get("parameters"))
    return OpaqueConfig(source, tuple(requests), parameters)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _entries(value: object) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
