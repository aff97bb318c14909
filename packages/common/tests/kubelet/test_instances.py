"""Two instances of a driver side by side, and what a dead one left."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from dra_common.errors import KubeletError
from dra_common.kubelet import SocketPaths
from dra_common.kubelet.instances import Instances
from dra_common.model import ClaimRef
from dra_common.testing.kubelet import FakeKubelet, KubeletNode, MemoryClaims
from dra_common.testing.waiting import wait_until

OLD, NEW = "11111111-aaaa-4000-8000-000000000000", "22222222-bbbb-4000-8000-000000000000"
CLAIM = ClaimRef("default", "claim", "uid-1")

OTHER_PROCESS = """
import sys, threading
from pathlib import Path
from dra_common.readiness import Readiness
from dra_common.testing.kubelet import KubeletNode, MemoryClaims

root, driver, pod = sys.argv[1:]
node = KubeletNode(Path(root), MemoryClaims(), driver)
plugin = node.start_plugin(Readiness(), pod_uid=pod)
print("listening", flush=True)
sys.stdin.readline()
plugin.stop(1)
"""


@contextmanager
def another(node: KubeletNode, pod: str) -> Iterator[subprocess.Popen[str]]:
    """The same driver in another process."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(node.registry.parent), node.driver, pod]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            yield process
        finally:
            process.kill()


def paths(node: KubeletNode, pod: str) -> SocketPaths:
    return SocketPaths.of(node.driver, node.dra_socket.parent, node.registry, pod)


def both(node: KubeletNode, pod: str) -> list[bool]:
    found = paths(node, pod)
    return [found.dra.exists(), found.registration.exists()]


def sockets(node: KubeletNode) -> list[str]:
    found = (path for folder in (node.dra_socket.parent, node.registry) for path in folder.iterdir())
    return sorted(path.name for path in found if stat.S_ISSOCK(path.lstat().st_mode))


def instances(node: KubeletNode) -> list[str]:
    return sorted(path.name for path in (node.dra_socket.parent / "instances").iterdir())


@pytest.mark.scenario(54)
def test_both_are_registered_and_the_newer_one_is_called(
    node: KubeletNode, kubelet: FakeKubelet, claims: MemoryClaims
) -> None:
    with another(node, OLD):
        assert kubelet.wait_registered(node.driver).endpoint == str(paths(node, OLD).dra)
        plugin = node.start_plugin(pod_uid=NEW)
        wait_until(lambda: [each.connected for each in kubelet.registered] == [True, True], "both")
        assert not kubelet.prepare([CLAIM])["uid-1"].error
        assert claims.prepared == {"uid-1"}
        assert instances(node) == [OLD, NEW]
        plugin.stop(1)
        # Only its own went.
        assert both(node, OLD) == [True, True]
        assert both(node, NEW) == [False, False]
        assert instances(node) == [OLD]
        wait_until(lambda: len(kubelet.registered) == 1, "the kubelet to notice")
        assert not kubelet.prepare([CLAIM])["uid-1"].error


def test_what_a_killed_instance_left_goes_at_the_next_start(
    node: KubeletNode, log_text: Callable[[], str]
) -> None:
    with another(node, OLD) as process:
        process.kill()
        process.wait()
    assert both(node, OLD) == [True, True]
    node.start_plugin(pod_uid=NEW)
    assert both(node, OLD) == [False, False]
    assert both(node, NEW) == [True, True]
    assert instances(node) == [NEW]
    assert log_text().count("removed the sockets of dead instances") == 1
    assert str(paths(node, OLD).registration) in log_text()


def test_a_frozen_instance_keeps_its_sockets(node: KubeletNode) -> None:
    with another(node, OLD) as process:
        process.send_signal(signal.SIGSTOP)
        node.start_plugin(pod_uid=NEW)
        assert both(node, OLD) == [True, True]
        assert instances(node) == [OLD, NEW]


@pytest.mark.scenario(12, 55)
def test_dead_instances_of_a_driver_with_a_long_name_are_found_though_their_names_are_hashed(
    short_tmp: Path,
) -> None:
    with KubeletNode(short_tmp, MemoryClaims(), "d" * 63) as node:
        with another(node, OLD) as process:
            process.kill()
            process.wait()
        assert both(node, OLD) == [True, True]
        node.start_plugin(pod_uid=NEW)
        assert both(node, OLD) == [False, False]
        assert both(node, NEW) == [True, True]


@pytest.mark.parametrize(("first", "second"), [("", NEW), (OLD, "")])
def test_the_setting_may_change_between_two_starts(node: KubeletNode, first: str, second: str) -> None:
    with another(node, first) as process:
        process.kill()
        process.wait()
    node.start_plugin(pod_uid=second)
    assert both(node, first) == [False, False]
    assert both(node, second) == [True, True]


def test_a_living_instance_without_a_pod_is_left_alone(node: KubeletNode) -> None:
    with another(node, ""):
        node.start_plugin(pod_uid=NEW)
        assert both(node, "") == [True, True]


def test_the_container_of_the_same_pod_starts_again_after_a_kill(node: KubeletNode) -> None:
    with another(node, OLD) as process:
        process.kill()
        process.wait()
    plugin = node.start_plugin(pod_uid=OLD)
    assert plugin.why_unreachable() == ""
    assert both(node, OLD) == [True, True]


def test_two_processes_of_one_pod_are_refused(node: KubeletNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dra_common.kubelet.instances._SWEPT_BY_ANOTHER", 0.1)
    with another(node, OLD):
        with pytest.raises(
            KubeletError, match=f"another process of this driver runs as pod {OLD}.*--pod-uid"
        ):
            node.start_plugin(pod_uid=OLD)
        # It disturbed nobody.
        assert both(node, OLD) == [True, True]
        assert instances(node) == [OLD]


def test_sockets_of_other_drivers_stay_dead_or_alive(node: KubeletNode) -> None:
    """The registry is everybody's; only what follows from our own instances' UIDs is ours."""
    node.dra_socket.parent.mkdir()
    others = [f"{node.driver}-{OLD}-reg.sock", "dra-AAAAAAAAAAAAAAAAAAAAAA-reg.sock", "csi.sock"]
    for name in others:
        with closing(socket.socket(socket.AF_UNIX)) as server:
            server.bind(str(node.registry / name))
            server.listen()
    node.start_plugin(pod_uid=NEW)
    assert sockets(node) == sorted([*others, f"{node.driver}-{NEW}-reg.sock", f"dra-{NEW}.sock"])


def test_what_is_no_socket_in_the_place_of_a_dead_instance_stays(node: KubeletNode) -> None:
    with another(node, OLD) as process:
        process.kill()
        process.wait()
    paths(node, OLD).dra.unlink()
    paths(node, OLD).dra.write_text("precious")
    node.start_plugin(pod_uid=NEW)
    assert paths(node, OLD).dra.read_text() == "precious"
    assert not paths(node, OLD).registration.exists()


@pytest.mark.parametrize("place", ["plugin", "registry"])
def test_a_socket_that_never_got_its_name_goes_once_it_is_old(node: KubeletNode, place: str) -> None:
    folder = node.registry if place == "registry" else node.dra_socket.parent
    node.dra_socket.parent.mkdir()
    hidden = [folder / name for name in (".0123abc", ".4567def", ".keepthis")]
    for path in hidden:
        with closing(socket.socket(socket.AF_UNIX)) as server:
            server.bind(str(path))
    long_ago = time.time() - 3600
    for path in (hidden[0], hidden[2]):
        os.utime(path, (long_ago, long_ago))
    node.start_plugin(pod_uid=NEW)
    assert [path.exists() for path in hidden] == [False, True, True]


def test_sweeping_that_fails_keeps_nobody_from_serving(
    node: KubeletNode, kubelet: FakeKubelet, log_text: Callable[[], str]
) -> None:
    folder = node.dra_socket.parent / "instances"
    folder.mkdir(parents=True)
    (folder / OLD).mkdir()
    node.start_plugin(pod_uid=NEW)
    assert "what dead instances left behind stays" in log_text()
    kubelet.wait_registered(node.driver)
    assert not kubelet.prepare([CLAIM])["uid-1"].error


def test_leaving_twice_or_without_having_entered_is_fine(node: KubeletNode) -> None:
    of = Instances(node.plugins / "instances", OLD, lambda pod: paths(node, pod))
    of.leave()
    of.enter()
    assert (node.plugins / "instances" / OLD).exists()
    of.leave()
    of.leave()
    assert not (node.plugins / "instances" / OLD).exists()
