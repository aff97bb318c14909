"""The kubelet's stream of device health, over real sockets: what a pod's status would say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from dra_common.health import Board
from dra_common.kubelet._generated import drahealth_v1_pb2 as pb
from dra_common.kubelet.device_health import HEALTH_VERSIONS, MOST_STREAMS, TIMEOUT_SECONDS, HealthStreams
from dra_common.kubelet.server import UnixServer
from dra_common.model import ClaimRef, DeviceHealth, HealthState
from dra_common.testing.kubelet import (
    V1,
    V1ALPHA1,
    FakeKubelet,
    Gate,
    HealthRules,
    KubeletNode,
    MemoryClaims,
    SeenHealth,
)
from dra_common.testing.waiting import wait_until

POOL = "node-1"
GOOD = DeviceHealth(HealthState.HEALTHY)
BAD = DeviceHealth(HealthState.UNHEALTHY, "memory", "memory (critical): 3 errors")
SOON = 0.05


@pytest.fixture
def board(node: KubeletNode) -> Board:
    node.health = board = Board()
    board.write({"a": GOOD, "b": DeviceHealth()})
    return board


def seen(kubelet: FakeKubelet, node: KubeletNode, device: str) -> SeenHealth:
    return kubelet.health(node.driver, POOL, device)


def wait_seen(kubelet: FakeKubelet, node: KubeletNode, device: str, status: str, message: str = "") -> None:
    wanted = SeenHealth(status, message)
    wait_until(lambda: seen(kubelet, node, device) == wanted, f"{device} to be {status}", seconds=60)


@pytest.mark.scenario(72)
@pytest.mark.parametrize("versions", [(V1, V1ALPHA1), (V1,), (V1ALPHA1,)], ids=" ".join)
def test_health_and_message_reach_the_kubelet_and_so_does_recovery(
    node: KubeletNode, board: Board, versions: tuple[str, ...]
) -> None:
    node.start_plugin()
    kubelet = node.start_kubelet(health=HealthRules(versions))
    wait_seen(kubelet, node, "a", "Healthy")
    assert seen(kubelet, node, "b") == SeenHealth("Unknown")
    board.write({"a": BAD, "b": GOOD})
    wait_seen(kubelet, node, "a", "Unhealthy", BAD.message)
    wait_seen(kubelet, node, "b", "Healthy")
    board.write({"a": GOOD, "b": GOOD})
    wait_seen(kubelet, node, "a", "Healthy")


@pytest.mark.scenario(73)
def test_a_stop_makes_unknown_and_a_start_known_again(node: KubeletNode, board: Board) -> None:
    plugin = node.start_plugin()
    kubelet = node.start_kubelet(health=HealthRules(retry=SOON))
    wait_seen(kubelet, node, "a", "Healthy")
    plugin.stop(grace=3600)  # streams never end by themselves: a stop that waits for them fails this test
    wait_seen(kubelet, node, "a", "Unknown")
    board.write({"a": BAD})
    node.start_plugin()
    wait_seen(kubelet, node, "a", "Unhealthy", BAD.message)


@pytest.mark.scenario(73)
def test_a_kubelet_that_starts_again_knows_again(node: KubeletNode, board: Board) -> None:
    node.start_plugin()
    kubelet = node.start_kubelet(health=HealthRules(retry=SOON))
    wait_seen(kubelet, node, "a", "Healthy")
    kubelet.restart()
    board.write({"a": BAD})
    wait_seen(kubelet, node, "a", "Unhealthy", BAD.message)


@pytest.fixture
def socket(short_tmp: Path) -> Path:
    return short_tmp / "health.sock"


@pytest.fixture
def quick(socket: Path) -> Iterator[Board]:
    """Streams that say all again very soon, on a socket of their own."""
    board = Board()
    streams = HealthStreams(board, POOL, lambda: 1, resend=SOON)
    server = UnixServer(socket, streams.add_to, threads=2 * MOST_STREAMS)
    server.start()
    yield board
    streams.close()
    server.stop(grace=60)


@pytest.mark.scenario(74)
@pytest.mark.parametrize("service", HEALTH_VERSIONS)
def test_all_is_told_again_before_it_is_out_of_date(socket: Path, quick: Board, service: str) -> None:
    """Told on change only, health would be unknown after 30 s."""
    quick.write({"a": BAD})
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        call = _stream(channel, service)
        first, second, third = next(call), next(call), next(call)
        call.cancel()
    assert first.devices[0].device == pb.DeviceIdentifier(pool_name=POOL, device_name="a")
    for response in (first, second, third):
        (device,) = response.devices
        assert (device.health, device.message) == (pb.UNHEALTHY, BAD.message)
        assert device.health_check_timeout_seconds == TIMEOUT_SECONDS
        assert abs(device.last_updated_time - time.time()) < 60  # seconds, not milliseconds


@pytest.mark.scenario(74)
def test_what_is_not_told_again_is_unknown_to_the_kubelet(node: KubeletNode, board: Board) -> None:
    """The other side of it: a driver that hangs cannot leave its devices healthy for ever."""
    node.start_plugin()
    kubelet = node.start_kubelet(health=HealthRules(timeout=1.0, obeys_timeouts=False))
    wait_until(lambda: kubelet.health_responses(node.driver), "a first word", seconds=60)
    wait_seen(kubelet, node, "a", "Unknown")
    board.write({"a": BAD})
    wait_until(lambda: seen(kubelet, node, "a").status == "Unhealthy", "the next word", seconds=60)


@pytest.mark.scenario(75)
def test_without_monitoring_the_service_is_neither_announced_nor_implemented(node: KubeletNode) -> None:
    node.start_plugin()
    kubelet = node.start_kubelet()
    kubelet.wait_registered(node.driver)
    assert seen(kubelet, node, "a") == SeenHealth()
    with grpc.insecure_channel(f"unix:{node.dra_socket}") as channel:
        for service in HEALTH_VERSIONS:
            with pytest.raises(grpc.RpcError) as answer:
                next(_stream(channel, service))
            assert answer.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert kubelet.health_responses(node.driver) == 0


@pytest.mark.scenario(76)
def test_claims_are_prepared_while_streams_are_open(
    node: KubeletNode, board: Board, claims: MemoryClaims
) -> None:
    claims.before = gate = Gate()
    node.start_plugin()
    kubelet = node.start_kubelet()
    wait_seen(kubelet, node, "a", "Healthy")
    refs = [ClaimRef("default", f"claim-{number}", f"uid-{number}") for number in range(8)]
    with ThreadPoolExecutor(len(refs)) as pods:
        calls = [pods.submit(kubelet.prepare, [ref]) for ref in refs]
        gate.wait_for(len(refs))
        board.write({"a": BAD})
        wait_seen(kubelet, node, "a", "Unhealthy", BAD.message)
        gate.open()
        assert not any(answer.error for call in calls for answer in call.result(60).values())


def test_only_so_many_streams_are_open_at_a_time_and_each_is_given_back(socket: Path, quick: Board) -> None:
    quick.write({"a": GOOD})
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        calls = [_stream(channel, HEALTH_VERSIONS[0]) for _ in range(MOST_STREAMS)]
        for call in calls:
            next(call)
        with pytest.raises(grpc.RpcError) as answer:
            next(_stream(channel, HEALTH_VERSIONS[1]))
        assert answer.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        calls.pop().cancel()

        def again() -> bool:
            try:
                return bool(next(_stream(channel, HEALTH_VERSIONS[1])).devices)
            except grpc.RpcError:
                return False

        wait_until(again, "the stream that ended to make room", seconds=60)


def _stream(channel: grpc.Channel, service: str) -> Any:
    call = channel.unary_stream(
        f"/{service}/NodeWatchResources",
        request_serializer=pb.NodeWatchResourcesRequest.SerializeToString,
        response_deserializer=pb.NodeWatchResourcesResponse.FromString,
    )
    return call(pb.NodeWatchResourcesRequest(), timeout=120)
