"""What keeps ``run`` from starting, and what does not: one line that names the thing and the cure, and nothing left."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import is_alive, lines, names, short_folder
from gpu_nodes import NAME, allocated, gpu_cli, machine_only


@pytest.fixture(scope="module")
def shared() -> Iterator[SimulatedNode]:
    with machine_only("two-gpus", fresh=True) as node:
        yield node


@pytest.fixture
def node(shared: SimulatedNode) -> SimulatedNode:
    """A node on which no driver runs."""
    if is_alive(shared):
        shared.kill_driver()
    for folder in (shared.plugins, shared.registry, shared.cdi):
        if folder.is_dir():
            shutil.rmtree(folder)
        folder.unlink(missing_ok=True)
        folder.mkdir()
    shared.log.write_text("")
    return shared


def fails(node: SimulatedNode, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the driver, which is expected to end by itself."""
    ended = gpu_cli(*node.run_arguments(), *arguments)
    assert ended.returncode != 0
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert not list(node.root.glob("plugins*/**/*.sock"))
    return ended


def complaint(ended: subprocess.CompletedProcess[str]) -> str:
    """The one line that says why; lines of the log, which begin with a time, may stand before it."""
    *log, last = ended.stderr.splitlines()
    assert last.startswith("gpu-driver: ")
    assert all(line[:4].isdigit() for line in log), ended.stderr
    assert not [line for line in log if " ERROR " in line]
    return last


def test_no_registry(node: SimulatedNode) -> None:
    node.registry.rmdir()
    ended = fails(node)
    assert ended.returncode == 1
    line = complaint(ended)
    for part in (f"plugin registry {node.registry} does not exist", "kubelet", "--kubelet-registry-dir"):
        assert part in line
    assert not node.registry.exists()


def test_no_plugins_folder_is_not_made_by_us(node: SimulatedNode) -> None:
    """A wrong path would otherwise be filled with state that nobody ever finds."""
    node.plugins.rmdir()
    ended = fails(node)
    assert ended.returncode == 1
    line = complaint(ended)
    for part in (f"plugins directory {node.plugins} does not exist", "--kubelet-plugins-dir"):
        assert part in line
    assert not node.plugins.exists()


@pytest.mark.scenario(10)
@pytest.mark.parametrize("place", ["registration", "dra"])
def test_a_regular_file_where_a_socket_belongs_is_left_alone(node: SimulatedNode, place: str) -> None:
    path = {"registration": node.registry / f"{NAME}-reg.sock", "dra": node.state / "dra.sock"}[place]
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    ended = gpu_cli(*node.run_arguments())
    assert ended.returncode == 1
    line = complaint(ended)
    assert f"{path}, where the driver's socket belongs, is a regular file" in line
    assert "remove it" in line
    assert path.read_text() == "precious"


@pytest.mark.scenario(12)
def test_a_path_too_long_for_a_socket(node: SimulatedNode) -> None:
    long = node.root / ("x" * 90)
    long.mkdir()
    ended = fails(node, f"--kubelet-registry-dir={long}")
    assert ended.returncode == 1
    line = complaint(ended)
    assert str(long) in line
    assert "107" in line
    assert "--kubelet-registry-dir" in line


def test_a_file_in_place_of_the_cdi_folder(node: SimulatedNode) -> None:
    node.cdi.rmdir()
    node.cdi.write_text("precious")
    ended = fails(node)
    assert ended.returncode == 1
    line = complaint(ended)
    assert str(node.cdi) in line
    assert "--cdi-dynamic-root" in line
    assert node.cdi.read_text() == "precious"
    node.cdi.unlink()


def test_a_missing_cdi_folder_is_made(node: SimulatedNode) -> None:
    node.cdi.rmdir()
    node.start_driver()
    ref = allocated(node, "first", "0000-9a-00-0-0xe211")
    assert node.resolve(node.prepare(ref)).device_nodes
    node.unprepare(ref)
    node.delete_claim(ref)
    assert node.stop_driver() == 0
    assert node.cdi.is_dir()


def test_a_cdi_folder_that_goes_bad_later_fails_claims_not_the_driver(node: SimulatedNode) -> None:
    node.start_driver()
    node.cdi.rmdir()
    node.cdi.write_text("in the way")
    ref = allocated(node, "unlucky", "0000-9a-00-0-0xe211")
    error = node.kubelet.prepare([ref], NAME)[ref.uid].error
    assert str(node.cdi) in error
    assert "--cdi-dynamic-root" in error
    assert is_alive(node)
    node.cdi.unlink()
    assert node.resolve(node.prepare(ref)).device_nodes
    node.unprepare(ref)
    node.delete_claim(ref)
    assert node.leftovers() == []
    assert node.stop_driver() == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is not a file"),
        ("", "not a mapping"),
        ("{", "not YAML"),
        ("a: b", "cannot be used"),
        (
            "apiVersion: v1\nkind: Config\ncurrent-context: gone\ncontexts: []\nclusters: []\nusers: []",
            "gone",
        ),
    ],
)
def test_a_bad_kubeconfig(node: SimulatedNode, content: str | None, says: str) -> None:
    file = node.root / "bad-kubeconfig"
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_text(content)
    ended = fails(node, f"--kubeconfig={file}")
    assert ended.returncode == 2
    line = complaint(ended)
    assert str(file) in line
    assert says in line


def test_neither_kubeconfig_nor_pod(node: SimulatedNode) -> None:
    ended = fails(node, "--kubeconfig=")
    assert ended.returncode == 2
    assert "--kubeconfig" in complaint(ended)
    assert "ServiceAccount" in complaint(ended)


def test_a_sysfs_without_a_pci_bus_is_waited_for(node: SimulatedNode) -> None:
    """A node may get its bus later (a module, a mount); meanwhile claims can still be unprepared."""
    with short_folder() as folder:
        for each in ("sys", "dev", "proc/sys/kernel/random"):
            (folder / each).mkdir(parents=True)
        (folder / "proc/sys/kernel/random/boot_id").write_text("8b5c0a9e-0000-4000-8000-000000000001\n")
        roots = [f"--{name}fs-root={folder}/{name}" for name in ("sys", "dev", "proc")]
        node.start_driver("--simulated-root=", "--rescan-seconds=1", *roots)
        said = [line for line in lines(node) if " ERROR " in line]
        assert len(said) == 1
        assert "cannot look at the machine" in said[0]
        assert f"{folder}/sys/bus/pci" in said[0]
        assert is_alive(node)
        (folder / "sys/bus/pci/devices").mkdir(parents=True)
        node.wait(
            lambda: any("can look at the machine again" in line for line in lines(node)),
            "the good news",
        )
        assert node.stop_driver() == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--sysfs-root=/nowhere",), "/nowhere is not a folder"),
        (("--devfs-root=/nowhere",), "/nowhere is not a folder"),
        (("--procfs-root=/nowhere",), "/nowhere is not a folder"),
    ],
)
def test_missing_roots(node: SimulatedNode, arguments: tuple[str, ...], says: str) -> None:
    ended = fails(node, "--simulated-root=", *arguments)
    assert ended.returncode == 2
    assert says in complaint(ended)
    assert arguments[0].split("=")[0].removeprefix("--").upper().replace("-", "_") in complaint(ended)


def test_a_taken_health_port_does_not_keep_the_driver_from_serving(node: SimulatedNode) -> None:
    """The kubelet's probe fails and says so; the pods of this node get their devices meanwhile."""
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended_or_up(node, f"--healthcheck-port={port}", str(port))


def ended_or_up(node: SimulatedNode, argument: str, mentions: str) -> None:
    node.start_driver(argument, wait=False)
    node.wait(lambda: any(mentions in line for line in lines(node)), "a line about it")
    node.kubelet.wait_registered(NAME)
    assert node.stop_driver() == 0


@pytest.mark.scenario(48)
def test_a_second_driver_on_the_same_node_takes_over_and_the_first_touches_nothing_of_it(
    node: SimulatedNode,
) -> None:
    """As when a DaemonSet's new pod starts before the old one has ended: who came last serves.

    The sockets are replaced without a gap, the state on disk is shared under locks, and the first one, whose sockets
    are gone, reports itself as not alive to the health probe and removes nothing when it ends.
    """
    node.start_driver()
    node.wait_published()
    first = node.process
    assert first is not None
    device = names(node)[0]
    ref = allocated(node, "shared", device)
    answer = node.prepare(ref)
    sockets = (node.state / "dra.sock", node.registry / f"{NAME}-reg.sock")
    before = [path.stat().st_ino for path in sockets]
    node.start_driver(wait=False)
    try:
        node.wait(lambda: not {path.stat().st_ino for path in sockets} & set(before), "the new sockets")
        assert first.poll() is None
        inodes = [path.stat().st_ino for path in sockets]
        wait_until(lambda: len(lines_about_registration(node)) == 2, "the second registration")
        node.kubelet.wait_registered(NAME)
        assert node.prepare(ref) == answer
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 0
        assert [path.stat().st_ino for path in sockets] == inodes
        assert node.prepare(ref) == answer
        node.unprepare(ref)
        assert node.leftovers() == []
        assert len(node.wait_published()) == 2
    finally:
        first.kill()
        first.wait()
    assert node.stop_driver() == 0
    node.delete_claim(ref)


def lines_about_registration(node: SimulatedNode) -> list[str]:
    return [line for line in lines(node) if "the kubelet registered" in line]


@pytest.mark.scenario(11)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_every_stop_signal_ends_it_cleanly(node: SimulatedNode, number: signal.Signals) -> None:
    node.start_driver()
    node.wait_published()
    assert node.process is not None
    node.process.send_signal(number)
    assert node.process.wait(60) == 0
    node.kubelet.wait_disconnected(NAME)
    assert not [*node.state.glob("*.sock"), *node.registry.glob("*.sock")]
    assert node.slices()
    assert any(number.name in line for line in lines(node))


def test_a_stop_before_it_has_begun_to_serve_is_a_stop(node: SimulatedNode) -> None:
    node.start_driver(wait=False)
    assert node.process is not None
    node.process.terminate()
    node.process.wait(60)
    assert not [*node.state.glob("*.sock"), *node.registry.glob("*.sock")]
