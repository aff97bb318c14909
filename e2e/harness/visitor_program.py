"""A second driver for the node: everything of ``dra_common`` on devices that are files, misbehaving as it is told.

``VISITOR_NAME`` is its name, ``VISITOR_ORDERS`` a folder: a file ``fail`` there lists what fails (``apply:a``), while
there is ``hold`` whoever prepares waits after having made ``entered``, and while there is ``skip`` answers to the
kubelet are empty.
"""

import os
import sys
import time
from pathlib import Path

import grpc
from dra_common.cli import main
from dra_common.definition import Definition
from dra_common.kubelet import plugin
from dra_common.kubelet._generated import dra_v1_pb2 as pb
from dra_common.kubelet.service import DraService
from dra_common.model import Plan
from dra_common.ports import Host
from dra_common.simulate import Simulation
from dra_common.testing.knobs import DRIVER, KnobDriver

ORDERS = Path(os.environ["VISITOR_ORDERS"])
SKIP = ORDERS / "skip"


class ObedientKnobs(KnobDriver):
    """Fails and waits as the orders say."""

    name = os.environ.get("VISITOR_NAME", DRIVER)

    def apply(self, plan: Plan, host: Host) -> None:
        """Wait while there is somebody who holds us."""
        while (ORDERS / "hold").exists():
            (ORDERS / "entered").touch()
            time.sleep(0.01)
        super().apply(plan, host)

    def _maybe_fail(self, step: str, name: str) -> None:
        orders = ORDERS / "fail"
        self.broken = set(orders.read_text().split()) if orders.exists() else set()
        super()._maybe_fail(step, name)


class SkippingService(DraService):
    """Answers for no claim at all while it is told to."""

    def NodePrepareResources(  # noqa: N802 - wire name
        self, request: pb.NodePrepareResourcesRequest, context: grpc.ServicerContext
    ) -> pb.NodePrepareResourcesResponse:
        """Prepare, or do nothing and say nothing."""
        if SKIP.exists():
            return pb.NodePrepareResourcesResponse()
        return super().NodePrepareResources(request, context)

    def NodeUnprepareResources(  # noqa: N802 - wire name
        self, request: pb.NodeUnprepareResourcesRequest, context: grpc.ServicerContext
    ) -> pb.NodeUnprepareResourcesResponse:
        """Undo, or do nothing and say nothing."""
        if SKIP.exists():
            return pb.NodeUnprepareResourcesResponse()
        return super().NodeUnprepareResources(request, context)


if __name__ == "__main__":
    # No driver of ours can be told to do this.
    plugin.DraService = SkippingService  # type: ignore[attr-defined]
    sys.exit(main(Definition("visitor", "dra-common", "Knobs.", ObedientKnobs(), lambda: Simulation({}))))
