from __future__ import annotations

import errno
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dra_common.errors import HostError, HostNotFound, HostWriteError
from dra_common.ports import Host, Uevent, UeventSource
from dra_common.simulate import (
    ControlClient,
    SimulatedHost,
    SimulatedUevents,
    Simulation,
    Simulator,
    find_profile,
    write_tree,
)

PCI = "bus/pci/devices"
PF = "0000:01:00.0"
TOY = "0000:07:00.0"


@dataclass(frozen=True)
class Question:
    name: str = "toy.tune"

    def run(self, fd: int) -> bytes:
        raise AssertionError("the simulated host never opens the node")


def test_it_is_a_host(host: SimulatedHost, root: Path) -> None:
    port: Host = host
    assert port.sysfs.read(f"{PCI}/{PF}/vendor") == "0x8086"
    assert port.devfs.exists("dri/card1")
    assert port.dev_root == f"{root}/dev"
    assert port.boot_id() == (root / "proc/sys/kernel/random/boot_id").read_text().strip()


def test_the_path_of_dev_on_the_host_may_be_another(root: Path) -> None:
    assert SimulatedHost(root, dev_root="/srv/sim/dev").dev_root == "/srv/sim/dev"


def test_write(host: SimulatedHost) -> None:
    host.sysfs.write(f"{PCI}/{PF}/sriov_numvfs", "3")
    assert host.sysfs.read(f"{PCI}/{PF}/sriov_numvfs") == "3"
    assert host.sysfs.exists(f"{PCI}/{PF}/virtfn2/vendor")


def test_debugfs_is_where_it_is_mounted_and_takes_writes(host: SimulatedHost) -> None:
    assert host.debugfs.read(f"toy/{TOY}/knob") == host.sysfs.read(f"kernel/debug/toy/{TOY}/knob") == "0"
    host.debugfs.write(f"toy/{TOY}/knob", "7")
    assert host.debugfs.read(f"toy/{TOY}/knob") == "7"
    with pytest.raises(HostNotFound, match="kernel/debug/toy/nothing"):
        host.debugfs.write("toy/nothing", "7")


def test_write_through_a_link(host: SimulatedHost) -> None:
    host.sysfs.write(f"{PCI}/{PF}/driver/unbind", PF)
    assert not host.sysfs.exists(f"{PCI}/{PF}/driver")


@pytest.mark.parametrize(
    ("path", "value", "number", "kind"),
    [
        (f"{PCI}/{PF}/sriov_numvfs", "9", errno.ERANGE, HostWriteError),
        (f"{PCI}/{PF}/vendor", "1", errno.EACCES, HostWriteError),
        (f"{PCI}/{PF}", "1", errno.EISDIR, HostWriteError),
        (f"{PCI}/{PF}/sriov_numvfs", "", errno.EINVAL, HostWriteError),
        (f"{PCI}/{PF}/nothing", "1", errno.ENOENT, HostNotFound),
    ],
)
def test_refused_writes(
    host: SimulatedHost, path: str, value: str, number: int, kind: type[HostError]
) -> None:
    with pytest.raises(HostError) as caught:
        host.sysfs.write(path, value)
    assert type(caught.value) is kind
    assert caught.value.errno == number
    assert path in caught.value.message
    assert errno.errorcode[number] in caught.value.message


def test_enoent_of_a_file_that_is_there_is_a_refusal(host: SimulatedHost) -> None:
    host.sysfs.write("bus/pci/drivers/igb/unbind", PF)
    with pytest.raises(HostWriteError) as caught:
        host.sysfs.write(f"{PCI}/{PF}/sriov_numvfs", "1")
    assert caught.value.errno == errno.ENOENT


def test_devfs_and_procfs_take_no_writes(host: SimulatedHost) -> None:
    for tree, path in ((host.devfs, "dri/card1"), (host.procfs, "sys/kernel/osrelease")):
        before = Path(tree.locate(path)).read_bytes()
        with pytest.raises(HostWriteError) as caught:
            tree.write(path, "x")
        assert caught.value.errno == errno.EACCES
        assert Path(tree.locate(path)).read_bytes() == before


def test_query(host: SimulatedHost) -> None:
    assert host.query("dri/card1", Question()) == b"dri/card1:jig\0\xff"


@pytest.mark.parametrize(
    ("node", "name", "number", "kind"),
    [
        ("dri/card1", "xe.mem_regions", errno.EINVAL, HostError),
        ("dri/card0", "toy.tune", errno.EINVAL, HostError),
        ("dri/card7", "toy.tune", errno.ENOENT, HostNotFound),
    ],
)
def test_refused_queries(
    host: SimulatedHost, node: str, name: str, number: int, kind: type[HostError]
) -> None:
    with pytest.raises(HostError) as caught:
        host.query(node, Question(name))
    assert type(caught.value) is kind
    assert caught.value.errno == number


# --------------------------------------------------------------------------- without a simulator


@pytest.fixture
def files_only(simulation: Simulation, root: Path) -> SimulatedHost:
    write_tree(simulation, find_profile(simulation, "nic"), root)
    return SimulatedHost(root)


def test_reading_needs_no_simulator(files_only: SimulatedHost) -> None:
    assert files_only.sysfs.read(f"{PCI}/{TOY}/device") == "0x4242"
    assert len(files_only.boot_id()) == 36


def test_writes_and_queries_say_what_to_start(files_only: SimulatedHost, root: Path) -> None:
    with pytest.raises(HostWriteError) as write:
        files_only.sysfs.write(f"{PCI}/{PF}/sriov_numvfs", "1")
    with pytest.raises(HostError) as query:
        files_only.query("dri/card1", Question())
    for caught in (write.value, query.value):
        assert str(root / "control.sock") in caught.message
        assert caught.cure == f"start it with: <driver> simulate --profile NAME --root {root}"
        assert caught.errno == 0
    assert files_only.sysfs.read(f"{PCI}/{PF}/sriov_numvfs") == "0"


def test_events_say_what_to_start(files_only: SimulatedHost, root: Path) -> None:
    with pytest.raises(HostError, match="no simulated kernel behind"):
        next(SimulatedUevents(root).events())


def test_a_socket_that_nobody_serves(files_only: SimulatedHost, root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(root / "control.sock"))
    with pytest.raises(HostWriteError, match="Connection refused"):
        files_only.sysfs.write(f"{PCI}/{PF}/sriov_numvfs", "1")


@pytest.mark.parametrize("answer", [b"", b'{"ok": tr', b"nonsense\n", b"[]\n", b'{"ok": true}\n'])
def test_answers_that_make_no_sense(files_only: SimulatedHost, root: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "control.sock"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.makefile("rb").readline()
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(HostError):
            files_only.query("dri/card1", Question())
        thread.join()


# --------------------------------------------------------------------------- events


class Ear:
    """Listens in a thread."""

    def __init__(self, root: Path) -> None:
        self.source = SimulatedUevents(root)
        self.heard: list[Uevent] = []
        self.error: HostError | None = None
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        source: UeventSource = self.source
        try:
            for event in source.events():
                with self._news:
                    self.heard.append(event)
                    self._news.notify_all()
        except HostError as error:
            self.error = error

    def wait_for(self, action: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: any(event.action == action for event in self.heard), 30)

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def ear(simulator: Simulator, root: Path) -> Iterator[Ear]:
    listening = Ear(root)
    # Subscribed when an event of ours arrives; until then it is sent again.
    client = ControlClient(root)
    while not listening.heard:
        client.request("write", path=f"{PCI}/{PF}/uevent", value="move")
    yield listening
    listening.source.close()
    listening.join()


def test_events(ear: Ear, host: SimulatedHost) -> None:
    host.sysfs.write(f"{PCI}/{PF}/sriov_numvfs", "1")
    ear.wait_for("bind")
    event = next(event for event in ear.heard if event.action == "bind")
    assert event.subsystem == "pci"
    assert event.devpath == "/devices/pci0000:00/0000:00:01.0/0000:01:10.0"
    assert event.properties
    assert event.properties["DRIVER"] == "igbvf"


def test_close_ends_them_quietly(ear: Ear) -> None:
    ear.source.close()
    ear.join()
    assert ear.error is None
    assert list(ear.source.events()) == []


def test_a_simulator_that_ends_is_an_error_and_may_be_asked_again(
    ear: Ear, simulator: Simulator, simulation: Simulation, root: Path
) -> None:
    simulator.__exit__()
    ear.join()
    assert ear.error
    assert "start it with" in ear.error.cure
    with Simulator(simulation, find_profile(simulation, "nic"), root):
        events = ear.source.events()
        client = ControlClient(root)
        stop = threading.Event()

        def poke() -> None:
            while not stop.is_set():
                client.request("write", path=f"{PCI}/{PF}/uevent", value="change")

        poker = threading.Thread(target=poke)
        poker.start()
        try:
            assert next(events).action == "change"
        finally:
            stop.set()
            poker.join()
            ear.source.close()


def test_a_line_of_nonsense_is_an_error(root: Path) -> None:
    root.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "control.sock"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.makefile("rb").readline()
                connection.sendall(json.dumps({"ok": True}).encode() + b'\n{"no": "event"}\n')

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(HostError, match="follow uevents"):
            next(SimulatedUevents(root).events())
        thread.join()


def test_waiting_is_over_at_once_where_a_simulator_answers_or_never_was(
    host: SimulatedHost, root: Path, tmp_path: Path
) -> None:
    assert host.boot_id()
    assert ControlClient(root).wait(0)
    assert ControlClient(tmp_path / "once").wait(0)


def test_a_simulator_that_was_killed_is_waited_for(short_tmp: Path) -> None:
    client = ControlClient(short_tmp)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(client.path))  # nobody listens, as after a kill
    assert not client.wait(0.2)
    found: list[bool] = []
    waiting = threading.Thread(target=lambda: found.append(client.wait(60)))
    waiting.start()
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(short_tmp / "new"))
        alive.listen()
        (short_tmp / "new").rename(client.path)
        waiting.join(60)
    assert found == [True]
