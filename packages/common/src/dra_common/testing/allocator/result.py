"""From picks to ``status.allocation`` (resource.k8s.io/v1 AllocationResult)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any
from uuid import uuid4

from dra_common.testing.allocator.requests import Request
from dra_common.testing.allocator.search import Pick


def status_allocation(claim: Mapping[str, Any], picks: Sequence[Pick]) -> dict[str, Any]:
    """Return results in the order of picking, configuration of classes before that of the claim, and the node."""
    chosen = list(dict.fromkeys(pick.request for pick in picks))
    devices: dict[str, Any] = {"results": [_result(pick) for pick in picks]}
    config = [*_class_config(chosen), *_claim_config(claim, chosen)]
    total = len(claim["spec"]["devices"].get("requests", ()))
    for entry in config:
        if len(entry.get("requests", ())) == total:
            # No names means all requests.
            del entry["requests"]
    if config:
        devices["config"] = config
    node = next((pick.candidate.node for pick in picks if pick.candidate.node), None)
    return {"devices": devices, "nodeSelector": _on_node(node)} if node else {"devices": devices}


def _result(pick: Pick) -> dict[str, Any]:
    driver, pool, device = pick.candidate.id
    result: dict[str, Any] = {"request": pick.request.name, "driver": driver, "pool": pool, "device": device}
    if pick.request.admin:
        result["adminAccess"] = True
    if pick.request.tolerations:
        result["tolerations"] = deepcopy(list(pick.request.tolerations))
    if pick.candidate.shared:
        result["shareID"] = str(uuid4())
    if pick.share:
        result["consumedCapacity"] = dict(pick.share)
    return result


def _class_config(chosen: Sequence[Request]) -> Iterator[dict[str, Any]]:
    by_class: dict[str, list[Request]] = {}
    for request in chosen:
        by_class.setdefault(request.class_name, []).append(request)
    for requests in by_class.values():
        for entry in requests[0].device_class.get("spec", {}).get("config", ()):
            yield {**deepcopy(dict(entry)), "source": "FromClass", "requests": [one.name for one in requests]}


def _claim_config(claim: Mapping[str, Any], chosen: Sequence[Request]) -> Iterator[dict[str, Any]]:
    """Entries for all requests, for a chosen one, or for a chosen alternative; those of other alternatives not."""
    names = {name for request in chosen for name in (request.name, request.base)}
    for entry in claim["spec"]["devices"].get("config", ()):
        if not entry.get("requests") or not names.isdisjoint(entry["requests"]):
            yield {**deepcopy(dict(entry)), "source": "FromClaim"}


def _on_node(node: str) -> dict[str, Any]:
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    return {"nodeSelectorTerms": [{"matchFields": [field]}]}
