"""NodeWatchResources: the health of devices as the kubelet wants to hear it (KEP-4680).

A kubelet that hears nothing of a device for 30 s takes its health for unknown, so all is said again every 10 s. When
the stream ends it forgets all, and comes again 5 s later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, Final

import grpc

from dra_common.kubelet._generated import (
    drahealth_v1_pb2,
    drahealth_v1_pb2_grpc,
    drahealth_v1alpha1_pb2,
    drahealth_v1alpha1_pb2_grpc,
)
from dra_common.log import bind
from dra_common.model import DeviceHealth, HealthState
from dra_common.ports import HealthFeed

log = logging.getLogger(__name__)

HEALTH_VERSIONS: Final = ("v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth")
"""As registered; kubelets from 1.37 on take the first, older ones the second."""

RESEND_SECONDS: Final = 10.0
TIMEOUT_SECONDS: Final = 30
"""What kubelets take if nothing is said, and what those before 1.35 always take."""

MOST_STREAMS: Final = 8
"""Open at a time; each keeps a thread busy. A kubelet has one."""


class HealthStreams:
    """The streams of one driver, in both versions of the service.

    Args:
        feed: knows the health of all devices.
        pool: their pool, the node's name.
        resend: seconds after which all is said again.
    """

    def __init__(
        self, feed: HealthFeed, pool: str, next_request: Callable[[], int], *, resend: float = RESEND_SECONDS
    ) -> None:
        self._feed, self._pool, self._next_request, self._resend = feed, pool, next_request, resend
        self._free = threading.BoundedSemaphore(MOST_STREAMS)
        self._closed = False

    def add_to(self, server: grpc.Server) -> None:
        """Serve both versions."""
        v1, v1alpha1 = _V1(self, drahealth_v1_pb2), _V1alpha1(self, drahealth_v1alpha1_pb2)
        drahealth_v1_pb2_grpc.add_DRAResourceHealthServicer_to_server(v1, server)  # type: ignore[no-untyped-call]  # generated
        drahealth_v1alpha1_pb2_grpc.add_DRAResourceHealthServicer_to_server(v1alpha1, server)  # type: ignore[no-untyped-call]  # generated

    def close(self) -> None:
        """End all streams now: nobody has to wait for calls that never end by themselves."""
        self._closed = True
        self._feed.wake()

    def watch(self, pb: ModuleType, context: grpc.ServicerContext) -> Iterator[Any]:
        """Yield responses until the kubelet goes away or :meth:`close`."""
        if not self._free.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_STREAMS} streams are open already")
        try:
            with bind(request=self._next_request(), method="NodeWatchResources"):
                log.info("the kubelet watches the health of devices (%s)", pb.DESCRIPTOR.package)
            yield from self._responses(pb, context)
        finally:
            self._free.release()

    def _responses(self, pb: ModuleType, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(self._feed.wake)
        told: Mapping[str, DeviceHealth] | None = None
        due = 0.0
        tick, healths = self._feed.wait(-1, 0)
        while context.is_active() and not self._closed:
            if healths is not told or time.monotonic() >= due:
                yield self._response(pb, healths)
                told, due = healths, time.monotonic() + self._resend
            tick, healths = self._feed.wait(tick, max(0.0, due - time.monotonic()))

    def _response(self, pb: ModuleType, healths: Mapping[str, DeviceHealth]) -> Any:  # noqa: ANN401 - either version
        now = int(time.time())
        return pb.NodeWatchResourcesResponse(
            devices=[
                pb.DeviceHealth(
                    device=pb.DeviceIdentifier(pool_name=self._pool, device_name=name),
                    health=_STATUS[health.state],
                    last_updated_time=now,
                    health_check_timeout_seconds=TIMEOUT_SECONDS,
                    message=health.message,
                )
                for name, health in healths.items()
            ]
        )


_STATUS: Mapping[HealthState, int] = {
    HealthState.UNKNOWN: drahealth_v1_pb2.UNKNOWN,
    HealthState.HEALTHY: drahealth_v1_pb2.HEALTHY,
    HealthState.UNHEALTHY: drahealth_v1_pb2.UNHEALTHY,
}


class _V1(drahealth_v1_pb2_grpc.DRAResourceHealthServicer):
    def __init__(self, streams: HealthStreams, pb: ModuleType) -> None:
        self._streams, self._pb = streams, pb

    def NodeWatchResources(self, _request: object, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802 - wire name
        return self._streams.watch(self._pb, context)


class _V1alpha1(drahealth_v1alpha1_pb2_grpc.DRAResourceHealthServicer):
    def __init__(self, streams: HealthStreams, pb: ModuleType) -> None:
        self._streams, self._pb = streams, pb

    def NodeWatchResources(self, _request: object, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802 - wire name
        return self._streams.watch(self._pb, context)
