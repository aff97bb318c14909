from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dra_common.driver import NO_MODES, Discovery, Published
from dra_common.errors import HostError, StateError
from dra_common.host import RealHost, Roots
from dra_common.inventory import Inventory
from dra_common.model import Device, ParentMode, Snapshot, Taint, TaintEffect
from dra_common.ports import Host, Uevent
from dra_common.reconciler import Reconciler, Timing

SECONDS = 60.0
ABSENT = Taint("gpu.intel.com/absent", TaintEffect.NO_SCHEDULE)
FAILED = Taint("gpu.intel.com/revert-failed", TaintEffect.NO_SCHEDULE)
PATIENT = Timing(
    rescan=3600, confirm=3600, lasting=0, quiet=0.01, latest=0.05, reconnect=3600, reconnect_most=3600
)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {SECONDS:g} s for {what}"
        time.sleep(0.005)


class FileDriver:
    """A driver whose devices are the files of ``bus`` in a real folder: a file that says ``bad`` is a problem."""

    name = "gpu.intel.com"

    def __init__(self) -> None:
        self.before_looking: Callable[[], None] = lambda: None

    def discover(self, host: Host, only: Collection[str] | None = None) -> Discovery[str]:
        self.before_looking()
        found = {name: host.sysfs.read(f"bus/{name}") for name in host.sysfs.listdir("bus")}
        problems = tuple(f"{name}: unreadable" for name, text in found.items() if text == "bad")
        return Discovery({name: text for name, text in found.items() if text != "bad"}, problems)

    def publish(self, hardware: Mapping[str, str], modes: Mapping[str, ParentMode] = NO_MODES) -> Published:
        """What is there for a mode is not published."""
        offered = {name: text for name, text in hardware.items() if name.partition("-")[0] not in modes}
        return Published(tuple(Device(name, {"text": text}) for name, text in offered.items()))


class Source:
    """Kernel events, and breakdowns, as a test sends them."""

    def __init__(self) -> None:
        self.sent: queue.Queue[Uevent | HostError | None] = queue.Queue()
        self.subscriptions = 0
        self.closed = False

    def events(self) -> Iterator[Uevent]:
        self.subscriptions += 1
        while not self.closed and (item := self.sent.get()) is not None:
            if isinstance(item, HostError):
                raise item
            yield item

    def close(self) -> None:
        self.closed = True
        self.sent.put(None)


class Node:
    """A node with a reconciler; everything around it is real but the driver and the events."""

    def __init__(self, folder: Path) -> None:
        self.bus = folder / "bus"
        self.bus.mkdir()
        self.driver, self.source = FileDriver(), Source()
        self.published: queue.Queue[Snapshot] = queue.Queue()
        self.publish: Callable[[Snapshot], None] = self.published.put
        self.held: Callable[[], Collection[str]] = frozenset
        self.failed: Callable[[], Collection[str]] = frozenset
        self.inventory = Inventory(FileDriver.name)
        self.host = RealHost(Roots(sysfs=str(folder)))
        self.loops: list[Reconciler] = []

    def reconciler(self, timing: Timing = PATIENT, *, events: bool = True) -> Reconciler:
        driver: Any = self.driver
        loop = Reconciler(
            driver,
            self.host,
            self.inventory,
            publish=lambda snapshot: self.publish(snapshot),  # noqa: PLW0108 - replaced while it runs
            held=lambda: [(name, None) for name in self.held()],
            taints=(lambda _: dict.fromkeys(self.failed(), (FAILED,)),),
            uevents=self.source if events else None,
            timing=timing,
        )
        self.loops.append(loop)
        return loop

    def add(self, *names: str) -> None:
        for name in names:
            (self.bus / name).write_text("fine\n")

    def next(self) -> list[str]:
        """The next snapshot that is published; devices with the taint of absence have a question mark."""
        snapshot = self.published.get(timeout=SECONDS)
        return [device.name + "?" * (ABSENT in device.taints) for device in snapshot.devices]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    for loop in node.loops:
        loop.stop()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The lines logged since the last call."""
    caplog.set_level(logging.INFO, "dra_common")

    def take() -> list[str]:
        taken = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
        caplog.clear()
        return taken

    return take


# --------------------------------------------------------------------------- one look


def test_a_look_takes_in_and_hands_over_what_changed(node: Node) -> None:
    node.add("a", "b")
    loop = node.reconciler()
    snapshot = loop.reconcile_once()
    assert snapshot.devices == (Device("a", {"text": "fine"}), Device("b", {"text": "fine"}))
    assert node.published.get_nowait() is snapshot is node.inventory.snapshot
    assert loop.reconcile_once() is snapshot
    assert node.published.empty()
    assert loop.reconciles == 2


def test_an_empty_node_is_published_too(node: Node) -> None:
    assert node.reconciler().reconcile_once() == Snapshot(1)
    assert node.next() == []


def test_what_is_held_is_read_at_each_look(node: Node) -> None:
    node.add("a")
    loop = node.reconciler()
    assert loop.reconcile_once().held == frozenset()
    node.held = lambda: ["a"]
    assert loop.reconcile_once().held == {"a"}


def test_taints_of_several_sources_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "bus").mkdir()
    inventory = Inventory(FileDriver.name)
    other = Taint("gpu.intel.com/other", TaintEffect.NO_EXECUTE)
    driver: Any = FileDriver()
    loop = Reconciler(
        driver,
        RealHost(Roots(sysfs=str(tmp_path))),
        inventory,
        publish=lambda _: None,
        held=frozenset,
        taints=(lambda hardware: dict.fromkeys(hardware, (FAILED,)), lambda _: {"b": (other,)}),
    )
    for name in "ab":
        (tmp_path / "bus" / name).write_text("fine\n")
    devices = loop.reconcile_once().devices
    assert {device.name: device.taints for device in devices} == {"a": (FAILED,), "b": (FAILED, other)}


def test_what_was_made_for_a_mode_before_or_during_a_look_is_known_as_such(tmp_path: Path) -> None:
    (tmp_path / "bus").mkdir()
    for name in ("a-1", "b-1", "c-1", "d-1"):
        (tmp_path / "bus" / name).write_text("fine\n")
    driver: Any = FileDriver()
    # Given back while it was looked at, so throughout, begun while it was looked at.
    told = [{"a", "b"}, {"b", "c"}, set[str]()]
    loop = Reconciler(
        driver,
        RealHost(Roots(sysfs=str(tmp_path))),
        Inventory(FileDriver.name),
        publish=lambda _: None,
        held=frozenset,
        modes=lambda: {name: ParentMode(name, "boot", "split") for name in (told.pop(0) if told else ())},
    )
    assert [device.name for device in loop.reconcile_once().devices] == ["d-1"]
    assert [device.name for device in loop.reconcile_once().devices] == ["a-1", "b-1", "c-1", "d-1"]


def test_what_is_seen_and_heard_is_told_before_it_is_published(tmp_path: Path) -> None:
    (tmp_path / "bus").mkdir()
    (tmp_path / "bus" / "a").write_text("fine\n")
    driver: Any = FileDriver()
    source, told = Source(), queue.Queue[Any]()
    loop = Reconciler(
        driver,
        RealHost(Roots(sysfs=str(tmp_path))),
        Inventory(FileDriver.name),
        publish=lambda snapshot: told.put([device.name for device in snapshot.devices]),
        held=frozenset,
        seen=lambda hardware: told.put(dict(hardware)),
        heard=told.put,
        uevents=source,
    )
    loop.start()
    assert [told.get(timeout=SECONDS) for _ in range(2)] == [{"a": "fine"}, ["a"]]
    event = Uevent("change", "/devices/a/drm/card0", "drm", {"WEDGED": "rebind"})
    source.sent.put(event)
    assert [told.get(timeout=SECONDS) for _ in range(2)] == [event, {"a": "fine"}]
    loop.stop()


def test_devices_of_failed_claims_are_tainted_until_they_are_not(node: Node) -> None:
    node.add("a", "b")
    node.failed = lambda: {"b": "why"}
    loop = node.reconciler()
    assert [device.taints for device in loop.reconcile_once().devices] == [(), (FAILED,)]
    node.failed = dict
    assert [device.taints for device in loop.reconcile_once().devices] == [(), ()]


def test_looks_never_overlap(node: Node) -> None:
    node.add("a")
    inside, most, lock = 0, 0, threading.Lock()
    entered = threading.Semaphore(0)

    def count() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        entered.release()
        entered.acquire(timeout=0.01)
        with lock:
            inside -= 1

    node.driver.before_looking = count
    loop = node.reconciler()
    threads = [threading.Thread(target=loop.reconcile_once) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert (loop.reconciles, most) == (8, 1)


# --------------------------------------------------------------------------- trouble


def test_a_bus_that_cannot_be_read_keeps_the_last_snapshot_and_says_so_once(
    node: Node, lines: Callable[[], list[str]]
) -> None:
    node.add("a")
    loop = node.reconciler()
    before = loop.reconcile_once()
    lines()
    node.bus.rename(node.bus.with_name("away"))
    assert loop.reconcile_once() is loop.reconcile_once() is before
    bus = f"{node.bus}"
    cause = f"cannot list {bus}: No such file or directory (ENOENT)"
    assert lines() == [f"ERROR cannot look at the machine, what was found before stays: {cause}"]
    node.bus.write_text("not a folder")
    loop.reconcile_once()
    loop.reconcile_once()
    assert [line for line in lines() if "Not a directory (ENOTDIR)" in line] != []
    node.bus.unlink()
    node.bus.with_name("away").rename(node.bus)
    assert loop.reconcile_once() is before
    assert lines() == ["INFO can look at the machine again"]
    assert node.published.qsize() == 1


def test_a_node_that_cannot_be_read_at_the_start_is_published_once_it_can(node: Node) -> None:
    node.bus.rmdir()
    loop = node.reconciler()
    loop.start()
    assert node.inventory.snapshot.generation == 0
    assert node.published.empty(), "nothing is known: an empty pool would be a lie"
    node.bus.mkdir()
    node.add("a")
    loop.ring("test")
    assert node.next() == ["a"]


@pytest.mark.parametrize("port", ["held", "failed"])
def test_state_that_cannot_be_read_keeps_the_last_snapshot(
    node: Node, lines: Callable[[], list[str]], port: str
) -> None:
    node.add("a")
    loop = node.reconciler()
    before = loop.reconcile_once()
    lines()

    def broken() -> Collection[str]:
        raise StateError("cannot read held/: Input/output error")

    setattr(node, port, broken)
    node.add("b")
    assert loop.reconcile_once() is before
    assert lines() == [
        "ERROR cannot look at the machine, what was found before stays: cannot read held/: Input/output error"
    ]
    setattr(node, port, frozenset)
    assert [device.name for device in loop.reconcile_once().devices] == ["a", "b"]


def test_problems_of_devices_are_said_when_they_begin_and_end(
    node: Node, lines: Callable[[], list[str]]
) -> None:
    node.add("a")
    (node.bus / "x").write_text("bad")
    loop = node.reconciler()
    loop.reconcile_once()
    assert lines() == ["WARNING x: unreadable", "INFO 1 devices, 0 held"]
    (node.bus / "y").write_text("bad")
    loop.reconcile_once()
    assert lines() == ["WARNING y: unreadable"]
    (node.bus / "x").unlink()
    loop.reconcile_once()
    loop.reconcile_once()
    assert lines() == ["INFO no longer: x: unreadable"]


def test_what_is_wrong_only_while_a_device_starts_is_not_said(
    node: Node, lines: Callable[[], list[str]]
) -> None:
    node.add("a")
    loop = node.reconciler(Timing(rescan=3600, lasting=3600))
    loop.reconcile_once()
    lines()
    (node.bus / "x").write_text("bad")
    loop.reconcile_once()
    (node.bus / "x").unlink()
    loop.reconcile_once()
    assert lines() == []


def test_what_stays_wrong_is_said_without_a_ring(node: Node, lines: Callable[[], list[str]]) -> None:
    node.add("a")
    loop = node.reconciler(Timing(rescan=3600, confirm=0.02, lasting=0.05, quiet=0.01, latest=0.05))
    loop.start()
    assert node.next() == ["a"]
    (node.bus / "x").write_text("bad")
    loop.ring("add")
    until(lambda: "WARNING x: unreadable" in lines(), "the line")
    looks = loop.reconciles
    loop.ring("test")
    until(lambda: loop.reconciles == looks + 1, "the look that answers the ring, and no other")


def test_a_defect_does_not_end_the_loop(node: Node, lines: Callable[[], list[str]]) -> None:
    node.add("a")
    loop = node.reconciler()
    loop.start()
    assert node.next() == ["a"]
    lines()

    def defect() -> None:
        raise KeyError("a defect")

    node.driver.before_looking = defect
    node.add("b")
    loop.ring("test")
    until(lambda: loop.reconciles == 2, "the look that fails")
    node.driver.before_looking = lambda: None
    loop.ring("test")
    assert node.next() == ["a", "b"]
    assert "ERROR the look at the machine failed; the last snapshot stays, trying again" in lines()


def test_a_snapshot_that_could_not_be_handed_over_is_handed_over_by_the_next_look(node: Node) -> None:
    node.add("a")
    loop = node.reconciler()
    loop.start()
    assert node.next() == ["a"]

    def full(snapshot: Snapshot) -> None:
        raise RuntimeError("a defect")

    node.publish = full
    node.add("b")
    loop.ring("test")
    until(lambda: loop.reconciles == 2, "the look whose snapshot is refused")
    node.publish = node.published.put
    loop.ring("test")
    assert node.next() == ["a", "b"]


# --------------------------------------------------------------------------- the loop


def test_start_has_looked_when_it_returns(node: Node) -> None:
    node.add("a")
    loop = node.reconciler()
    loop.start()
    assert loop.reconciles == 1
    assert [snapshot.generation for snapshot in node.published.queue] == [1]


def test_a_ring_makes_it_look(node: Node) -> None:
    loop = node.reconciler()
    loop.start()
    assert node.next() == []
    node.add("a")
    loop.ring("claim prepared")
    assert node.next() == ["a"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_told_and_one_that_was_stopped_is_not(node: Node) -> None:
    """SystemExit ends a thread without a word: what was published would stay for ever."""

    def die() -> None:
        raise SystemExit

    loop, healthy = node.reconciler(), node.reconciler(events=False)
    assert loop.why_dead() == ""
    for each in (loop, healthy):
        each.start()
        assert each.why_dead() == ""
    node.driver.before_looking = die
    loop.ring("a defect")
    until(lambda: loop.why_dead() == "thread reconcile has ended", "the death")
    for each in (loop, healthy):
        each.stop()
        assert each.why_dead() == ""


def test_a_kernel_event_makes_it_look(node: Node) -> None:
    loop = node.reconciler()
    loop.start()
    assert node.next() == []
    node.add("a")
    node.source.sent.put(Uevent("add", "/devices/x", "pci"))
    assert node.next() == ["a"]


def test_without_rings_the_rescan_finds_what_changed(node: Node) -> None:
    loop = node.reconciler(Timing(rescan=0.02), events=False)
    loop.start()
    assert node.next() == []
    node.add("a")
    assert node.next() == ["a"]
    node.add("b")
    assert node.next() == ["a", "b"]


def test_many_rings_are_one_look(node: Node) -> None:
    loop = node.reconciler(Timing(rescan=3600, quiet=3600, latest=0.5))
    loop.start()
    node.add("a")
    for _ in range(1000):
        loop.ring("burst")
    until(lambda: loop.reconciles > 1, "the look that answers")
    loop.stop()
    # Two where this thread was kept from ringing for more than half a second.
    assert loop.reconciles <= 3
    assert node.inventory.snapshot.devices == (Device("a", {"text": "fine"}),)


def test_a_ring_during_a_look_makes_it_look_again(node: Node) -> None:
    loop = node.reconciler()
    loop.start()
    assert node.next() == []
    looking, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        looking.set()
        go_on.wait(SECONDS)

    node.driver.before_looking = wait
    loop.ring("first")
    assert looking.wait(SECONDS)
    loop.ring("second")
    node.driver.before_looking = lambda: node.add("late") if loop.reconciles == 2 else None
    go_on.set()
    assert node.next() == ["late"]


def test_absence_is_confirmed_soon_and_not_a_rescan_later(node: Node) -> None:
    node.add("a", "b")
    loop = node.reconciler(Timing(rescan=3600, confirm=0.02, quiet=0.01, latest=0.05))
    loop.start()
    assert node.next() == ["a", "b"]
    (node.bus / "b").unlink()
    loop.ring("remove")
    assert node.next() == ["a", "b?"]
    assert node.next() == ["a"]
    looks = loop.reconciles
    loop.ring("test")
    until(lambda: loop.reconciles == looks + 1, "the look that answers the ring, and no other")


def test_absence_is_not_confirmed_by_a_look_that_failed(node: Node) -> None:
    node.add("a")
    loop = node.reconciler(Timing(rescan=3600, confirm=0.02, quiet=0.01, latest=0.05))
    loop.start()
    assert node.next() == ["a"]
    looks = 0

    def fail_thrice() -> None:
        nonlocal looks
        looks += 1
        if 2 <= looks <= 4:
            raise HostError("the bus is away")

    node.driver.before_looking = fail_thrice
    (node.bus / "a").unlink()
    loop.ring("remove")
    assert node.next() == ["a?"]
    assert node.next() == []
    assert looks == 5


def test_a_held_device_that_is_gone_goes_when_it_is_let_go(node: Node) -> None:
    node.add("a")
    node.held = lambda: {"a"}
    loop = node.reconciler(Timing(rescan=3600, confirm=0.02, quiet=0.01, latest=0.05))
    loop.start()
    assert node.next() == ["a"]
    (node.bus / "a").unlink()
    loop.ring("remove")
    assert node.next() == ["a?"]
    node.held = frozenset
    loop.ring("claim unprepared")
    assert node.next() == []


def test_a_claim_that_lets_go_of_a_device_that_is_gone_makes_it_look(node: Node) -> None:
    """No rescan has to be waited for; and a claim that lets go of any other device costs nothing."""
    node.add("a", "b")
    held = {"a", "b"}
    node.held = lambda: frozenset(held)
    loop = node.reconciler()
    loop.start()
    assert node.next() == ["a", "b"]
    (node.bus / "a").unlink()
    loop.ring("unplugged")
    assert node.next() == ["a?", "b"]
    before = loop.reconciles
    held.discard("b")
    loop.freed(["b"])
    assert loop.reconciles == before
    held.discard("a")
    loop.freed(["a"])
    assert node.next() == ["b"]


def test_a_device_that_is_let_go_during_a_look_is_looked_at_again(node: Node) -> None:
    """The look had read that it is held, and nobody would have rung after it."""
    node.add("a", "b")
    held = {"a"}
    loop = node.reconciler()

    def read() -> frozenset[str]:
        found = frozenset(held)
        if held and node.published.empty() and not (node.bus / "a").exists():
            held.clear()
            loop.freed(["a"])
        return found

    node.held = read
    loop.start()
    assert node.next() == ["a", "b"]
    (node.bus / "a").unlink()
    loop.ring("unplugged")
    assert node.next() == ["a?", "b"]
    assert node.next() == ["b"]


def test_what_cannot_be_published_as_wanted_is_told_once(node: Node, lines: Callable[[], list[str]]) -> None:
    node.add("a")
    loop = node.reconciler()
    publish: Any = node.driver.publish
    misfit: Any = lambda *found: replace(publish(*found), problems=("a does not fit",))  # noqa: E731 - a stand-in
    node.driver.publish = misfit  # type: ignore[method-assign]
    loop.reconcile_once()
    loop.reconcile_once()
    assert lines() == ["WARNING a does not fit", "INFO 1 devices, 0 held"]
    node.driver.publish = publish  # type: ignore[method-assign]
    loop.reconcile_once()
    assert lines() == ["INFO no longer: a does not fit"]


def test_a_device_that_is_shared_no_more_is_looked_at_when_its_last_share_goes(node: Node) -> None:
    node.add("a")
    shares = {("a", "0a"), ("a", "0b")}
    driver: Any = node.driver
    loop = Reconciler(
        driver,
        node.host,
        node.inventory,
        publish=node.published.put,
        held=lambda: set(shares),
        timing=Timing(rescan=3600, quiet=0.01, latest=0.05),
    )
    try:
        loop.start()
        (device,) = node.published.get(timeout=60).devices
        assert (device.allow_multiple_allocations, len(device.taints)) == (True, 1)
        shares.clear()
        loop.freed(["a"])
        (device,) = node.published.get(timeout=60).devices
        assert (device.allow_multiple_allocations, device.taints) == (False, ())
    finally:
        loop.stop()


# --------------------------------------------------------------------------- losing the event source


def test_a_lost_source_is_said_once_makes_it_look_and_is_subscribed_again(
    node: Node, lines: Callable[[], list[str]]
) -> None:
    loop = node.reconciler(Timing(rescan=3600, quiet=0.01, latest=0.05, reconnect=0.01, reconnect_most=0.02))
    loop.start()
    assert node.next() == []
    lines()
    node.add("a")
    for _ in range(3):
        node.source.sent.put(HostError("no netlink"))
    assert node.next() == ["a"]
    until(lambda: node.source.subscriptions == 4, "the fourth subscription")
    node.add("b")
    node.source.sent.put(Uevent("subscribed", ""))
    assert node.next() == ["a", "b"]
    assert [line for line in lines() if "event" in line] == [
        "WARNING kernel events are not heard, the rescan goes on: no netlink",
        "INFO kernel events are heard again",
    ]


def test_another_cause_is_said_again(node: Node, lines: Callable[[], list[str]]) -> None:
    loop = node.reconciler(Timing(rescan=3600, reconnect=0.01, reconnect_most=0.02))
    loop.start()
    for cause in ("no netlink", "no libudev", "no libudev"):
        node.source.sent.put(HostError(cause))
    until(lambda: node.source.subscriptions == 4, "the fourth subscription")
    assert [line.rpartition(": ")[2] for line in lines() if "not heard" in line] == [
        "no netlink",
        "no libudev",
    ]


def test_a_source_that_ends_by_itself_is_lost(node: Node, lines: Callable[[], list[str]]) -> None:
    loop = node.reconciler(Timing(rescan=3600, reconnect=0.01, reconnect_most=0.02))
    loop.start()
    node.source.sent.put(None)
    until(lambda: node.source.subscriptions == 2, "the second subscription")
    assert [line for line in lines() if "not heard" in line] == [
        "WARNING kernel events are not heard, the rescan goes on: the source ended"
    ]


def test_the_rescan_goes_on_while_the_source_is_lost(node: Node) -> None:
    loop = node.reconciler(Timing(rescan=0.02, reconnect=3600, reconnect_most=3600))
    loop.start()
    assert node.next() == []
    node.source.sent.put(HostError("no netlink"))
    until(node.source.sent.empty, "the loss")
    node.add("a")
    assert node.next() == ["a"]


def test_the_pauses_between_attempts_double_up_to_the_limit(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    loop = node.reconciler(Timing(rescan=3600, reconnect=1, reconnect_most=5))

    class NoPause(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0)
            return super().wait(0)

    listener = loop._listener
    assert listener is not None
    monkeypatch.setattr(listener, "_stopping", NoPause())
    for _ in range(6):
        node.source.sent.put(HostError("no netlink"))
    loop.start()
    until(lambda: len(pauses) == 6, "six attempts")
    assert pauses == [1, 2, 4, 5, 5, 5]


# --------------------------------------------------------------------------- stop


def alive(*names: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in names]


def test_stop_ends_both_threads_and_closes_the_source(node: Node) -> None:
    loop = node.reconciler()
    loop.start()
    assert sorted(alive("reconcile", "uevents")) == ["reconcile", "uevents"]
    loop.stop()
    assert alive("reconcile", "uevents") == []
    assert node.source.closed
    loop.stop()
    loop.ring("nobody hears it")
    assert loop.reconciles == 1


def test_stop_does_not_wait_for_the_next_attempt_to_subscribe(node: Node) -> None:
    loop = node.reconciler()
    loop.start()
    node.source.sent.put(HostError("no netlink"))
    until(lambda: loop.reconciles == 2, "the look that answers the loss")
    loop.stop()
    assert alive("reconcile", "uevents") == []


def test_stop_without_start(node: Node) -> None:
    node.reconciler().stop()
    assert node.source.closed


def test_stop_leaves_a_look_behind_that_hangs_in_the_kernel(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dra_common.reconciler._JOIN_SECONDS", 0.01)
    loop = node.reconciler(events=False)
    loop.start()
    looking, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        looking.set()
        go_on.wait(SECONDS)

    node.driver.before_looking = hang
    loop.ring("test")
    assert looking.wait(SECONDS)
    loop.stop()
    [thread] = [thread for thread in threading.enumerate() if thread.name == "reconcile"]
    assert thread.daemon, "it must not keep the process alive"
    go_on.set()
    thread.join(SECONDS)
    assert not thread.is_alive()
