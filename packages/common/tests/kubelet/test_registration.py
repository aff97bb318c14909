"""The registration service over a real socket."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from dra_common.kubelet._generated import pluginregistration_v1_pb2 as pb
from dra_common.kubelet._generated.pluginregistration_v1_pb2_grpc import (
    RegistrationStub,
    add_RegistrationServicer_to_server,
)
from dra_common.kubelet.registration import RegistrationService, RegistrationStatus
from dra_common.kubelet.server import UnixServer
from dra_common.readiness import Readiness


@pytest.fixture
def readiness() -> Readiness:
    return Readiness(["registered"])


@pytest.fixture
def service(readiness: Readiness) -> RegistrationService:
    """The DRA socket it names does not exist: GetInfo must not look."""
    requests = itertools.count(1)
    return RegistrationService(
        "gpu.example.com", Path("/nowhere/gpu.example.com/dra.sock"), readiness, lambda: next(requests)
    )


@pytest.fixture
def stub(short_tmp: Path, service: RegistrationService) -> Iterator[RegistrationStub]:
    def add(server: grpc.Server) -> None:
        add_RegistrationServicer_to_server(service, server)  # type: ignore[no-untyped-call]

    server = UnixServer(short_tmp / "reg.sock", add, threads=2)
    server.start()
    with grpc.insecure_channel(f"unix:{server.path}") as channel:
        yield RegistrationStub(channel)  # type: ignore[no-untyped-call]
    server.stop(grace=0)


@pytest.mark.scenario(1)
def test_get_info_says_what_a_kubelet_needs(stub: RegistrationStub) -> None:
    info = stub.GetInfo(pb.InfoRequest(), timeout=60)
    assert info.type == "DRAPlugin"
    assert info.name == "gpu.example.com"
    assert info.endpoint == "/nowhere/gpu.example.com/dra.sock"
    assert list(info.supported_versions) == ["v1.DRAPlugin"]


def test_nothing_is_known_before_the_kubelet_spoke(
    service: RegistrationService, readiness: Readiness
) -> None:
    assert service.status is None
    assert readiness.why_not() == "registered: not yet"


def test_success_is_recorded_and_makes_ready(
    stub: RegistrationStub, service: RegistrationService, readiness: Readiness
) -> None:
    stub.NotifyRegistrationStatus(pb.RegistrationStatus(plugin_registered=True), timeout=60)
    assert service.status == RegistrationStatus(registered=True)
    assert readiness.ready


@pytest.mark.scenario(6)
def test_a_refusal_is_recorded_logged_and_answered_with_an_error(
    stub: RegistrationStub, service: RegistrationService, readiness: Readiness, log_text: Callable[[], str]
) -> None:
    refusal = pb.RegistrationStatus(plugin_registered=False, error="endpoint already registered")
    with pytest.raises(grpc.RpcError) as answer:
        stub.NotifyRegistrationStatus(refusal, timeout=60)
    assert answer.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "registration of gpu.example.com failed: endpoint already registered" in str(
        answer.value.details()
    )
    assert service.status == RegistrationStatus(registered=False, error="endpoint already registered")
    assert readiness.why_not() == "registered: the kubelet refused: endpoint already registered"
    (line,) = [line for line in log_text().splitlines() if '"level": "error"' in line]
    assert "endpoint already registered" in line
    assert "traceback" not in line


@pytest.mark.scenario(6)
def test_a_refusal_after_a_success_and_a_success_after_a_refusal_are_both_believed(
    stub: RegistrationStub, service: RegistrationService, readiness: Readiness
) -> None:
    good = pb.RegistrationStatus(plugin_registered=True)
    bad = pb.RegistrationStatus(plugin_registered=False, error="no")
    stub.NotifyRegistrationStatus(good, timeout=60)
    with pytest.raises(grpc.RpcError):
        stub.NotifyRegistrationStatus(bad, timeout=60)
    assert readiness.why_not()
    stub.NotifyRegistrationStatus(good, timeout=60)
    assert service.status == RegistrationStatus(registered=True)
    assert readiness.ready
    assert stub.GetInfo(pb.InfoRequest(), timeout=60).name == "gpu.example.com"
