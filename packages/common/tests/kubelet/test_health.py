"""Probes over real TCP."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import grpc
import pytest
from dra_common.kubelet import HealthServer
from dra_common.model import ClaimRef
from dra_common.readiness import Readiness
from dra_common.testing.kubelet import FakeKubelet, Gate, KubeletNode, MemoryClaims
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def readiness() -> Readiness:
    return Readiness(["serving", "registered"])


@pytest.fixture
def server(readiness: Readiness) -> Iterator[HealthServer]:
    server = HealthServer(0, readiness)
    server.start()
    yield server
    server.stop()


@contextmanager
def probe(server: HealthServer, host: str = "127.0.0.1") -> Iterator[Callable[[str], int]]:
    with grpc.insecure_channel(f"{host}:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        def check(service: str) -> int:
            status: int = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status
            return status

        yield check


def test_readiness_and_liveness_are_answered_from_what_is_true_now(
    server: HealthServer, readiness: Readiness
) -> None:
    dead = ""
    readiness.add_check(lambda: dead)
    with probe(server) as check:
        assert (check(""), check("liveness")) == (NOT_SERVING, SERVING)
        readiness.met("serving")
        assert (check(""), check("liveness")) == (NOT_SERVING, SERVING)
        readiness.met("registered")
        assert (check(""), check("liveness")) == (SERVING, SERVING)
        dead = "the socket is gone"
        assert (check(""), check("liveness")) == (NOT_SERVING, NOT_SERVING)
        dead = ""
        readiness.unmet("registered", "refused")
        assert (check(""), check("liveness")) == (NOT_SERVING, SERVING)


@pytest.mark.parametrize("service", ["readiness", "Liveness", "gpu.example.com"])
def test_an_unknown_service_is_not_found(server: HealthServer, service: str) -> None:
    with probe(server) as check, pytest.raises(grpc.RpcError) as answer:
        check(service)
    assert answer.value.code() is grpc.StatusCode.NOT_FOUND
    assert f"no service '{service}'; there are '', 'liveness'" in str(answer.value.details())


def test_the_reason_of_a_failing_probe_is_logged_once_until_it_changes(
    server: HealthServer, readiness: Readiness, log_text: Callable[[], str]
) -> None:
    with probe(server) as check:
        for _ in range(3):
            check("")
        readiness.met("serving")
        for _ in range(3):
            check("")
        readiness.met("registered")
        for _ in range(3):
            check("")
    said = [line.split('"msg": ')[1] for line in log_text().splitlines() if "probe" in line]
    assert said == [
        '"readiness probe fails: serving: not yet; registered: not yet"}',
        '"readiness probe fails: registered: not yet"}',
        '"readiness probe succeeds"}',
    ]


def test_a_negative_port_is_off(readiness: Readiness) -> None:
    server = HealthServer(-1, readiness)
    server.start()
    assert server.port is None
    server.stop()


def test_a_port_that_is_taken_is_one_warning(readiness: Readiness, log_text: Callable[[], str]) -> None:
    with closing(socket.create_server(("", 0))) as other:
        port = other.getsockname()[1]
        server = HealthServer(port, readiness)
        server.start()
        assert server.port is None
        (line,) = log_text().splitlines()
        assert '"level": "warning"' in line
        assert f"TCP port {port}" in line
        assert "--healthcheck-port" in line
        server.stop()


def test_a_second_driver_on_the_same_port_does_not_take_half_of_the_probes(
    server: HealthServer, log_text: Callable[[], str]
) -> None:
    assert server.port
    second = HealthServer(server.port, Readiness([]))
    second.start()
    assert second.port is None
    assert "cannot listen on TCP port" in log_text()
    with probe(server) as check:
        assert [check("") for _ in range(20)] == [NOT_SERVING] * 20


def test_after_stop_nobody_answers_and_the_port_is_free(readiness: Readiness) -> None:
    first = HealthServer(0, readiness)
    first.start()
    port = first.port
    assert port
    first.stop()
    first.stop()
    assert first.port is None
    second = HealthServer(port, readiness)
    second.start()
    assert second.port == port
    second.stop()


@pytest.mark.defect(18)
def test_probes_are_answered_while_every_worker_is_busy(
    node: KubeletNode, kubelet: FakeKubelet, claims: MemoryClaims, server: HealthServer, readiness: Readiness
) -> None:
    claims.before = gate = Gate()
    node.start_plugin(readiness, workers=2)
    kubelet.wait_registered(node.driver)
    pod = [ClaimRef("default", f"claim-{number}", f"uid-{number}") for number in range(4)]
    with ThreadPoolExecutor(80) as pods, probe(server) as check:
        calls = [pods.submit(kubelet.prepare, pod) for _ in range(80)]
        gate.wait_for(2)
        assert (check(""), check("liveness")) == (SERVING, SERVING)
        gate.open()
        assert not any(answer.error for call in calls for answer in call.result(60).values())


@pytest.mark.scenario(9)
def test_a_lost_socket_fails_the_liveness_probe(
    node: KubeletNode, kubelet: FakeKubelet, server: HealthServer, readiness: Readiness
) -> None:
    node.start_plugin(readiness)
    kubelet.wait_registered(node.driver)
    with probe(server) as check:
        assert check("liveness") == SERVING
        node.registration_socket.unlink()
        assert (check(""), check("liveness")) == (NOT_SERVING, NOT_SERVING)
