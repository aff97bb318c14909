"""The answer to the kubelet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PreparedDevice:
    """One device of a NodePrepareResources answer (k8s.io.kubelet.pkg.apis.dra.v1 ``Device``).

    ``requests`` holds main request names, without subrequests. ``cdi_ids`` may be empty.
    """

    requests: tuple[str, ...]
    pool: str
    device: str
    cdi_ids: tuple[str, ...] = ()
    share_id: str | None = None
