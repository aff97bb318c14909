"""Another driver of the same name is told from an instance of ours by what keeps its sockets marked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from dra_common.errors import StateError
from dra_common.kubelet import KubeletPlugin
from dra_common.kubelet.marks import Marks
from dra_common.kubelet.rivals import find_rival
from dra_common.kubelet.server import UnixServer
from dra_common.readiness import Readiness
from dra_common.testing.kubelet import MemoryClaims
from dra_common.testing.waiting import wait_until

NAME = "gpu.intel.com"


@pytest.fixture
def folders(short_tmp: Path) -> tuple[Path, Path]:
    plugin, registry = short_tmp / "plugins" / NAME, short_tmp / "registry"
    plugin.mkdir(parents=True)
    registry.mkdir()
    return plugin, registry


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listening(path: Path, stack: ExitStack) -> socket.socket:
    """What any driver does: bind and listen."""
    server = stack.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(os.fspath(path))
    server.listen()
    return server


def plugin_of(folders: tuple[Path, Path], stack: ExitStack) -> KubeletPlugin:
    plugin = KubeletPlugin(
        driver_name=NAME,
        plugin_dir=folders[0],
        registry_dir=folders[1],
        claims=MemoryClaims(),
        readiness=Readiness(),
    )
    plugin.start()
    stack.callback(plugin.stop, 0)
    return plugin


def rival(folders: tuple[Path, Path]) -> str:
    return str(find_rival(NAME, *folders) or "")


def test_nobody_is_there(folders: tuple[Path, Path]) -> None:
    assert rival(folders) == ""


@pytest.mark.parametrize(
    "place",
    ["dra.sock", "dra-0b1c.sock", f"../../registry/{NAME}-reg.sock", f"../../registry/{NAME}-0b1c-reg.sock"],
)
def test_each_of_its_sockets_tells(folders: tuple[Path, Path], place: str, stack: ExitStack) -> None:
    path = Path(os.path.normpath(folders[0] / place))
    server = listening(path, stack)
    said = rival(folders)
    assert f"another driver serves {NAME} on this node: its socket {path} answers" in said
    assert "remove its DaemonSet (helm uninstall" in said
    server.close()
    # Killed, it leaves the file: nobody answers any more.
    assert path.exists()
    assert rival(folders) == ""


@pytest.mark.parametrize("name", ["other.intel.com-reg.sock", ".hidden.sock", f"{NAME}.example.com-reg.sock"])
def test_sockets_of_other_drivers_are_theirs(folders: tuple[Path, Path], name: str, stack: ExitStack) -> None:
    listening(folders[1] / name, stack)
    assert rival(folders) == ""


def test_what_is_no_stream_socket_is_nobodys(folders: tuple[Path, Path], stack: ExitStack) -> None:
    (folders[0] / "dra.sock").write_text("")
    datagram = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    datagram.bind(os.fspath(folders[1] / f"{NAME}-reg.sock"))
    assert rival(folders) == ""


def test_a_server_that_is_too_busy_to_accept_is_there(folders: tuple[Path, Path], stack: ExitStack) -> None:
    server = stack.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(os.fspath(folders[0] / "dra.sock"))
    server.listen(0)
    for _ in range(4):
        caller = stack.enter_context(socket.socket(socket.AF_UNIX))
        caller.settimeout(0)
        caller.connect_ex(os.fspath(folders[0] / "dra.sock"))
    assert "answers" in rival(folders)


def test_a_grpc_server_that_is_not_ours_is_a_rival(folders: tuple[Path, Path], stack: ExitStack) -> None:
    server = UnixServer(folders[0] / "dra.sock", lambda _: None, threads=1)
    server.start()
    assert "answers" in rival(folders)
    server.stop(0)
    assert rival(folders) == ""


def test_an_instance_of_ours_is_none(folders: tuple[Path, Path], stack: ExitStack) -> None:
    plugin = plugin_of(folders, stack)
    assert rival(folders) == ""
    assert len(list((folders[0] / "sockets").iterdir())) == 2
    plugin.stop(0)
    assert list((folders[0] / "sockets").iterdir()) == []


def test_a_rival_beside_an_instance_of_ours_is_seen(folders: tuple[Path, Path], stack: ExitStack) -> None:
    plugin_of(folders, stack)
    listening(folders[0] / "dra-other.sock", stack)
    assert "dra-other.sock" in rival(folders)


def test_a_rival_that_takes_our_place_is_seen(folders: tuple[Path, Path], stack: ExitStack) -> None:
    """What a Go driver does when it starts: remove what is there, bind the same path."""
    plugin_of(folders, stack)
    (folders[0] / "dra.sock").unlink()
    listening(folders[0] / "dra.sock", stack)
    assert "dra.sock" in rival(folders)


OURS = """
import sys, time
from pathlib import Path
from dra_common.kubelet.marks import Marks
from dra_common.kubelet.server import UnixServer
plugin = Path(sys.argv[1])
UnixServer(plugin / "dra.sock", lambda _: None, threads=1, marks=Marks(plugin)).start()
(plugin / "started").touch()
time.sleep(600)
"""


def test_an_instance_of_ours_in_another_process_even_when_it_is_frozen(
    folders: tuple[Path, Path], stack: ExitStack
) -> None:
    process = subprocess.Popen([sys.executable, "-c", OURS, str(folders[0])])
    stack.callback(process.wait)
    stack.callback(process.kill)
    wait_until((folders[0] / "started").exists, "the other process", seconds=60)
    assert rival(folders) == ""
    process.send_signal(signal.SIGSTOP)
    assert rival(folders) == ""
    process.kill()
    process.wait()
    # Its mark is nobody's now, and so is a socket that somebody makes in its place.
    (mark,) = (folders[0] / "sockets").iterdir()
    assert rival(folders) == ""
    (folders[0] / "dra.sock").unlink()
    listening(folders[0] / "dra.sock", stack)
    assert "answers" in rival(folders)
    Marks(folders[0]).sweep()
    assert not mark.exists()


def test_a_sweep_leaves_the_marks_of_those_who_live(folders: tuple[Path, Path], stack: ExitStack) -> None:
    plugin_of(folders, stack)
    (folders[0] / "sockets/1-2.lock").touch()
    Marks(folders[0]).sweep()
    assert rival(folders) == ""
    assert len(list((folders[0] / "sockets").iterdir())) == 2


def test_a_mark_left_by_a_socket_with_our_numbers_is_taken_over(
    folders: tuple[Path, Path], stack: ExitStack
) -> None:
    path = folders[0] / "x.sock"
    listening(path, stack)
    (folders[0] / "sockets").mkdir()
    found = path.stat()
    (folders[0] / f"sockets/{found.st_dev}-{found.st_ino}.lock").touch()
    marks = Marks(folders[0])
    assert not marks.is_ours(path)
    mark = marks.make(path)
    assert marks.is_ours(path)
    with pytest.raises(StateError, match="another process keeps it locked"):
        marks.make(path)
    mark.remove()
    assert not marks.is_ours(path)


def test_a_folder_that_cannot_be_marked_starts_nothing(folders: tuple[Path, Path], stack: ExitStack) -> None:
    (folders[0] / "sockets").write_text("in the way")
    with pytest.raises(StateError, match="sockets"):
        plugin_of(folders, stack)
    assert not list(folders[0].glob("*.sock"))
    assert list(folders[1].iterdir()) == []


def test_looking_disturbs_no_call(folders: tuple[Path, Path], stack: ExitStack) -> None:
    plugin = plugin_of(folders, stack)
    with grpc.insecure_channel(f"unix:{plugin.paths.dra}") as channel:
        grpc.channel_ready_future(channel).result(60)
        for _ in range(50):
            assert find_rival(NAME, *folders) is None
    assert plugin.why_unreachable() == ""


def test_an_instance_of_ours_that_stops_while_it_is_looked_at_is_no_rival(
    folders: tuple[Path, Path], stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket answered, then both went: what is not marked any more must not be taken for another driver's."""
    plugin = plugin_of(folders, stack)
    looked = Marks.is_ours

    def stops_first(marks: Marks, path: Path) -> bool:
        plugin.stop(0)
        return looked(marks, path)

    monkeypatch.setattr(Marks, "is_ours", stops_first)
    assert find_rival(NAME, *folders) is None
