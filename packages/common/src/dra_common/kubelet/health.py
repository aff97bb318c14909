"""The standard health service (grpc.health.v1) on TCP, for the probes of the DaemonSet.

It has its own server and threads, so that no number of slow prepares can delay a probe. ``""`` tells readiness,
``liveness`` whether a new start is needed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dra_common.readiness import Readiness

log = logging.getLogger(__name__)

DEFAULT_PORT: Final = 51516

_THREADS: Final = 2
_OPTIONS: Final = (("grpc.so_reuseport", 0),)
"""Without it a second process would bind the same port, and probes would reach either."""


class HealthServer:
    """Answers probes on all addresses of the host.

    Args:
        port: TCP port; negative is off, 0 is any free one.
        readiness: where the answers come from.
    """

    def __init__(self, port: int, readiness: Readiness) -> None:
        self._wanted = port
        self._service = _HealthService(readiness)
        self._server: grpc.Server | None = None
        self.port: int | None = None

    def start(self) -> None:
        """Listen; :attr:`port` tells where. A port that is taken is one warning, since devices can be served anyway."""
        if self._wanted < 0:
            return
        server = grpc.server(ThreadPoolExecutor(_THREADS, thread_name_prefix="health"), options=_OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(self._service, server)
        try:
            self.port = server.add_insecure_port(f"[::]:{self._wanted}")
        except RuntimeError:
            log.warning(
                "no health service: cannot listen on TCP port %d, probably in use; set another --healthcheck-port,"
                " or -1 for none",
                self._wanted,
            )
            return
        server.start()
        self._server = server

    def stop(self) -> None:
        """Stop listening; fine if it never did."""
        if self._server:
            self._server.stop(grace=0).wait()
        self._server = self.port = None


class _HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the library has no types
    """Check; Watch is left unimplemented, as the kubelet's probe never uses it."""

    def __init__(self, readiness: Readiness) -> None:
        self._reasons: Mapping[str, Callable[[], str]] = {
            "": readiness.why_not,
            "liveness": readiness.why_dead,
        }
        self._said: dict[str, str] = {}

    def Check(  # noqa: N802 - wire name
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Answer SERVING or NOT_SERVING; NOT_FOUND for a service that is not known."""
        reason = self._reasons.get(request.service)
        if reason is None:
            known = ", ".join(repr(name) for name in self._reasons)
            context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r}; there are {known}")
        why = reason()
        self._say(request.service or "readiness", why)
        response = health_pb2.HealthCheckResponse
        return response(status=response.NOT_SERVING if why else response.SERVING)

    def _say(self, service: str, why: str) -> None:
        """Log an answer when it differs from the last one: a probe itself cannot carry the reason."""
        if self._said.get(service) == why:
            return
        self._said[service] = why
        if why:
            log.warning("%s probe fails: %s", service, why)
        else:
            log.info("%s probe succeeds", service)
