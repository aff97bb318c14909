"""Allocate from what an API server holds, and write the result there, as the scheduler does for a pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import NAMESPACE_OID, uuid5

from dra_common.testing.allocator.allocator import Allocator
from dra_common.testing.allocator.outcome import Unsatisfiable

_ROOT = "/apis/resource.k8s.io/v1"


class Store(Protocol):
    """The part of :class:`dra_common.ports.ApiServer` that is needed."""

    def list(self, path: str) -> Mapping[str, Any]:
        """GET a whole list."""

    def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT one object."""


def allocate_and_store(
    api: Store, claim: Mapping[str, Any], *, node: str, pod: Mapping[str, str] | None = None
) -> dict[str, Any] | Unsatisfiable:
    """Allocate ``claim`` on ``node`` and PUT its status: ``allocation`` and ``reservedFor``.

    Args:
        api: where slices, classes and claims are read and the status is written.
        claim: as stored, with its resourceVersion.
        node: the node of the pod.
        pod: ``name`` and ``uid`` of the consumer; made up from the claim if there is none.

    Returns the claim as stored then, or why it does not fit (nothing is written). Raises what ``api`` raises: a
    Conflict if the claim changed since it was read.
    """
    allocator = Allocator(
        api.list(f"{_ROOT}/resourceslices")["items"],
        api.list(f"{_ROOT}/deviceclasses")["items"],
        node=node,
        allocated=api.list(f"{_ROOT}/resourceclaims")["items"],
    )
    outcome = allocator.allocate(claim)
    if isinstance(outcome, Unsatisfiable):
        return outcome
    metadata = claim["metadata"]
    status = {
        **claim.get("status", {}),
        "allocation": dict(outcome.status_allocation),
        "reservedFor": [{"resource": "pods", **(pod or _made_up_pod(metadata))}],
    }
    path = f"{_ROOT}/namespaces/{metadata['namespace']}/resourceclaims/{metadata['name']}/status"
    return api.replace(path, {**claim, "status": status})


def _made_up_pod(metadata: Mapping[str, Any]) -> dict[str, str]:
    name = f"{metadata['name']}-pod"
    return {"name": name, "uid": str(uuid5(NAMESPACE_OID, f"{metadata.get('uid')}/{name}"))}
