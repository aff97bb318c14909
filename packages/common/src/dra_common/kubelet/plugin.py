"""A driver as the kubelet sees it: one DRA socket, one registration socket."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import grpc

from dra_common.kubelet import folders
from dra_common.kubelet._generated.dra_v1_pb2_grpc import add_DRAPluginServicer_to_server
from dra_common.kubelet._generated.pluginregistration_v1_pb2_grpc import add_RegistrationServicer_to_server
from dra_common.kubelet.batch import ClaimWorkers
from dra_common.kubelet.device_health import HEALTH_VERSIONS, HealthStreams
from dra_common.kubelet.instances import Instances
from dra_common.kubelet.marks import Marks
from dra_common.kubelet.registration import RegistrationService, RegistrationStatus
from dra_common.kubelet.server import UnixServer
from dra_common.kubelet.service import DraService
from dra_common.kubelet.sockets import SocketPaths
from dra_common.ports import ClaimService, HealthFeed
from dra_common.readiness import Readiness
from dra_common.telemetry import SILENT, Counts

log = logging.getLogger(__name__)

DEFAULT_WORKERS: Final = 16

_CALL_THREADS: Final = 64
"""One for each pod whose call waits for claims: a node that boots starts all of its pods at once. Made on demand."""

_REGISTRATION_THREADS: Final = 2
_REGISTRATION_GRACE: Final = 1.0


class KubeletPlugin:
    """Serves the kubelet from :meth:`start` to :meth:`stop`, once; make a new one to start again.

    Args:
        driver_name: as in DeviceClasses and ResourceSlices, ``gpu.intel.com``.
        plugin_dir: the driver's own folder, usually ``/var/lib/kubelet/plugins/<driver_name>``; made if missing.
        registry_dir: the kubelet's, usually ``/var/lib/kubelet/plugins_registry``.
        claims: does the work; called from several threads at once.
        pod_uid: of the pod that this process runs in, "" = only one instance of the driver runs on the node at a time.
        readiness: told about ``serving`` and ``registered``; asks whether the socket files are still ours.
        workers: claims worked on at a time, over all calls.
        counts: is told of every claim's result.
        health: the health of the devices of pool ``pool``; None = the kubelet is told that we have no such service.
    """

    def __init__(  # noqa: PLR0913 - what it connects, wired once, in the composition root
        self,
        *,
        driver_name: str,
        plugin_dir: Path,
        registry_dir: Path,
        claims: ClaimService,
        readiness: Readiness,
        pod_uid: str = "",
        workers: int = DEFAULT_WORKERS,
        counts: Counts = SILENT,
        health: HealthFeed | None = None,
        pool: str = "",
    ) -> None:
        paths = partial(SocketPaths.of, driver_name, plugin_dir, registry_dir)
        self.paths = paths(pod_uid)
        self._instances = Instances(self.paths.dra.parent / "instances", pod_uid, paths)
        self._readiness = readiness
        self._workers = ClaimWorkers(workers)
        self._stop_lock = threading.Lock()
        requests = itertools.count(1)
        self._health = HealthStreams(health, pool, lambda: next(requests)) if health else None
        self._registration = RegistrationService(
            driver_name,
            self.paths.dra,
            readiness,
            lambda: next(requests),
            more_versions=HEALTH_VERSIONS if health else (),
        )
        self._dra = DraService(claims, self._workers, lambda: next(requests), counts)
        self._servers: list[UnixServer] = []

    @property
    def registration_status(self) -> RegistrationStatus | None:
        """What the kubelet last said, None before its first word."""
        return self._registration.status

    def in_flight(self) -> Mapping[tuple[str, ...], float]:
        """Return (``prepare`` or ``unprepare``,) -> claims that are being worked on or wait for a worker."""
        return self._workers.flights.counts()

    def start(self) -> None:
        """Listen: the DRA socket first, the registration socket last. Sockets of dead instances go then.

        Raises KubeletError or StateError, leaving no socket behind.
        """
        folders.require_registry(self.paths.registration.parent)
        folders.make_plugin_dir(self.paths.dra.parent)
        self.paths.check()
        try:
            self._instances.enter()
            marks = Marks(self.paths.dra.parent)
            marks.sweep()
            self._serve(UnixServer(self.paths.dra, self._add_dra, threads=_CALL_THREADS, marks=marks))
            self._serve(
                UnixServer(
                    self.paths.registration,
                    self._add_registration,
                    threads=_REGISTRATION_THREADS,
                    marks=marks,
                )
            )
        except BaseException:
            self.stop(grace=0)
            raise
        self._readiness.add_check(self.why_unreachable)
        self._readiness.add_check(self._workers.flights.why_wedged)
        self._readiness.met("serving")
        log.info("listening on %s, registration on %s", self.paths.dra, self.paths.registration)
        self._instances.sweep()

    def why_unreachable(self) -> str:
        """Return what happened to our socket files, ``""`` if nothing; only a new start brings them back."""
        return "; ".join(filter(None, (server.lost() for server in self._servers)))

    def stop(self, grace: float) -> None:
        """Finish calls in flight within ``grace`` seconds and remove both sockets; again or before start: nothing.

        The registration goes last, since the kubelet drops its connection, and with it the calls in flight, when that
        socket disappears. ResourceSlices are left alone: the kubelet removes them if we do not come back.
        """
        with self._stop_lock:
            self._readiness.unmet("serving", "stopped")
            if self._health:
                self._health.close()
            for server, seconds in zip(self._servers, (grace, _REGISTRATION_GRACE), strict=False):
                server.stop(seconds)
            self._servers.clear()
            self._instances.leave()
            self._workers.stop()

    def _serve(self, server: UnixServer) -> None:
        self._servers.append(server)
        server.start()

    def _add_dra(self, server: grpc.Server) -> None:
        add_DRAPluginServicer_to_server(self._dra, server)  # type: ignore[no-untyped-call]  # generated
        if self._health:
            self._health.add_to(server)

    def _add_registration(self, server: grpc.Server) -> None:
        add_RegistrationServicer_to_server(self._registration, server)  # type: ignore[no-untyped-call]  # generated
