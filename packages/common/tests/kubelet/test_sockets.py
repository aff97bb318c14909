"""Where sockets are, how they appear, and whether they are still ours."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
from dra_common.errors import KubeletError
from dra_common.kubelet.sockets import (
    MAX_PATH_BYTES,
    OwnSocket,
    SocketPaths,
    check_place,
    hidden_path,
    is_dead,
    put_in_place,
    why_not_bound,
)

SETTING = "--kubelet-plugins-dir"
POD = "3f9f1a52-6f0a-4c37-9f0e-5d1f6f0d9c11"
DEFAULTS = Path("/var/lib/kubelet/plugins"), Path("/var/lib/kubelet/plugins_registry")


def listen(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def in_place(path: Path) -> tuple[socket.socket, OwnSocket]:
    hidden = hidden_path(path)
    server = listen(hidden)
    return server, put_in_place(hidden, path)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Be nobody for a while, if the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_paths_are_the_ones_a_kubelet_and_an_operator_expect(short_tmp: Path) -> None:
    paths = SocketPaths.of(
        "gpu.intel.com", short_tmp / "plugins/gpu.intel.com", short_tmp / "plugins_registry"
    )
    assert paths.dra == short_tmp / "plugins/gpu.intel.com/dra.sock"
    assert paths.registration == short_tmp / "plugins_registry/gpu.intel.com-reg.sock"


def test_paths_are_absolute_since_the_kubelet_dials_them(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(short_tmp)
    paths = SocketPaths.of("d", Path("p"), Path("r"))
    assert paths == SocketPaths(short_tmp / "p/dra.sock", short_tmp / "r/d-reg.sock")


def paths_of(driver: str, pod: str = POD) -> SocketPaths:
    return SocketPaths.of(driver, DEFAULTS[0] / driver, DEFAULTS[1], pod)


def test_each_pod_has_sockets_of_its_own() -> None:
    assert paths_of("gpu.intel.com") == SocketPaths(
        DEFAULTS[0] / f"gpu.intel.com/dra-{POD}.sock", DEFAULTS[1] / f"gpu.intel.com-{POD}-reg.sock"
    )


@pytest.mark.scenario(12)
@pytest.mark.parametrize(
    ("length", "dra", "registration"),
    [
        (13, f"dra-{POD}.sock", f"{'d' * 13}-{POD}-reg.sock"),
        (27, f"dra-{POD}.sock", f"{'d' * 27}-{POD}-reg.sock"),
        (28, f"dra-{POD}.sock", f"{'d' * 28}-rUXtDwR1uTw-reg.sock"),
        (36, f"dra-{POD}.sock", f"{'d' * 36}-rUXtDwR1uTw-reg.sock"),
        (37, "dra-rUXtDwR1.sock", f"{'d' * 37}-rUXtDwR1uTw-reg.sock"),
        (52, "dra-rUXtDwR1.sock", f"{'d' * 52}-rUXtDwR1uTw-reg.sock"),
        (53, "dra-rUXtDwR1.sock", "dra-cq_GXMBHzVaWGs2ceEjNqA-reg.sock"),
        (63, "dra-rUXtDwR1.sock", "dra-_QMQyfkMSwKsTggrJ9AHTA-reg.sock"),
    ],
)
def test_names_that_are_too_long_are_hashed(length: int, dra: str, registration: str) -> None:
    """The longest name that Kubernetes allows a driver has 63 characters."""
    paths = paths_of("d" * length)
    assert (paths.dra.name, paths.registration.name) == (dra, registration)
    assert max(len(str(paths.dra)), len(str(paths.registration))) <= MAX_PATH_BYTES


@pytest.mark.scenario(12)
def test_hashed_names_are_the_same_each_time_and_differ_by_driver_and_pod() -> None:
    drivers, pods = ("a" * 63, "b" * 63), (POD, POD.replace("3", "4"))
    paths = [paths_of(driver, pod) for driver in drivers for pod in pods]
    assert len({path.registration for path in paths}) == len({path.dra for path in paths}) == 4
    assert paths == [paths_of(driver, pod) for driver in drivers for pod in pods]


@pytest.mark.scenario(12)
def test_what_is_too_long_even_when_hashed_is_refused(short_tmp: Path) -> None:
    folder = short_tmp / ("p" * 90)
    folder.mkdir()
    with pytest.raises(KubeletError, match="unix sockets allow 107"):
        SocketPaths.of("d", folder, short_tmp, POD).check()


def test_only_a_socket_without_a_listener_is_dead(short_tmp: Path) -> None:
    path = short_tmp / "s"
    assert not is_dead(path)
    path.write_text("no socket")
    assert not is_dead(path)
    path.unlink()
    with closing(listen(path)):
        assert not is_dead(path)
    assert is_dead(path)
    assert not is_dead(short_tmp / ("x" * 200))


def test_a_listener_that_accepts_nobody_is_not_dead(short_tmp: Path) -> None:
    """A frozen process: the kernel queues a few, then makes the others wait."""
    path = short_tmp / "s"
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(path))
        server.listen(0)
        with ExitStack() as stack:
            for _ in range(3):
                client = stack.enter_context(closing(socket.socket(socket.AF_UNIX)))
                client.settimeout(0)
                with suppress(BlockingIOError):
                    client.connect(str(path))
            assert not is_dead(path)


@pytest.mark.scenario(12)
def test_the_longest_path_that_the_kernel_takes_is_accepted(short_tmp: Path) -> None:
    path = short_tmp / ("s" * (MAX_PATH_BYTES - len(str(short_tmp)) - 1))
    assert len(str(path)) == MAX_PATH_BYTES
    check_place(path, SETTING)
    with closing(listen(path)):
        assert path.is_socket()


@pytest.mark.scenario(12)
def test_one_byte_more_is_refused_and_the_message_says_by_how_much_and_what_helps(short_tmp: Path) -> None:
    path = short_tmp / ("s" * (MAX_PATH_BYTES - len(str(short_tmp))))
    with pytest.raises(KubeletError) as refused:
        check_place(path, SETTING)
    assert str(path) in str(refused.value)
    assert "108 bytes" in str(refused.value)
    assert "allow 107" in str(refused.value)
    assert SETTING in refused.value.cure


def test_bytes_count_not_characters(short_tmp: Path) -> None:
    path = short_tmp / ("é" * 50)
    assert len(str(path)) < MAX_PATH_BYTES
    with pytest.raises(KubeletError, match=f"has {len(os.fsencode(path))} bytes"):
        check_place(path, SETTING)


@pytest.mark.scenario(10)
def test_a_file_in_the_place_is_refused_and_kept(short_tmp: Path) -> None:
    path = short_tmp / "dra.sock"
    path.write_text("precious")
    with pytest.raises(KubeletError, match=r"dra\.sock.* is a regular file .*remove it"):
        check_place(path, SETTING)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("kind", "make"), [("a directory", "mkdir"), ("a symbolic link", "link"), ("a pipe", "fifo")]
)
def test_other_things_in_the_place_are_named(short_tmp: Path, kind: str, make: str) -> None:
    path = short_tmp / "dra.sock"
    if make == "mkdir":
        path.mkdir()
    elif make == "link":
        path.symlink_to("elsewhere")
    else:
        os.mkfifo(path)
    with pytest.raises(KubeletError, match=kind):
        check_place(path, SETTING)
    assert [path.name for path in short_tmp.iterdir()] == ["dra.sock"]


@pytest.mark.scenario(10)
def test_a_stale_socket_in_the_place_is_fine_and_replaced(short_tmp: Path) -> None:
    path = short_tmp / "dra.sock"
    listen(path).close()
    check_place(path, SETTING)
    before = path.lstat().st_ino
    server, own = in_place(path)
    with closing(server):
        assert own.inode == path.lstat().st_ino != before
        assert not own.lost()
        assert [path.name for path in short_tmp.iterdir()] == ["dra.sock"]


def test_checking_leaves_no_trace(short_tmp: Path) -> None:
    check_place(short_tmp / "dra.sock", SETTING)
    assert [path.name for path in short_tmp.iterdir()] == []


def test_a_folder_that_may_not_be_written_is_refused(short_tmp: Path) -> None:
    short_tmp.chmod(0o555)
    with ordinary_user(), pytest.raises(KubeletError) as refused:
        check_place(short_tmp / "dra.sock", SETTING)
    short_tmp.chmod(0o755)
    assert str(refused.value).startswith(f"cannot make the socket {short_tmp}/dra.sock: Permission denied")
    assert SETTING in refused.value.cure


def test_the_kernels_reason_is_found_when_binding_fails(short_tmp: Path) -> None:
    assert why_not_bound(short_tmp / "missing" / ".s") == "No such file or directory"
    (short_tmp / ".taken").touch()
    assert why_not_bound(short_tmp / ".taken") == "Address already in use"


def test_other_users_cannot_connect(short_tmp: Path) -> None:
    old = os.umask(0)
    try:
        server, own = in_place(short_tmp / "dra.sock")
    finally:
        os.umask(old)
    with closing(server):
        assert stat.S_IMODE(own.path.lstat().st_mode) == 0o600


def test_hidden_names_are_ignored_by_kubelets_fresh_and_never_too_long(short_tmp: Path) -> None:
    path = short_tmp / "dra.sock"
    names = {hidden_path(path).name for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith(".") and len(name) <= len(path.name) for name in names)
    assert hidden_path(path).parent == path.parent


def test_a_removed_socket_is_noticed(short_tmp: Path) -> None:
    server, own = in_place(short_tmp / "dra.sock")
    with closing(server):
        own.path.unlink()
        assert own.lost() == f"the socket {own.path} was removed by somebody else"
        own.remove()


def test_a_replaced_socket_is_noticed_and_left_to_its_owner(short_tmp: Path) -> None:
    first, own = in_place(short_tmp / "dra.sock")
    second, successor = in_place(own.path)
    with closing(first), closing(second):
        assert own.lost() == f"the socket {own.path} was replaced by another process"
        own.remove()
        assert own.path.is_socket()
        assert not successor.lost()
        successor.remove()
        assert not own.path.exists()


def test_a_folder_that_vanishes_with_the_socket_is_noticed(short_tmp: Path) -> None:
    folder = short_tmp / "plugins"
    folder.mkdir()
    server, own = in_place(folder / "dra.sock")
    with closing(server):
        folder.rename(short_tmp / "elsewhere")
        assert "removed by somebody else" in own.lost()


def test_putting_in_place_says_what_failed(short_tmp: Path) -> None:
    with pytest.raises(KubeletError, match=r"cannot put the socket .*/dra\.sock in place: No such file"):
        put_in_place(short_tmp / ".never", short_tmp / "dra.sock")
