"""The least that a prepare can cost in Python: a servicer that does what no prepare can do without, and nothing else.

``python -m dra_common.testing.benchmark.bare SOCKET KUBECONFIG RECORDS CDI`` serves. For each claim it makes the GET,
writes a record twice as the claim engine does, writes the CDI file, and answers. Nothing is locked, held, looked at,
checked or logged; what the driver takes beyond this is ours.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from dra_common.cluster import ClusterClient, connect
from dra_common.files import write_durably
from dra_common.kubelet._generated import dra_v1_pb2 as pb
from dra_common.kubelet._generated import dra_v1_pb2_grpc as pb_grpc
from dra_common.testing.benchmark.world import World
from dra_common.testing.kubelet.endpoint import Endpoint
from dra_common.testing.waiting import wait_until

_RECORD, _SPEC = b"r" * 700, b"s" * 1200
"""As long as those of a claim with one GPU."""


class Bare(pb_grpc.DRAPluginServicer):
    """Prepares a claim without any care."""

    def __init__(self, api: ClusterClient, records: Path, cdi: Path) -> None:
        self._api, self._records, self._cdi = api, records, cdi

    def NodePrepareResources(  # noqa: N802 - wire name
        self, request: pb.NodePrepareResourcesRequest, context: grpc.ServicerContext
    ) -> pb.NodePrepareResourcesResponse:
        """Do what no prepare can do without."""
        del context
        answers = {claim.uid: self._prepare(claim) for claim in request.claims}
        return pb.NodePrepareResourcesResponse(claims=answers)

    def NodeUnprepareResources(  # noqa: N802 - wire name
        self, request: pb.NodeUnprepareResourcesRequest, context: grpc.ServicerContext
    ) -> pb.NodeUnprepareResourcesResponse:
        """Remove the files, so that the next prepare makes them again."""
        del context
        for claim in request.claims:
            self._record(claim.uid).unlink()
            self._spec(claim.uid).unlink()
        nothing = pb.NodeUnprepareResourceResponse()
        return pb.NodeUnprepareResourcesResponse(claims={claim.uid: nothing for claim in request.claims})

    def _prepare(self, claim: pb.Claim) -> pb.NodePrepareResourceResponse:
        raw = self._api.get(
            f"/apis/resource.k8s.io/v1/namespaces/{claim.namespace}/resourceclaims/{claim.name}"
        )
        write_durably(self._record(claim.uid), _RECORD, durability="none")
        write_durably(self._spec(claim.uid), _SPEC, durability="none")
        write_durably(self._record(claim.uid), _RECORD)
        devices = [_device(result) for result in raw["status"]["allocation"]["devices"]["results"]]
        return pb.NodePrepareResourceResponse(devices=devices)

    def _record(self, uid: str) -> Path:
        return self._records / f"{uid}.json"

    def _spec(self, uid: str) -> Path:
        return self._cdi / f"bare_{uid}.json"


def _device(result: dict[str, Any]) -> pb.Device:
    return pb.Device(
        request_names=[result["request"]], pool_name=result["pool"], device_name=result["device"]
    )


@contextmanager
def bare(here: World) -> Iterator[Endpoint]:
    """Run one beside the driver, with its API server and on its disks; yields the kubelet's connection to it."""
    records, socket = here.node.root / "bare", here.node.root / "bare.sock"
    records.mkdir()
    arguments = [str(path) for path in (socket, here.node.root / "kubeconfig", records, here.node.cdi)]
    with subprocess.Popen([sys.executable, "-m", __name__, *arguments]) as server:  # noqa: S603
        endpoint = Endpoint(str(socket))
        try:
            wait_until(lambda: endpoint.look_after() or endpoint.connected, "the bare servicer")
            yield endpoint
        finally:
            endpoint.close()
            server.kill()


def main(socket: str, kubeconfig: str, records: str, cdi: str) -> None:
    """Serve until killed."""
    server = grpc.server(ThreadPoolExecutor(4))
    servicer = Bare(connect(kubeconfig), Path(records), Path(cdi))
    pb_grpc.add_DRAPluginServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]  # generated
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
