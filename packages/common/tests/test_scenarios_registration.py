"""Scenarios 1 to 15 with kubelets of other versions, broken conversations, and a look at the connection."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from dra_common.kubelet._generated import pluginregistration_v1_pb2 as pb
from dra_common.kubelet._generated.pluginregistration_v1_pb2_grpc import RegistrationStub
from dra_common.model import ClaimRef
from dra_common.readiness import Readiness
from dra_common.testing.kubelet import FakeKubelet, KubeletNode, MemoryClaims
from dra_common.testing.kubelet.handshake import Handshake, RefusedError
from dra_common.testing.waiting import wait_until

CLAIM = ClaimRef("default", "claim", "uid-1")
V1, V1BETA1, HEALTH = "v1.DRAPlugin", "v1beta1.DRAPlugin", "v1.DRAResourceHealth"


@pytest.fixture
def node(short_tmp: Path) -> Iterator[KubeletNode]:
    with KubeletNode(short_tmp, MemoryClaims()) as node:
        yield node


@pytest.mark.scenario(15)
@pytest.mark.parametrize("versions", [(V1,), (V1BETA1, V1), (V1, V1BETA1, HEALTH)], ids=" ".join)
def test_every_kubelet_that_knows_v1_is_served_in_v1(node: KubeletNode, versions: tuple[str, ...]) -> None:
    node.start_plugin()
    with FakeKubelet(node.registry, versions=versions) as kubelet:
        assert kubelet.wait_registered(node.driver, timeout=60).version == V1
        assert kubelet.prepare([CLAIM])[CLAIM.uid].devices
        assert kubelet.unprepare([CLAIM]) == {CLAIM.uid: ""}


@pytest.mark.scenario(13, 15)
@pytest.mark.parametrize("versions", [(V1BETA1,), ("v9.DRAPlugin", HEALTH)], ids=" ".join)
def test_a_kubelet_without_a_version_in_common_is_reported_with_its_reason(
    node: KubeletNode, versions: tuple[str, ...]
) -> None:
    """Kubelets before 1.34 know v1beta1 only: the operator must see that, while the process goes on."""
    readiness = Readiness(["registered"])
    plugin = node.start_plugin(readiness)
    with FakeKubelet(node.registry, versions=versions, retry_delay=0.05) as kubelet:
        wait_until(lambda: len(kubelet.refusals) > 1, "a second try", seconds=60)
        assert kubelet.registered == ()
    why = f"none of the versions of {node.driver} is supported: {V1}"
    assert readiness.why_not() == f"registered: the kubelet refused: {why}"
    assert plugin.why_unreachable() == ""
    node.start_kubelet().wait_registered(node.driver, timeout=60)
    assert readiness.ready


@pytest.mark.scenario(13)
@pytest.mark.parametrize(
    "method",
    [
        "v1.DRAResourceHealth/NodeWatchResources",
        "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin/NodePrepareResources",
    ],
)
def test_what_is_not_advertised_is_not_served(node: KubeletNode, method: str) -> None:
    node.start_plugin()
    with grpc.insecure_channel(f"unix:{node.registration_socket}") as channel:
        info = RegistrationStub(channel).GetInfo(pb.InfoRequest(), timeout=30)  # type: ignore[no-untyped-call]
    assert list(info.supported_versions) == [V1]
    with grpc.insecure_channel(f"unix:{node.dra_socket}") as channel, pytest.raises(grpc.RpcError) as refused:
        list(channel.unary_stream(f"/{method}")(b"", timeout=30))  # type: ignore[arg-type]  # no serializer
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.scenario(5)
def test_a_registration_that_broke_off_is_begun_anew(node: KubeletNode) -> None:
    """A kubelet whose notification did not get through forgets the driver, and starts again with GetInfo."""
    readiness = Readiness(["registered"])
    node.start_plugin(readiness)
    with Handshake(node.registration_socket) as unfinished:
        assert unfinished.ask([V1]).driver == node.driver
    assert readiness.why_not() == "registered: not yet"
    with Handshake(node.registration_socket) as failed, pytest.raises(RefusedError, match="no room"):
        failed.tell("no room")
    assert readiness.why_not() == "registered: the kubelet refused: no room"
    kubelet = node.start_kubelet()
    kubelet.wait_registered(node.driver, timeout=60)
    assert readiness.ready
    assert kubelet.prepare([CLAIM])[CLAIM.uid].devices


@pytest.mark.scenario(14)
def test_all_calls_of_a_kubelet_come_over_one_connection(node: KubeletNode) -> None:
    node.start_plugin()
    kubelet = node.start_kubelet()
    kubelet.wait_registered(node.driver, timeout=60)
    refs = [ClaimRef("default", f"claim-{number}", f"uid-{number}") for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            list(pool.map(lambda ref: kubelet.prepare([ref]), refs))
            list(pool.map(lambda ref: kubelet.unprepare([ref]), refs))
            assert connections(node.dra_socket.parent) == 1
    kubelet.restart()
    kubelet.wait_registered(node.driver, timeout=60)
    kubelet.prepare(refs)
    wait_until(lambda: connections(node.dra_socket.parent) == 1, "the old connection to end", seconds=60)


def connections(folder: Path) -> int:
    """How many clients are connected to sockets of this folder; the kernel knows each by the name it was bound to."""
    established = "03"
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return sum(
        fields[5] == established and fields[7].startswith(f"{folder}/") for fields in lines if len(fields) > 7
    )
