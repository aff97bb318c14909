"""The fake kubelet: does it judge and react as a kubelet does? Its drivers here are rough on purpose."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from dra_common.deadline import Deadline
from dra_common.kubelet._generated import dra_v1_pb2 as dra
from dra_common.kubelet._generated import pluginregistration_v1_pb2 as reg
from dra_common.kubelet._generated.dra_v1_pb2_grpc import DRAPluginServicer, add_DRAPluginServicer_to_server
from dra_common.kubelet._generated.pluginregistration_v1_pb2_grpc import (
    RegistrationServicer,
    add_RegistrationServicer_to_server,
)
from dra_common.kubelet.server import UnixServer
from dra_common.model import ClaimRef
from dra_common.testing.kubelet import (
    FakeKubelet,
    Gate,
    KubeletCallError,
    KubeletNode,
    MemoryClaims,
)

DRIVER = "rough.example.com"
CLAIM = ClaimRef("default", "claim", "uid-1")


class RoughDriver(RegistrationServicer, DRAPluginServicer):
    """Says what a test wants, and keeps what it was told."""

    def __init__(self, folder: Path, name: str = DRIVER) -> None:
        self.path = folder / f"{name}-common.sock"
        self.info = reg.PluginInfo(type="DRAPlugin", name=name, supported_versions=["v1.DRAPlugin"])
        self.told: list[tuple[bool, str]] = []
        self.get_info_failures = 0
        self.notify_failures = 0
        self.answer: Callable[[list[str]], list[str]] = lambda uids: uids
        self.error = ""

    def GetInfo(self, _request: object, context: grpc.ServicerContext) -> reg.PluginInfo:  # noqa: N802
        if self.get_info_failures:
            self.get_info_failures -= 1
            context.abort(grpc.StatusCode.INTERNAL, "not now")
        return self.info

    def NotifyRegistrationStatus(  # noqa: N802
        self, request: reg.RegistrationStatus, context: grpc.ServicerContext
    ) -> reg.RegistrationStatusResponse:
        self.told.append((request.plugin_registered, request.error))
        if self.notify_failures:
            self.notify_failures -= 1
            context.abort(grpc.StatusCode.INTERNAL, "not now")
        return reg.RegistrationStatusResponse()

    def NodePrepareResources(  # noqa: N802
        self, request: dra.NodePrepareResourcesRequest, _context: grpc.ServicerContext
    ) -> dra.NodePrepareResourcesResponse:
        entry = dra.NodePrepareResourceResponse(
            devices=[dra.Device(pool_name="p", device_name="d")], error=self.error
        )
        return dra.NodePrepareResourcesResponse(claims=dict.fromkeys(self._uids(request), entry))

    def NodeUnprepareResources(  # noqa: N802
        self, request: dra.NodeUnprepareResourcesRequest, _context: grpc.ServicerContext
    ) -> dra.NodeUnprepareResourcesResponse:
        entry = dra.NodeUnprepareResourceResponse(error=self.error)
        return dra.NodeUnprepareResourcesResponse(claims=dict.fromkeys(self._uids(request), entry))

    def _uids(self, request: Any) -> list[str]:
        return self.answer([claim.uid for claim in request.claims])

    @contextmanager
    def run(self) -> Iterator[UnixServer]:
        def add(server: grpc.Server) -> None:
            add_RegistrationServicer_to_server(self, server)  # type: ignore[no-untyped-call]
            add_DRAPluginServicer_to_server(self, server)  # type: ignore[no-untyped-call]

        server = UnixServer(self.path, add, threads=4)
        server.start()
        try:
            yield server
        finally:
            server.stop(grace=0)


@pytest.fixture
def driver(node: KubeletNode) -> RoughDriver:
    return RoughDriver(node.registry)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline, blink = Deadline.after(seconds), threading.Event()
    while not condition():
        assert not deadline.passed, "waited in vain"
        blink.wait(0.01)


# ---------------------------------------------------------------------- registration


@pytest.mark.scenario(7)
def test_one_socket_for_both_services_is_legal(kubelet: FakeKubelet, driver: RoughDriver) -> None:
    with driver.run():
        assert kubelet.wait_registered(DRIVER).endpoint == str(driver.path)
        assert driver.told == [(True, "")]
        assert not kubelet.prepare([CLAIM])["uid-1"].error


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"supported_versions": []}, "empty list for supported versions"),
        ({"supported_versions": ["v1alpha3.Node", "v1beta1.DRAPlugin"]}, "none of the versions"),
        ({"type": "CSIPlugin"}, "no handler registered for plugin type: CSIPlugin"),
        ({"name": ""}, "the driver name is empty"),
    ],
)
def test_a_bad_announcement_is_refused_and_the_driver_told_why(
    kubelet: FakeKubelet, driver: RoughDriver, change: dict[str, Any], reason: str
) -> None:
    good = {"type": "DRAPlugin", "name": DRIVER, "supported_versions": ["v1.DRAPlugin"]}
    driver.info = reg.PluginInfo(**{**good, **change})
    with driver.run():
        wait_until(lambda: bool(kubelet.refusals and driver.told))
        assert reason in kubelet.refusals[0]
        assert driver.told[0] == (False, kubelet.refusals[0])
        assert kubelet.registered == ()
        with pytest.raises(TimeoutError, match=reason):
            kubelet.wait_registered(DRIVER, timeout=0)


def test_the_first_version_of_the_drivers_list_that_is_known_is_spoken(
    kubelet: FakeKubelet, driver: RoughDriver
) -> None:
    driver.info.supported_versions[:] = ["v9.DRAPlugin", "v1.DRAPlugin", "v1beta1.DRAPlugin"]
    with driver.run():
        assert kubelet.wait_registered(DRIVER).version == "v1.DRAPlugin"


@pytest.mark.scenario(4, 5)
def test_failures_of_get_info_and_notify_are_tried_again(kubelet: FakeKubelet, driver: RoughDriver) -> None:
    driver.get_info_failures, driver.notify_failures = 2, 3
    with driver.run():
        kubelet.wait_registered(DRIVER)
        failed = [refusal.partition(" ")[0] for refusal in kubelet.refusals]
        assert failed == ["GetInfo", "GetInfo", "NotifyRegistrationStatus"]
        assert [told[0] for told in driver.told] == [False, False, True, True]


def test_one_endpoint_cannot_be_registered_twice(
    kubelet: FakeKubelet, node: KubeletNode, driver: RoughDriver
) -> None:
    twin = RoughDriver(node.registry, "twin.example.com")
    twin.info = reg.PluginInfo(
        type="DRAPlugin", name=DRIVER, endpoint=str(driver.path), supported_versions=["v1.DRAPlugin"]
    )
    with driver.run():
        kubelet.wait_registered(DRIVER)
        with twin.run():
            wait_until(lambda: bool(kubelet.refusals))
            assert "endpoint already registered" in kubelet.refusals[0]
            assert len(kubelet.registered) == 1


def test_two_drivers_are_told_apart(kubelet: FakeKubelet, node: KubeletNode, driver: RoughDriver) -> None:
    other = RoughDriver(node.registry, "other.example.com")
    other.error = "not mine"
    with driver.run(), other.run():
        kubelet.wait_registered(DRIVER)
        kubelet.wait_registered("other.example.com")
        assert kubelet.prepare([CLAIM], driver=DRIVER)["uid-1"].error == ""
        assert kubelet.prepare([CLAIM], driver="other.example.com")["uid-1"].error == "not mine"
        with pytest.raises(ValueError, match="say which"):
            kubelet.prepare([CLAIM])


def test_hidden_sockets_and_other_files_are_ignored_and_folders_searched(
    kubelet: FakeKubelet, node: KubeletNode
) -> None:
    (node.registry / "README").touch()
    (node.registry / "sub").mkdir()
    hidden, deep = RoughDriver(node.registry), RoughDriver(node.registry / "sub", "deep.example.com")
    hidden.path = node.registry / ".hidden.sock"
    with hidden.run(), deep.run():
        kubelet.wait_registered("deep.example.com")
        assert [each.driver for each in kubelet.registered] == ["deep.example.com"]
        assert hidden.told == []


def test_a_socket_that_goes_is_deregistered_and_one_that_comes_back_registers_anew(
    kubelet: FakeKubelet, driver: RoughDriver
) -> None:
    for _ in range(2):
        with driver.run():
            kubelet.wait_registered(DRIVER)
        kubelet.wait_deregistered(DRIVER)
    assert driver.told == [(True, ""), (True, "")]


def test_a_socket_without_a_listener_is_refused_until_a_listener_replaces_it(
    kubelet: FakeKubelet, driver: RoughDriver
) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(driver.path))
    wait_until(lambda: bool(kubelet.refusals))
    assert "nobody answers" in kubelet.refusals[0]
    with driver.run():
        kubelet.wait_registered(DRIVER)


# ---------------------------------------------------------------------- calls


def test_without_a_driver_there_is_no_call(kubelet: FakeKubelet) -> None:
    with pytest.raises(KubeletCallError, match=r"DRA driver gpu\.example\.com is not registered"):
        kubelet.prepare([CLAIM], driver="gpu.example.com")


@pytest.mark.scenario(36)
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda uids: uids[1:], "skipped 1 ResourceClaims: uid-1"),
        (lambda uids: [], "skipped 2 ResourceClaims: uid-1, uid-2"),
        (lambda uids: [*uids, "uid-9"], "unknown claims: uid-9"),
    ],
)
def test_an_answer_that_is_not_one_entry_for_each_uid_is_refused(
    kubelet: FakeKubelet, driver: RoughDriver, answer: Callable[[list[str]], list[str]], reason: str
) -> None:
    pod = [CLAIM, ClaimRef("default", "second", "uid-2")]
    driver.answer = answer
    with driver.run():
        kubelet.wait_registered(DRIVER)
        for call in (kubelet.prepare, kubelet.unprepare):
            with pytest.raises(KubeletCallError, match=reason) as refused:
                call(pod)
            assert refused.value.code == ""


def test_devices_beside_an_error_are_ignored(kubelet: FakeKubelet, driver: RoughDriver) -> None:
    driver.error = "no"
    with driver.run():
        kubelet.wait_registered(DRIVER)
        answer = kubelet.prepare([CLAIM])["uid-1"]
        assert (answer.devices, answer.error) == ((), "no")
        assert kubelet.unprepare([CLAIM]) == {"uid-1": "no"}


def test_a_driver_that_does_not_answer_runs_into_the_deadline(node: KubeletNode, driver: RoughDriver) -> None:
    kubelet, stuck = node.start_kubelet(call_timeout=0.2), threading.Event()
    driver.answer = lambda uids: [] if stuck.wait(30) else uids
    with driver.run():
        kubelet.wait_registered(DRIVER)
        with pytest.raises(KubeletCallError) as late:
            kubelet.prepare([CLAIM])
        stuck.set()
    assert late.value.code == "DEADLINE_EXCEEDED"


@pytest.mark.scenario(8)
def test_a_service_that_returns_on_its_path_is_called_again_without_registration(
    node: KubeletNode, kubelet: FakeKubelet, driver: RoughDriver
) -> None:
    endpoint = RoughDriver(node.plugins, "service")
    driver.info.endpoint = str(endpoint.path)
    with driver.run():
        with endpoint.run():
            kubelet.wait_registered(DRIVER)
        kubelet.wait_disconnected(DRIVER)
        assert [each.driver for each in kubelet.registered] == [DRIVER]
        with pytest.raises(KubeletCallError) as away:
            kubelet.prepare([CLAIM])
        assert away.value.code == "UNAVAILABLE"
        with endpoint.run():
            kubelet.wait_registered(DRIVER)
            assert not kubelet.prepare([CLAIM])["uid-1"].error
        assert driver.told == [(True, "")]


@pytest.mark.scenario(7)
def test_a_service_may_begin_to_listen_after_registration(
    node: KubeletNode, kubelet: FakeKubelet, driver: RoughDriver
) -> None:
    endpoint = RoughDriver(node.plugins, "service")
    driver.info.endpoint = str(endpoint.path)
    with driver.run():
        wait_until(lambda: bool(driver.told))
        with endpoint.run():
            kubelet.wait_registered(DRIVER)
            assert not kubelet.prepare([CLAIM])["uid-1"].error


def test_of_two_instances_the_newest_that_is_connected_is_called(
    node: KubeletNode, kubelet: FakeKubelet, driver: RoughDriver
) -> None:
    newer = RoughDriver(node.registry, "newer")
    newer.info.name, newer.error = DRIVER, "from the newer one"
    with driver.run():
        kubelet.wait_registered(DRIVER)
        with newer.run():
            wait_until(lambda: [each.connected for each in kubelet.registered] == [True, True])
            assert kubelet.prepare([CLAIM])["uid-1"].error == "from the newer one"
        wait_until(lambda: len(kubelet.registered) == 1)
        assert kubelet.prepare([CLAIM])["uid-1"].error == ""


# ---------------------------------------------------------------------- restart and wiping


class Wipes:
    """Notes what was wiped."""

    def __init__(self) -> None:
        self.done: list[str | None] = []

    def __call__(self, driver: str | None) -> None:
        self.done.append(driver)


def test_every_start_wipes_all_slices_of_the_node_and_registers_drivers_anew(
    node: KubeletNode, driver: RoughDriver
) -> None:
    wipes = Wipes()
    with driver.run(), FakeKubelet(node.registry, wipe=wipes) as kubelet:
        kubelet.wait_registered(DRIVER)
        assert wipes.done == [None]
        kubelet.restart()
        kubelet.wait_registered(DRIVER)
        assert wipes.done == [None, None]
        assert driver.told == [(True, ""), (True, "")]


def test_a_driver_out_of_reach_for_the_delay_loses_its_slices_once(
    node: KubeletNode, driver: RoughDriver
) -> None:
    wipes = Wipes()
    with FakeKubelet(node.registry, wipe=wipes, wiping_delay=0.1) as kubelet:
        with driver.run():
            kubelet.wait_registered(DRIVER)
        wait_until(lambda: wipes.done == [None, DRIVER])
        with driver.run():
            kubelet.wait_registered(DRIVER)
        wait_until(lambda: wipes.done == [None, DRIVER, DRIVER])


def test_a_driver_whose_service_dies_loses_its_slices_though_its_socket_is_there(
    node: KubeletNode, driver: RoughDriver
) -> None:
    wipes, endpoint = Wipes(), RoughDriver(node.plugins, "service")
    driver.info.endpoint = str(endpoint.path)
    with FakeKubelet(node.registry, wipe=wipes, wiping_delay=0.1) as kubelet, driver.run():
        with endpoint.run():
            kubelet.wait_registered(DRIVER)
        wait_until(lambda: wipes.done == [None, DRIVER])
        assert len(kubelet.registered) == 1


# ---------------------------------------------------------------------- its doubles


def test_memory_claims_give_a_device_of_its_own_to_each_claim_until_it_is_undone() -> None:
    claims, soon = MemoryClaims(), Deadline.after(60)
    first = claims.prepare(CLAIM, soon)
    other = claims.prepare(ClaimRef("default", "other", "uid-2"), soon)
    assert claims.prepare(CLAIM, soon) == first != other
    assert claims.prepared == {"uid-1", "uid-2"}
    claims.unprepare(CLAIM, soon)
    claims.unprepare(CLAIM, soon)
    assert claims.prepared == {"uid-2"}
    assert claims.prepare(CLAIM, soon) != first
    assert claims.calls["prepare", "uid-1"] == 3


def test_a_gate_holds_claims_until_it_is_opened() -> None:
    gate = Gate()
    claims = MemoryClaims(gate)
    with pytest.raises(TimeoutError, match="0 of 1 claims"):
        gate.wait_for(1, timeout=0)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(claims.prepare, CLAIM, Deadline.after(60))
        gate.wait_for(1)
        assert claims.prepared == frozenset()
        gate.open()
        call.result(60)
    assert claims.prepared == {"uid-1"}
