"""NodePrepareResources and NodeUnprepareResources: the kubelet's calls, brought to a ClaimService claim by claim.

The answer has exactly one entry for every UID asked for, since the kubelet refuses an answer that skips one. A bad
claim fails by itself; the others of the call succeed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

import grpc

from dra_common.deadline import Deadline
from dra_common.kubelet._generated import dra_v1_pb2 as pb
from dra_common.kubelet._generated import dra_v1_pb2_grpc as pb_grpc
from dra_common.kubelet.batch import OPERATIONS, Call, ClaimWorkers, Operation, Outcome
from dra_common.log import bind
from dra_common.model import ClaimRef, PreparedDevice
from dra_common.ports import ClaimService
from dra_common.telemetry import CLAIM_OPERATIONS, CLAIM_SECONDS, SILENT, Counts

log = logging.getLogger(__name__)

T = TypeVar("T")

CALL_SECONDS: Final = 45.0
"""How long a kubelet waits for either call; a client's own deadline counts if it is shorter."""

_METHODS: Final[Mapping[Operation, str]] = {
    "prepare": "NodePrepareResources",
    "unprepare": "NodeUnprepareResources",
}
_SUCCESS: Final = "success"
_ERROR: Final = "error"

_MARGIN_SECONDS: Final = 1.0
_MARGIN_SHARE: Final = 0.1
"""We answer this much earlier (the smaller counts): the kubelet then shows our reason, not a bare DEADLINE_EXCEEDED."""


class DraService(pb_grpc.DRAPluginServicer):
    """The DRA v1 service of one driver."""

    def __init__(
        self,
        claims: ClaimService,
        workers: ClaimWorkers,
        next_request: Callable[[], int],
        counts: Counts = SILENT,
    ) -> None:
        self._claims = claims
        self._workers = workers
        self._next_request = next_request
        self._counts = counts
        for operation in OPERATIONS:
            # Shown from the start: a rate can be taken of the first claim, too.
            counts.count(CLAIM_OPERATIONS, 0, operation=operation, result=_SUCCESS)

    def NodePrepareResources(  # noqa: N802 - wire name
        self, request: pb.NodePrepareResourcesRequest, context: grpc.ServicerContext
    ) -> pb.NodePrepareResourcesResponse:
        """Prepare all claims of the request."""
        outcomes = self._run("prepare", self._prepare, request.claims, context)
        return pb.NodePrepareResourcesResponse(
            claims={
                uid: pb.NodePrepareResourceResponse(devices=outcome.value, error=outcome.error)
                for uid, outcome in outcomes.items()
            }
        )

    def NodeUnprepareResources(  # noqa: N802 - wire name
        self, request: pb.NodeUnprepareResourcesRequest, context: grpc.ServicerContext
    ) -> pb.NodeUnprepareResourcesResponse:
        """Undo all claims of the request."""
        outcomes = self._run("unprepare", self._unprepare, request.claims, context)
        return pb.NodeUnprepareResourcesResponse(
            claims={
                uid: pb.NodeUnprepareResourceResponse(error=outcome.error)
                for uid, outcome in outcomes.items()
            }
        )

    def _run(
        self,
        operation: Operation,
        work: Callable[[ClaimRef, Deadline], T],
        claims: Iterable[pb.Claim],
        context: grpc.ServicerContext,
    ) -> Mapping[str, Outcome[T]]:
        call = _call(self._next_request(), context, operation)
        refs = [ClaimRef(claim.namespace, claim.name, claim.uid) for claim in claims]
        with bind(request=call.request, method=_METHODS[operation]):
            begun = time.monotonic()
            outcomes = self._workers.run(work, refs, call)
            failed = sum(bool(outcome.error) for outcome in outcomes.values())
            took = (time.monotonic() - begun) * 1000
            log.debug("answered: %d claims, %d of them failed, %.0f ms", len(outcomes), failed, took)
        self._count(operation, outcomes.values())
        return outcomes

    def _count(self, operation: Operation, outcomes: Iterable[Outcome[T]]) -> None:
        for outcome in outcomes:
            result = _ERROR if outcome.error else _SUCCESS
            self._counts.count(CLAIM_OPERATIONS, operation=operation, result=outcome.kind or result)
            self._counts.observe(CLAIM_SECONDS, outcome.seconds, operation=operation, result=result)

    def _prepare(self, ref: ClaimRef, deadline: Deadline) -> list[pb.Device]:
        devices = self._claims.prepare(ref, deadline)
        answer = [_device(device) for device in devices]
        names = dict.fromkeys(device.device for device in devices)
        log.info("prepared: %s", ", ".join(names) or "no device of this driver")
        return answer

    def _unprepare(self, ref: ClaimRef, deadline: Deadline) -> None:
        self._claims.unprepare(ref, deadline)
        log.info("unprepared")


def _call(request: int, context: grpc.ServicerContext, operation: Operation) -> Call:
    """Half of the margin is for a claim that waits in vain, for a lock or the API server, to say for what."""
    seconds = min(CALL_SECONDS, context.time_remaining())
    margin = min(_MARGIN_SECONDS, seconds * _MARGIN_SHARE)
    return Call(request, Deadline.after(seconds - margin), context.add_callback, operation, margin / 2)


def _device(device: PreparedDevice) -> pb.Device:
    return pb.Device(
        request_names=device.requests,
        pool_name=device.pool,
        device_name=device.device,
        cdi_device_ids=device.cdi_ids,
        share_id=device.share_id,
    )
