"""The plugin's life: start, registration, stop, and everything in its way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from dra_common.deadline import Deadline
from dra_common.errors import KubeletError
from dra_common.kubelet import KubeletPlugin, RegistrationStatus, SocketPaths
from dra_common.model import ClaimRef
from dra_common.readiness import Readiness
from dra_common.testing.kubelet import (
    ClaimAnswer,
    FakeKubelet,
    Gate,
    KubeletCallError,
    KubeletNode,
    MemoryClaims,
)

CLAIM = ClaimRef("default", "claim", "uid-1")


def in_background(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run ``call`` in a thread; its result, or the error it raised, is appended to the list."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(call())
        except KubeletCallError as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def test_a_plugin_registers_and_serves(node: KubeletNode, kubelet: FakeKubelet, claims: MemoryClaims) -> None:
    readiness = Readiness(["serving", "registered"])
    plugin = node.start_plugin(readiness)
    registered = kubelet.wait_registered(node.driver)
    assert registered.endpoint == str(node.dra_socket)
    assert registered.version == "v1.DRAPlugin"
    assert plugin.registration_status == RegistrationStatus(registered=True)
    assert readiness.ready
    assert not kubelet.prepare([CLAIM])["uid-1"].error
    assert claims.prepared == {"uid-1"}


@pytest.mark.scenario(19)
def test_a_plugin_that_is_there_before_the_kubelet_registers_when_it_comes(node: KubeletNode) -> None:
    readiness = Readiness(["serving", "registered"])
    plugin = node.start_plugin(readiness)
    assert plugin.registration_status is None
    assert readiness.why_not() == "registered: not yet"
    node.start_kubelet().wait_registered(node.driver)
    assert readiness.ready


@pytest.mark.scenario(2)
def test_a_kubelet_that_restarts_finds_the_plugin_again(
    node: KubeletNode, kubelet: FakeKubelet, claims: MemoryClaims
) -> None:
    node.start_plugin()
    kubelet.wait_registered(node.driver)
    before = kubelet.prepare([CLAIM])
    inode = node.registration_socket.stat().st_ino
    kubelet.restart()
    kubelet.wait_registered(node.driver)
    assert node.registration_socket.stat().st_ino == inode
    assert kubelet.prepare([CLAIM]) == before


@pytest.mark.scenario(3)
def test_a_plugin_that_restarts_registers_again_on_the_same_paths(
    node: KubeletNode, kubelet: FakeKubelet
) -> None:
    first = node.start_plugin()
    kubelet.wait_registered(node.driver)
    first.stop(grace=1)
    kubelet.wait_deregistered(node.driver)
    node.start_plugin()
    kubelet.wait_registered(node.driver)
    assert not kubelet.prepare([CLAIM])["uid-1"].error


def test_a_successor_takes_the_paths_over_and_survives_the_end_of_its_predecessor(
    node: KubeletNode, kubelet: FakeKubelet
) -> None:
    old_readiness, new_readiness = Readiness([]), Readiness(["registered"])
    first = node.start_plugin(old_readiness)
    kubelet.wait_registered(node.driver)
    second = node.start_plugin(new_readiness)
    assert "replaced by another process" in old_readiness.why_dead()
    first.stop(grace=1)
    assert second.why_unreachable() == ""
    assert node.dra_socket.is_socket()
    assert node.registration_socket.is_socket()
    wait_until(lambda: new_readiness.ready)
    kubelet.wait_registered(node.driver)
    assert not kubelet.prepare([CLAIM])["uid-1"].error


@pytest.mark.scenario(10)
def test_stale_sockets_of_a_killed_plugin_are_replaced(node: KubeletNode, kubelet: FakeKubelet) -> None:
    node.dra_socket.parent.mkdir()
    for path in (node.dra_socket, node.registration_socket):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
    node.start_plugin()
    kubelet.wait_registered(node.driver)
    assert not kubelet.prepare([CLAIM])["uid-1"].error


SERVE_UNTIL_KILLED = """
import signal, sys
from pathlib import Path
from dra_common.kubelet import KubeletPlugin
from dra_common.readiness import Readiness
from dra_common.testing.kubelet import MemoryClaims

driver, folder, registry = sys.argv[1:]
KubeletPlugin(driver_name=driver, plugin_dir=Path(folder), registry_dir=Path(registry),
              claims=MemoryClaims(), readiness=Readiness()).start()
signal.pause()
"""


@pytest.mark.scenario(3, 8, 10)
def test_a_plugin_that_was_killed_is_replaced_on_the_sockets_it_left(
    node: KubeletNode, kubelet: FakeKubelet
) -> None:
    arguments = [node.driver, str(node.dra_socket.parent), str(node.registry)]
    with subprocess.Popen([sys.executable, "-c", SERVE_UNTIL_KILLED, *arguments]) as process:
        kubelet.wait_registered(node.driver, timeout=60)
        assert not kubelet.prepare([CLAIM])["uid-1"].error
        process.kill()
    kubelet.wait_disconnected(node.driver)
    assert node.dra_socket.is_socket()
    assert node.registration_socket.is_socket()
    readiness = Readiness(["registered"])
    node.start_plugin(readiness)
    wait_until(lambda: readiness.ready)
    kubelet.wait_registered(node.driver)
    assert not kubelet.prepare([CLAIM])["uid-1"].error


@pytest.mark.scenario(4)
def test_a_plugin_that_does_not_answer_for_a_while_is_registered_when_it_does(
    node: KubeletNode, kubelet: FakeKubelet
) -> None:
    arguments = [node.driver, str(node.dra_socket.parent), str(node.registry)]
    with subprocess.Popen([sys.executable, "-c", SERVE_UNTIL_KILLED, *arguments]) as process:
        kubelet.wait_registered(node.driver, timeout=60)
        process.send_signal(signal.SIGSTOP)
        kubelet.restart()
        wait_until(lambda: bool(kubelet.refusals), seconds=60)
        assert all("GetInfo" in why and "DEADLINE_EXCEEDED" in why for why in kubelet.refusals)
        assert kubelet.registered == ()
        process.send_signal(signal.SIGCONT)
        kubelet.wait_registered(node.driver, timeout=60)
        assert not kubelet.prepare([CLAIM])["uid-1"].error
        process.kill()


def test_the_sockets_are_for_root_and_nothing_else_lies_about(node: KubeletNode) -> None:
    old = os.umask(0)
    try:
        node.start_plugin()
    finally:
        os.umask(old)
    for path in (node.dra_socket, node.registration_socket):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [entry.name for entry in path.parent.iterdir() if not entry.is_dir()] == [path.name]
    assert stat.S_IMODE(node.dra_socket.parent.stat().st_mode) == 0o750


@pytest.mark.scenario(7)
def test_the_registration_socket_appears_last(node: KubeletNode) -> None:
    """A kubelet calls as soon as it sees the registration socket: the other must answer by then."""
    node.registration_socket.mkdir()
    seen: list[str] = []
    plugin = node.make_plugin()
    with pytest.raises(KubeletError):
        plugin.start()
    node.registration_socket.rmdir()
    watcher = threading.Thread(target=lambda: seen.append(first_seen(node)))
    watcher.start()
    node.start_plugin()
    watcher.join(60)
    assert seen == ["served"]


def first_seen(node: KubeletNode) -> str:
    """Return whether the DRA socket took a connection when the registration socket was seen first."""
    wait_until(node.registration_socket.is_socket, pause=0)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(node.dra_socket))
    return "served"


def wait_until(condition: Callable[[], bool], seconds: float = 60, pause: float = 0.01) -> None:
    deadline = Deadline.after(seconds)
    blink = threading.Event()
    while not condition():
        assert not deadline.passed, "waited in vain"
        blink.wait(pause)


# ---------------------------------------------------------------------- stop


@pytest.mark.scenario(11)
def test_stop_removes_both_sockets_and_again_does_nothing(node: KubeletNode, kubelet: FakeKubelet) -> None:
    readiness = Readiness(["serving"])
    plugin = node.start_plugin(readiness)
    kubelet.wait_registered(node.driver)
    assert readiness.ready
    plugin.stop(grace=1)
    assert list(node.registry.iterdir()) == []
    assert [path for path in node.dra_socket.parent.rglob("*") if not path.is_dir()] == []
    assert readiness.why_not() == "serving: stopped"
    assert readiness.why_dead() == ""
    kubelet.wait_deregistered(node.driver)
    plugin.stop(grace=1)


@pytest.mark.scenario(11)
def test_stop_of_a_plugin_that_never_started_does_nothing(node: KubeletNode) -> None:
    node.make_plugin().stop(grace=1)
    assert list(node.registry.iterdir()) == []


def test_a_call_in_flight_is_finished_before_the_plugin_ends(
    node: KubeletNode, kubelet: FakeKubelet, claims: MemoryClaims
) -> None:
    claims.before = gate = Gate()
    plugin = node.start_plugin()
    kubelet.wait_registered(node.driver)
    call, answers = in_background(lambda: kubelet.prepare([CLAIM])["uid-1"].error)
    gate.wait_for(1)
    stop, _ = in_background(lambda: plugin.stop(grace=20))
    wait_until(lambda: not node.dra_socket.exists())
    assert node.registration_socket.exists(), "the kubelet would drop the connection of the call"
    gate.open()
    call.join(60)
    stop.join(60)
    assert answers == [""]
    assert claims.prepared == {"uid-1"}
    assert not node.registration_socket.exists()


def test_a_call_that_outlasts_the_grace_is_cut_off(
    node: KubeletNode, kubelet: FakeKubelet, claims: MemoryClaims
) -> None:
    claims.before = gate = Gate()
    plugin = node.start_plugin()
    kubelet.wait_registered(node.driver)
    call, answers = in_background(lambda: kubelet.prepare([CLAIM]))
    gate.wait_for(1)
    plugin.stop(grace=0.1)
    call.join(60)
    gate.open()
    assert [type(answer) for answer in answers] == [KubeletCallError]
    assert list(node.registry.iterdir()) == []


# ---------------------------------------------------------------------- what can be in the way


def test_a_missing_registry_is_named_and_no_socket_is_left(node: KubeletNode) -> None:
    node.registry.rmdir()
    with pytest.raises(KubeletError, match=rf"{node.registry} does not exist.*--kubelet-registry-dir"):
        node.start_plugin()
    assert not node.dra_socket.exists()


def test_a_missing_plugins_directory_is_named(node: KubeletNode) -> None:
    node.plugins.rmdir()
    with pytest.raises(KubeletError, match=rf"{node.plugins} does not exist.*--kubelet-plugins-dir"):
        node.start_plugin()
    assert list(node.registry.iterdir()) == []


@pytest.mark.scenario(10)
@pytest.mark.parametrize("which", ["dra", "registration"])
def test_a_file_in_a_sockets_place_is_refused_and_kept(node: KubeletNode, which: str) -> None:
    node.dra_socket.parent.mkdir()
    path = node.dra_socket if which == "dra" else node.registration_socket
    path.write_text("precious")
    readiness = Readiness(["serving"])
    with pytest.raises(KubeletError, match=rf"{path}.* is a regular file"):
        node.start_plugin(readiness)
    assert path.read_text() == "precious"
    assert sorted([*node.registry.iterdir(), *node.dra_socket.parent.iterdir()]) == [path]
    assert not readiness.ready


@pytest.mark.scenario(12)
def test_too_long_a_path_is_refused_before_anything_listens(short_tmp: Path, claims: MemoryClaims) -> None:
    with KubeletNode(short_tmp, claims, driver="d" * 100) as node:
        with pytest.raises(KubeletError, match=r"allow 107 .*set --kubelet-plugins-dir to a shorter path"):
            node.start_plugin()
        assert list(node.registry.iterdir()) == []


def test_a_registry_in_which_no_socket_can_be_made_is_refused(node: KubeletNode) -> None:
    plugin = KubeletPlugin(
        driver_name=node.driver,
        plugin_dir=node.dra_socket.parent,
        registry_dir=Path("/proc/self"),
        claims=node.claims,
        readiness=Readiness(),
    )
    with pytest.raises(KubeletError, match=r"cannot make the socket /proc/[^:]*-reg\.sock: "):
        plugin.start()
    assert [path for path in node.dra_socket.parent.rglob("*") if not path.is_dir()] == []


@pytest.mark.scenario(9)
def test_an_obstacle_that_appears_after_the_check_leaves_no_socket_behind(
    node: KubeletNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SocketPaths, "check", lambda paths: paths.registration.mkdir())
    readiness = Readiness(["serving"])
    with pytest.raises(KubeletError, match=r"cannot put the socket .*-reg\.sock in place: Is a directory"):
        node.start_plugin(readiness)
    assert [path for path in node.dra_socket.parent.rglob("*") if not path.is_dir()] == []
    assert list(node.registry.iterdir()) == [node.registration_socket]
    assert not readiness.ready


@pytest.mark.scenario(9)
@pytest.mark.parametrize("which", ["dra", "registration"])
def test_a_socket_removed_by_somebody_else_calls_for_a_new_start(node: KubeletNode, which: str) -> None:
    readiness = Readiness([])
    node.start_plugin(readiness)
    assert readiness.why_dead() == ""
    path = node.dra_socket if which == "dra" else node.registration_socket
    path.unlink()
    assert readiness.why_dead() == f"the socket {path} was removed by somebody else"


def test_a_registry_that_vanishes_calls_for_a_new_start_which_then_says_why(node: KubeletNode) -> None:
    readiness = Readiness([])
    plugin = node.start_plugin(readiness)
    shutil.rmtree(node.registry)
    assert "removed by somebody else" in readiness.why_dead()
    plugin.stop(grace=1)
    with pytest.raises(KubeletError, match="--kubelet-registry-dir"):
        node.start_plugin()


def test_no_two_requests_have_the_same_number(
    node: KubeletNode, kubelet: FakeKubelet, log_text: Callable[[], str]
) -> None:
    node.start_plugin()
    kubelet.wait_registered(node.driver)
    kubelet.prepare([CLAIM])
    kubelet.unprepare([CLAIM])
    methods: dict[int, set[str]] = {}
    for line in map(json.loads, log_text().splitlines()):
        if "request" in line:
            methods.setdefault(int(line["request"]), set()).add(line["method"])
    assert sorted(methods) == list(range(1, len(methods) + 1))
    assert [methods[number] for number in sorted(methods)] == [
        {"GetInfo"},
        {"NotifyRegistrationStatus"},
        {"NodePrepareResources"},
        {"NodeUnprepareResources"},
    ]


@pytest.mark.scenario(16)
def test_answers_carry_whole_devices(node: KubeletNode, kubelet: FakeKubelet, claims: MemoryClaims) -> None:
    node.start_plugin()
    kubelet.wait_registered(node.driver)
    expected = claims.prepare(CLAIM, Deadline.after(1))
    assert kubelet.prepare([CLAIM]) == {"uid-1": ClaimAnswer(expected)}
