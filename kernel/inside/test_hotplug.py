"""From the kernel's own events to what is published: none is lost, and however many there are, few looks answer."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Collection, Iterator, Mapping

import pytest
from card import SYSFS, Card, Uevents, must
from dra_common.driver import Discovery, Published
from dra_common.errors import HostNotFound
from dra_common.hotplug import OVERFLOW, SUBSCRIBED, KernelUevents, Monitor, subscribe
from dra_common.model import Device, ParentMode
from dra_common.ports import Host
from dra_common.testing.waiting import wait_until
from monitor import Monitor as Qemu
from watch import Counter, Heard, Watch

PCI = "bus/pci/devices"


class Nics:
    """A driver whose devices are the functions behind one port, and which of them has which driver."""

    name = "nic.example.com"

    def __init__(self, card: Card) -> None:
        self._port = str(card.folder.resolve().parent.relative_to(SYSFS))

    def discover(self, host: Host, only: Collection[str] | None = None) -> Discovery[str]:
        found = [bdf for bdf in host.sysfs.listdir(PCI) if self._is_ours(host, bdf)]
        return Discovery({name(bdf): self._driver(host, bdf) for bdf in found})

    def publish(self, hardware: Mapping[str, str], modes: Mapping[str, ParentMode]) -> Published:
        del modes
        return Published(tuple(Device(name, {"driver": driver}) for name, driver in hardware.items()))

    def _is_ours(self, host: Host, bdf: str) -> bool:
        try:
            return host.sysfs.realpath(f"{PCI}/{bdf}") == f"{self._port}/{bdf}"
        except HostNotFound:
            return False  # it went since the bus was listed

    def _driver(self, host: Host, bdf: str) -> str:
        try:
            return host.sysfs.readlink(f"{PCI}/{bdf}/driver").rpartition("/")[2]
        except HostNotFound:
            return ""


def name(bdf: str) -> str:
    return bdf.replace(":", "-").replace(".", "-")


def names(card: Card, vfs: int = 0) -> set[str]:
    return {name(card.name), *(name(card.vf(index)) for index in range(vfs))}


def last(uevents: Uevents) -> tuple[int, int]:
    """How many events of the PCI bus there were since this was asked, and the number of the last."""
    numbers = [int(event["SEQNUM"]) for event in uevents.take() if event.get("SUBSYSTEM") == "pci"]
    return len(numbers), max(numbers)


@pytest.fixture
def source() -> Heard:
    return Heard(("pci",))


@pytest.fixture
def watch(card: Card, source: Heard) -> Iterator[Watch]:
    watching = Watch(Nics(card), source)
    watching.start()
    assert set(watching.devices) == names(card)
    yield watching
    watching.stop()


def test_vfs_that_come_and_go(card: Card, watch: Watch, uevents: Uevents) -> None:
    vfs = names(card, 7)
    counter = Counter(watch)
    must(card.folder / "sriov_numvfs", "7")
    events, number = last(uevents)
    watch.until(vfs, number)
    assert watch.devices[name(card.vf(6))] == {"driver": "igbvf"}
    assert events == 7 * len(("add", "change", "bind")) + len(("change of the PF",))
    assert counter.looks <= events
    must(card.folder / "sriov_numvfs", "0")
    events, number = last(uevents)
    watch.until(names(card), number)
    assert events == 7 * len(("unbind", "remove"))
    assert counter.looks <= counter.most


def test_a_card_that_is_removed_and_found_again(card: Card, watch: Watch, uevents: Uevents) -> None:
    must(card.folder / "sriov_drivers_autoprobe", "0")
    must(card.folder / "sriov_numvfs", "2")
    watch.until(names(card, 2), last(uevents)[1])
    counter = Counter(watch)
    must(card.folder / "remove", "1")
    watch.until((), last(uevents)[1])
    must(SYSFS / "bus" / "pci" / "rescan", "1")
    watch.until(names(card), last(uevents)[1])
    wait_until(lambda: watch.devices[name(card.name)] == {"driver": "igb"}, "its driver")
    assert counter.looks <= counter.most


def test_a_card_that_is_pulled_out_and_put_back(card: Card, watch: Watch, uevents: Uevents) -> None:
    must(card.folder / "sriov_numvfs", "2")
    vfs = [card.vf(0), card.vf(1)]
    watch.until(names(card, 2), last(uevents)[1])
    with Qemu() as qemu:
        qemu.say("device_del igb0")
        watch.until((), 0)
        gone = [event for event in uevents.take() if event["SUBSYSTEM"] == "pci"]
        removed = [event["PCI_SLOT_NAME"] for event in gone if event["ACTION"] == "remove"]
        assert removed == [*vfs, card.name]
        assert not any("DRIVER" in event for event in gone)
        qemu.say("device_add igb,bus=port1,id=igb0")
    watch.until({name(card.name)}, 0)
    wait_until(lambda: watch.devices[name(card.name)] == {"driver": "igb"}, "its driver")
    assert (card.folder / "sriov_numvfs").read_text() == "0\n"


def test_a_thousand_events_are_few_looks_and_the_last_change_is_seen(
    card: Card, watch: Watch, source: Heard, uevents: Uevents
) -> None:
    must(card.folder / "sriov_drivers_autoprobe", "0")
    counter = Counter(watch)
    for _ in range(1000):
        must(card.folder / "uevent", "change")
    must(card.folder / "sriov_numvfs", "1")
    events, number = last(uevents)
    assert events > 1000
    watch.until(names(card, 1), number)
    assert counter.looks <= min(counter.most, 100)
    # The look may have been for the first of the events; who hears them is slower than the kernel.
    wait_until(
        lambda: OVERFLOW in source.heard or sum(event.action == "change" for event in source.heard) >= 1000,
        "every event, or word that some were lost",
    )


def test_events_for_which_there_is_no_room_are_known_to_be_lost(card: Card) -> None:
    small = Small()
    source = KernelUevents(("pci",), connect=small.connect)
    events = source.events()
    assert next(events) == SUBSCRIBED
    for _ in range(200):
        must(card.folder / "uevent", "change")
    heard = [next(events)]
    while small.has_more():
        heard.append(next(events))
    assert heard.count(OVERFLOW) == 1
    assert 1 < len(heard) < 200
    must(card.folder / "uevent", "online")
    assert next(events).action == "online"
    source.close()


class Small:
    """A subscription with room for a few events; libudev's own has room for some 100,000."""

    def connect(self, subsystems: Collection[str]) -> Monitor:
        monitor = subscribe(tuple(subsystems))
        with socket.socket(fileno=os.dup(monitor.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self._readable = select.poll()
        self._readable.register(monitor.fileno(), select.POLLIN)
        return monitor

    def has_more(self) -> bool:
        return bool(self._readable.poll(0))


class Cable:
    """A subscription that breaks when it is told to."""

    def __init__(self) -> None:
        self.cut = False
        self.monitors = 0

    def connect(self, subsystems: Collection[str]) -> Monitor:
        self.monitors += 1
        self._monitor = subscribe(tuple(subsystems))
        return self

    def fileno(self) -> int:
        return self._monitor.fileno()

    def poll(self, timeout: float) -> object:
        device: object = self._monitor.poll(timeout)
        if self.cut:
            self.cut = False
            raise OSError(100, "Network is down")
        return device


def test_what_happens_between_two_subscriptions_is_seen(card: Card, uevents: Uevents) -> None:
    cable = Cable()
    source = Heard(("pci",), connect=cable.connect)
    watch = Watch(Nics(card), source)
    watch.start()
    must(card.folder / "sriov_drivers_autoprobe", "0")
    cable.cut = True
    # The event with which it breaks is lost; the VF comes while nobody listens, or after.
    must(card.folder / "uevent", "change")
    must(card.folder / "sriov_numvfs", "1")
    watch.until(names(card, 1), last(uevents)[1])
    wait_until(lambda: cable.monitors == 2 and source.heard[:1] == [SUBSCRIBED], "another subscription")
    must(card.folder / "sriov_numvfs", "0")
    watch.until(names(card), last(uevents)[1])
    watch.stop()


def test_what_happens_while_the_driver_is_not_there_is_seen(card: Card, uevents: Uevents) -> None:
    first = Watch(Nics(card), Heard(("pci",)))
    first.start()
    first.stop()
    must(card.folder / "sriov_drivers_autoprobe", "0")
    must(card.folder / "sriov_numvfs", "1")
    second = Watch(Nics(card), Heard(("pci",)))
    second.start()
    assert set(second.devices) == names(card, 1)
    must(card.folder / "sriov_numvfs", "0")
    second.until(names(card), last(uevents)[1])
    second.stop()
    assert set(first.devices) == names(card)
