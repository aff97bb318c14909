"""ResourceClaims, one GET each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from dra_common.cluster.answers import reworded
from dra_common.deadline import Deadline
from dra_common.errors import ClusterError, NotFound, ServerError, Throttled, Unreachable
from dra_common.model import ClaimRef
from dra_common.ports import ApiServer

_PAUSE = 0.1
_TIMEOUT = 10.0


class ClusterClaims:
    """Reads claims through ``api``; implements :class:`dra_common.ports.ClaimReader`."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api

    def read(self, ref: ClaimRef, deadline: Deadline) -> Mapping[str, Any]:
        """GET the claim as it is now, whatever its UID.

        A server that is away, overloaded or broken is asked once more if the deadline allows: a failed prepare costs
        the pod more than a minute. Raises ClusterError, which names the claim.
        """
        try:
            return self._get(ref, deadline)
        except (Unreachable, ServerError, Throttled) as error:
            pause = error.retry_after if isinstance(error, Throttled) else _PAUSE
            if pause > deadline.remaining / 2:
                raise
        time.sleep(pause)
        return self._get(ref, deadline)

    def _get(self, ref: ClaimRef, deadline: Deadline) -> Mapping[str, Any]:
        namespace, name = quote(ref.namespace, safe=""), quote(ref.name, safe="")
        path = f"/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims/{name}"
        try:
            # Half of what is left stays for a second try, for preparing, and to say why it failed.
            return self._api.get(path, timeout=max(0.1, min(_TIMEOUT, deadline.remaining / 2)))
        except NotFound as error:
            raise reworded(error, f"claim {ref}", _missing(error)) from error
        except ClusterError as error:
            raise reworded(error, f"claim {ref}") from error


def _missing(error: NotFound) -> str:
    # A group version that is not served has a cure of its own.
    return (
        error.cure
        if "not served" in error.cure
        else "the claim was deleted; delete the pod that refers to it"
    )
