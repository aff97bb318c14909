"""How the kubelet gets to know this driver: pluginregistration v1."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from dra_common.kubelet._generated import pluginregistration_v1_pb2 as pb
from dra_common.kubelet._generated import pluginregistration_v1_pb2_grpc as pb_grpc
from dra_common.log import bind
from dra_common.readiness import Readiness

log = logging.getLogger(__name__)

PLUGIN_TYPE: Final = "DRAPlugin"
SUPPORTED_VERSIONS: Final = ("v1.DRAPlugin",)
"""In the order of our preference: a kubelet takes the first that it knows."""


@dataclass(frozen=True, slots=True)
class RegistrationStatus:
    """What the kubelet last said about us; ``error`` is its reason if it did not register us."""

    registered: bool
    error: str = ""


class RegistrationService(pb_grpc.RegistrationServicer):
    """Answers the kubelet from memory: it waits one second for GetInfo."""

    def __init__(
        self,
        driver_name: str,
        endpoint: Path,
        readiness: Readiness,
        next_request: Callable[[], int],
        more_versions: Sequence[str] = (),
    ) -> None:
        versions = (*SUPPORTED_VERSIONS, *more_versions)
        self._info = pb.PluginInfo(
            type=PLUGIN_TYPE, name=driver_name, endpoint=str(endpoint), supported_versions=versions
        )
        self._readiness = readiness
        self._next_request = next_request
        self.status: RegistrationStatus | None = None

    def GetInfo(self, _request: pb.InfoRequest, _context: grpc.ServicerContext) -> pb.PluginInfo:  # noqa: N802 - wire name
        """Say who we are."""
        with bind(request=self._next_request(), method="GetInfo"):
            log.debug("the kubelet asked who is there")
        return self._info

    def NotifyRegistrationStatus(  # noqa: N802 - wire name
        self, request: pb.RegistrationStatus, context: grpc.ServicerContext
    ) -> pb.RegistrationStatusResponse:
        """Note how the registration went; a refusal is answered with an error, as the kubelet expects."""
        with bind(request=self._next_request(), method="NotifyRegistrationStatus"):
            if not request.plugin_registered:
                self._refused(request.error)
                reason = f"registration of {self._info.name} failed: {request.error}"
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, reason)
            self._accepted()
        return pb.RegistrationStatusResponse()

    def _accepted(self) -> None:
        self.status = RegistrationStatus(registered=True)
        self._readiness.met("registered")
        log.info("the kubelet registered %s", self._info.name)

    def _refused(self, error: str) -> None:
        self.status = RegistrationStatus(registered=False, error=error)
        self._readiness.unmet("registered", f"the kubelet refused: {error}")
        log.error("the kubelet did not register %s and will try again: %s", self._info.name, error)
