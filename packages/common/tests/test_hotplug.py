from __future__ import annotations

import builtins
import ctypes
import errno
import os
import queue
import shutil
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pyudev
from dra_common.driver import Discovery, Published
from dra_common.errors import HostError
from dra_common.hotplug import OVERFLOW, SUBSCRIBED, KernelUevents, subscribe
from dra_common.inventory import Inventory
from dra_common.model import Device, ParentMode
from dra_common.ports import Host, Uevent
from dra_common.reconciler import Reconciler, Timing

SECONDS = 60.0


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {SECONDS:g} s for {what}"
        time.sleep(0.005)


class Ear:
    """Listens in a thread of its own; what it hears, and how it ended, can be asked for."""

    def __init__(self, source: KernelUevents) -> None:
        self.source = source
        self.heard: queue.Queue[Uevent | BaseException | None] = queue.Queue()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        try:
            for event in self.source.events():
                self.heard.put(event)
            self.heard.put(None)
        except HostError as error:
            self.heard.put(error)

    def next(self) -> Uevent | BaseException | None:
        return self.heard.get(timeout=SECONDS)

    def events(self, count: int) -> list[Uevent]:
        events = [self.next() for _ in range(count)]
        assert all(isinstance(event, Uevent) for event in events), events
        return [event for event in events if isinstance(event, Uevent)]

    def close(self) -> None:
        self.source.close()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()


@pytest.fixture
def listen() -> Iterator[Callable[[KernelUevents], Ear]]:
    ears: list[Ear] = []

    def start(source: KernelUevents) -> Ear:
        ears.append(Ear(source))
        return ears[-1]

    yield start
    for ear in ears:
        ear.close()


Listen = Callable[[KernelUevents], Ear]


# --------------------------------------------------------------------------- the socket of this machine


def test_a_subscription_says_so_first_and_close_ends_it_at_once(listen: Listen) -> None:
    ear = listen(KernelUevents(["pci", "drm"]))
    assert ear.next() == SUBSCRIBED
    ear.source.close()
    assert ear.next() is None


def test_a_closed_source_stays_closed() -> None:
    source = KernelUevents(["pci"])
    source.close()
    source.close()
    assert list(source.events()) == []


def test_close_ends_every_listener(listen: Listen) -> None:
    source = KernelUevents(["pci"])
    ears = [listen(source), listen(source)]
    assert [ear.next() for ear in ears] == [SUBSCRIBED, SUBSCRIBED]
    source.close()
    assert [ear.next() for ear in ears] == [None, None]


def test_nothing_is_left_open() -> None:
    def sockets() -> list[str]:
        links = []
        for link in Path("/proc/self/fd").iterdir():
            try:
                links.append(str(link.readlink()))
            except FileNotFoundError:
                continue  # the descriptor that listed the folder
        return sorted(link for link in links if "eventfd" in link or "socket" in link)

    before = sockets()
    source = KernelUevents(["pci"])
    for _ in range(3):
        events = source.events()
        assert next(events) == SUBSCRIBED
        events.close()  # type: ignore[attr-defined]
    source.close()
    assert sockets() == before


def test_it_listens_to_the_kernel_and_not_to_udevd() -> None:
    # /proc/net/netlink: protocol 15 (NETLINK_KOBJECT_UEVENT), the groups in hex; 1 is the kernel's, 2 is udevd's.
    with_fd = subscribe(["pci"])
    inode = (
        Path(f"/proc/self/fd/{with_fd.fileno()}").readlink().name.removeprefix("socket:[").removesuffix("]")
    )
    lines = [line.split() for line in Path("/proc/net/netlink").read_text().splitlines()]
    [row] = [line for line in lines if line[-1] == inode]
    assert (row[1], int(row[3], 16)) == ("15", 1)


# --------------------------------------------------------------------------- what may go wrong


def test_pyudev_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "pyudev":
            raise ImportError("No module named 'pyudev'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        HostError, match=r"cannot listen to kernel events: No module named 'pyudev' \(install pyudev"
    ):
        next(KernelUevents(["pci"]).events())


def test_libudev_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("No library named udev")

    monkeypatch.setattr(pyudev, "Context", missing)
    with pytest.raises(HostError, match=r"No library named udev .*libudev1"):
        next(KernelUevents(["pci"]).events())


def test_no_socket_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(context: object, source: str) -> None:
        raise OSError("Could not create udev monitor")

    monkeypatch.setattr(pyudev.Monitor, "from_netlink", refuse)
    with pytest.raises(HostError, match=r"no netlink socket: Could not create udev monitor \(allow the"):
        next(KernelUevents(["pci"]).events())


class Wire:
    """A monitor whose socket a test holds the other end of: what ``poll`` raises or returns is sent to it."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.near.settimeout(0)

    def fileno(self) -> int:
        return self.near.fileno()

    def poll(self, timeout: float) -> Any:
        try:
            text = self.near.recv(4096).decode()
        except BlockingIOError:
            return None
        if text.isdigit():
            raise OSError(int(text), os.strerror(int(text)))
        action, devpath = text.split()
        return SimpleNamespace(action=action, device_path=devpath, subsystem="pci")

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


def test_an_overflow_is_an_event_and_listening_goes_on(wire: Wire, listen: Listen) -> None:
    ear = listen(KernelUevents(["pci"], connect=lambda subsystems: wire))
    for message in (b"add /devices/a", str(errno.ENOBUFS).encode(), b"add /devices/b"):
        wire.far.send(message)
    assert ear.events(4) == [
        SUBSCRIBED,
        Uevent("add", "/devices/a", "pci"),
        OVERFLOW,
        Uevent("add", "/devices/b", "pci"),
    ]


def test_a_broken_socket_is_an_error_and_the_next_call_connects_again(wire: Wire, listen: Listen) -> None:
    second = Wire()
    wires = [wire, second]
    source = KernelUevents(["pci"], connect=lambda subsystems: wires.pop(0))
    wire.far.send(str(errno.ENETDOWN).encode())
    ear = listen(source)
    assert ear.next() == SUBSCRIBED
    error = ear.next()
    assert isinstance(error, HostError)
    assert error.errno == errno.ENETDOWN
    assert "the netlink socket failed: Network is down" in str(error)
    again = listen(source)
    second.far.send(b"remove /devices/a")
    assert again.events(2) == [SUBSCRIBED, Uevent("remove", "/devices/a", "pci")]
    again.close()
    second.close()


def test_an_error_without_a_number_is_looked_up_at_the_socket(listen: Listen) -> None:
    # A datagram to a port that nobody has: the kernel keeps the answer as the socket's error, as it does for ENOBUFS.
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as broken,
    ):
        free.bind(("127.0.0.1", 0))
        broken.connect(free.getsockname())
        free.close()
        broken.send(b"x")

        def poll(timeout: float) -> None:
            raise OSError("Error while polling fd")

        monitor = SimpleNamespace(fileno=broken.fileno, poll=poll)
        ear = listen(KernelUevents(["pci"], connect=lambda subsystems: monitor))
        assert ear.next() == SUBSCRIBED
        error = ear.next()
        assert isinstance(error, HostError)
        assert error.errno == errno.ECONNREFUSED


# --------------------------------------------------------------------------- made-up devices, real events

GPU = "/devices/pci0000:00/0000:00:01.0/0000:03:00.0"
DESCRIPTION = f"""P: {GPU}
E: SUBSYSTEM=pci
E: PCI_SLOT_NAME=0000:03:00.0
A: vendor=0x8086
A: device=0x56c0

P: {GPU}/drm/card0
E: SUBSYSTEM=drm
E: DEVTYPE=drm_minor

P: /devices/virtual/net/lo
E: SUBSYSTEM=net

"""


class Testbed:
    """libumockdev: a /sys of our own, and netlink messages that this process takes for the kernel's."""

    __test__ = False

    def __init__(self) -> None:
        assert "umockdev" in os.environ.get("LD_PRELOAD", ""), "run these tests under umockdev-wrapper"
        self._library = ctypes.CDLL("libumockdev.so.0")
        self._library.umockdev_testbed_new.restype = ctypes.c_void_p
        self._library.umockdev_testbed_get_root_dir.restype = ctypes.c_char_p
        self._bed = ctypes.c_void_p(self._library.umockdev_testbed_new())
        self.root = Path(self._library.umockdev_testbed_get_root_dir(self._bed).decode())

    def add(self, description: str) -> None:
        error = ctypes.c_void_p()
        assert self._library.umockdev_testbed_add_from_string(
            self._bed, description.encode(), ctypes.byref(error)
        )

    def uevent(self, path: str, action: str) -> None:
        self._library.umockdev_testbed_uevent(self._bed, f"/sys{path}".encode(), action.encode())

    def close(self) -> None:
        ctypes.CDLL("libgobject-2.0.so.0").g_object_unref(self._bed)


@pytest.fixture
def testbed() -> Iterator[Testbed]:
    bed = Testbed()
    bed.add(DESCRIPTION)
    yield bed
    bed.close()


@pytest.mark.umockdev
def test_events_of_our_subsystems_are_heard_in_order(testbed: Testbed, listen: Listen) -> None:
    ear = listen(KernelUevents(["pci", "drm"]))
    assert ear.next() == SUBSCRIBED
    testbed.uevent(GPU, "add")
    testbed.uevent("/devices/virtual/net/lo", "change")
    testbed.uevent(f"{GPU}/drm/card0", "add")
    testbed.uevent(GPU, "unbind")
    assert ear.events(3) == [
        Uevent("add", GPU, "pci"),
        Uevent("add", f"{GPU}/drm/card0", "drm"),
        Uevent("unbind", GPU, "pci"),
    ]


@pytest.mark.umockdev
def test_without_subsystems_everything_is_heard(testbed: Testbed, listen: Listen) -> None:
    ear = listen(KernelUevents([]))
    assert ear.next() == SUBSCRIBED
    testbed.uevent("/devices/virtual/net/lo", "change")
    event = ear.next()
    assert isinstance(event, Uevent)
    assert (event.action, event.devpath, event.subsystem) == ("change", "/devices/virtual/net/lo", "net")


@pytest.mark.umockdev
def test_a_new_device_is_heard(testbed: Testbed, listen: Listen) -> None:
    ear = listen(KernelUevents(["pci"]))
    assert ear.next() == SUBSCRIBED
    testbed.add("P: /devices/pci0000:00/0000:00:02.0\nE: SUBSYSTEM=pci\n\n")
    assert ear.next() == Uevent("add", "/devices/pci0000:00/0000:00:02.0", "pci")


@pytest.mark.umockdev
def test_an_event_of_a_device_that_is_gone_is_heard(testbed: Testbed) -> None:
    source = KernelUevents(["pci"])
    events = source.events()
    assert next(events) == SUBSCRIBED
    testbed.uevent(GPU, "remove")
    shutil.rmtree(testbed.root / "sys")
    assert next(events) == Uevent("remove", GPU, "pci")
    source.close()
    assert list(events) == []


class OneGpu:
    """A driver that finds what stands on the test's bus."""

    name = "gpu.intel.com"

    def __init__(self, bus: Path) -> None:
        self.bus = bus

    def discover(self, host: Host, only: Collection[str] | None = None) -> Discovery[str]:
        return Discovery(
            {path.name.replace(":", "-").replace(".", "-"): "" for path in sorted(self.bus.iterdir())}
        )

    def publish(self, hardware: Mapping[str, str], modes: Mapping[str, ParentMode]) -> Published:
        return Published(tuple(Device(name) for name in hardware))


class Counted(KernelUevents):
    """Knows how much it has handed on: the sender must not run ahead, as umockdev aborts when the queue is full."""

    heard = 0

    def events(self) -> Iterator[Uevent]:
        for event in super().events():
            self.heard += 1
            yield event


@pytest.mark.umockdev
def test_a_thousand_events_are_a_handful_of_looks_and_the_last_is_seen(
    testbed: Testbed, tmp_path: Path
) -> None:
    published: queue.Queue[Sequence[Device]] = queue.Queue()
    driver: Any = OneGpu(tmp_path)
    source = Counted(["pci"])
    host: Any = SimpleNamespace()
    loop = Reconciler(
        driver,
        host,
        Inventory(driver.name),
        publish=lambda snapshot: published.put(snapshot.devices),
        held=frozenset,
        uevents=source,
        timing=Timing(rescan=3600),
    )
    loop.start()
    assert published.get(timeout=SECONDS) == ()
    until(lambda: loop.reconciles == 2, "the look that answers the subscription")
    for sent in range(1, 1000):
        until(lambda sent=sent: source.heard > sent - 5, "the events to be taken")  # type: ignore[misc]
        testbed.uevent(GPU, "change")
    (tmp_path / "0000:03:00.0").touch()
    testbed.uevent(GPU, "add")
    assert published.get(timeout=SECONDS) == (Device("0000-03-00-0"),)
    until(lambda: source.heard == 1001, "the last event")
    loop.stop()
    # At most one a second while it rings: this holds even where sending takes a minute.
    assert loop.reconciles < 60
