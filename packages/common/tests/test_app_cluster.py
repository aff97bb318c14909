"""The whole driver, in this process, while the cluster around it changes: control plane, kubelet, other drivers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from app_world import NODE, World, app_world
from dra_common.driver import NO_MODES, Published
from dra_common.model import CounterConsumption, Device, ParentMode, Quantity, Taint, TaintEffect
from dra_common.testing.apiserver.faults import Fault
from dra_common.testing.apiserver.messages import Request
from dra_common.testing.knobs import DRIVER, Gate, Knob, KnobDriver
from dra_common.testing.kubelet import FakeKubelet, KubeletCallError, api_wiper
from dra_common.testing.waiting import wait_until

SECONDS = 60.0


@pytest.fixture
def world(short_tmp: Path) -> Iterator[World]:
    with app_world(short_tmp) as made:
        yield made


def soon(condition: Any, what: str) -> None:
    wait_until(condition, what, seconds=SECONDS)


def published(world: World) -> dict[str, list[str]]:
    """Device -> keys of its taints."""
    return {
        device["name"]: [taint["key"] for taint in device.get("taints", ())]
        for item in world.slices()
        for device in item["spec"].get("devices", ())
    }


# ---------------------------------------------------------------------- the control plane


class Worn(KnobDriver):
    """Its device b is worn, which is worth a taint."""

    def publish(self, hardware: Mapping[str, Knob], modes: Mapping[str, ParentMode] = NO_MODES) -> Published:
        made = super().publish(hardware, modes)
        worn = (Taint(f"{DRIVER}/worn", TaintEffect.NO_SCHEDULE),)
        return Published(
            tuple(
                Device(one.name, one.attributes, taints=worn if one.name == "b" else ())
                for one in made.devices
            )
        )


def told(caplog: pytest.LogCaptureFixture, *parts: str, since: int = 0) -> list[str]:
    """Return the lines that have one of these parts, without the first ``since`` of all lines."""
    return [line for line in caplog.messages[since:] if any(part in line for part in parts)]


@pytest.mark.scenario(64)
def test_64_a_control_plane_that_is_upgraded_gets_gates_and_is_rolled_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """From before DRA to 1.36 and back, with one driver that runs all the time."""
    caplog.set_level(logging.INFO, logger="dra_common")
    world.become(Worn())
    off: Mapping[str, bool] = {"DRADeviceTaints": False}
    without: dict[str, list[str]] = {"a": []}
    tainted = {"a": [], "b": [f"{DRIVER}/worn"]}
    lost, back = "does not store", "stores all of the ResourceSlices again"
    world.api.upgrade("1.33")
    with ExitStack() as stack:
        world.app().start(stack)
        soon(lambda: told(caplog, "needs Kubernetes 1.34 or newer"), "the complaint")
        for version, gates, devices in (
            ("1.34", {}, without),
            ("1.36", {}, tainted),
            ("1.35", {}, without),
            ("1.36", off, without),
        ):
            since = len(caplog.messages)
            upgrade(world, version, gates)
            # Both: the wipe may be repaired, as before the upgrade, before anybody knows of it.
            soon(
                lambda: (
                    told(caplog, f"is Kubernetes {version}", since=since)  # noqa: B023
                    and published(world) == devices  # noqa: B023
                ),
                f"what {version} with {gates} can express",
            )
            assert len(told(caplog, "is Kubernetes", since=since)) == 1
            assert len(told(caplog, lost, since=since)) <= (devices == without)
            assert told(caplog, "needs Kubernetes 1.34 or newer", back, since=since) == []
        # Told by now, or before, where the wipe of 1.35 was repaired before that was known.
        soon(lambda: len(told(caplog, lost)) == 1, "the gate that is off to be told")
        upgrade(world, "1.36", {})
        soon(lambda: told(caplog, back) and published(world) == tainted, "the good news")
    assert len(told(caplog, lost)) == len(told(caplog, back)) == 1


def upgrade(world: World, version: str, gates: Mapping[str, bool]) -> None:
    """Have nothing published afterwards: what is stored keeps a field that its gate would drop."""
    world.api.upgrade(version, gates)
    for item in world.slices():
        world.api.delete("ResourceSlice", item["metadata"]["name"])


@pytest.mark.scenario(64)
def test_64_an_upgrade_between_the_first_slice_and_the_first_watch_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No watch is there to be cut, and a GET whose connection is cut is silently sent again."""
    world.become(Worn())
    world.api.upgrade("1.35")
    admit, upgraded = world.api.admit, threading.Event()

    def upgrading(request: Request, stopped: Callable[[], bool]) -> Fault | None:
        if request.is_watch and not upgraded.is_set():
            upgraded.set()
            world.api.upgrade("1.36")
        return admit(request, stopped)

    monkeypatch.setattr(world.api, "admit", upgrading)
    with ExitStack() as stack:
        world.app().start(stack)
        soon(lambda: "b" in published(world), "the device whose taint this server can say")
    assert published(world) == {"a": [], "b": [f"{DRIVER}/worn"]}


@pytest.mark.scenario(64)
def test_64_a_gate_that_is_off_never_shows_a_device_without_its_taint(
    short_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No slice that is ever written has the worn device: the gate was asked for before."""
    with (
        app_world(short_tmp, feature_gates={"DRADeviceTaints": False}) as world,
        ExitStack() as stack,
    ):
        world.become(Worn())
        world.app().start(stack)
        soon(world.slices, "the slice")
        sent = [request.body for request in world.api.writes if "resourceslices" in request.path]
    assert [[device["name"] for device in body["spec"]["devices"]] for body in sent if body] == [["a"]]
    assert len(told(caplog, "feature gates that are off: DRADeviceTaints")) == 1


@pytest.mark.scenario(65)
@pytest.mark.parametrize("broken", ["a device twice", "a counter that is not there"])
def test_65_what_no_slice_may_hold_is_not_published_and_calls_are_served(
    world: World, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    class Confused(KnobDriver):
        def publish(
            self, hardware: Mapping[str, Knob], modes: Mapping[str, ParentMode] = NO_MODES
        ) -> Published:
            if broken == "a device twice":
                return Published((Device("a"), Device("a")))
            return Published((Device("a", consumes=(CounterConsumption("gone", {"m": Quantity(1)}),)),))

    world.become(Confused())
    with FakeKubelet(world.root / "registry") as kubelet, ExitStack() as stack:
        world.app(rescan_seconds=1.0).start(stack)
        kubelet.wait_registered(DRIVER, timeout=SECONDS)
        soon(lambda: told(caplog, "the slices published before stay"), "the complaint")
        ref = world.claim("one", "a")
        assert kubelet.prepare([ref], DRIVER)[ref.uid].devices
        assert kubelet.unprepare([ref], DRIVER) == {ref.uid: ""}
        assert world.slices() == []
    (line,) = told(caplog, "the slices published before stay")
    assert "device a" in line


# ---------------------------------------------------------------------- the kubelet


@pytest.mark.scenario(59)
def test_59_a_kubelet_start_wipes_its_own_node_and_the_slices_come_back(world: World) -> None:
    spec = {
        "driver": DRIVER,
        "nodeName": "n2",
        "pool": {"name": "n2", "generation": 1, "resourceSliceCount": 1},
    }
    other = world.api.create("ResourceSlice", {"metadata": {"name": "00000-n2"}, "spec": spec})
    wiper = api_wiper(world.api.url, NODE)
    with FakeKubelet(world.root / "registry", wipe=wiper) as kubelet, ExitStack() as stack:
        world.app().start(stack)
        for _ in range(3):
            kubelet.wait_registered(DRIVER, timeout=SECONDS)
            soon(lambda: world.devices() == ["a", "b"], "the devices")
            before = uids(world)
            kubelet.restart()
            soon(lambda: world.devices() == ["a", "b"] and not uids(world) & before, "new slices")  # noqa: B023
    assert world.api.get("ResourceSlice", "00000-n2") == other


def uids(world: World) -> set[str]:
    return {item["metadata"]["uid"] for item in world.slices() if item["spec"]["nodeName"] == NODE}


@pytest.mark.scenario(60)
def test_60_out_of_reach_for_long_is_wiped_and_out_of_reach_for_a_moment_is_not(world: World) -> None:
    wiper, delay = api_wiper(world.api.url, NODE), 1.0
    with FakeKubelet(world.root / "registry", wipe=wiper, wiping_delay=delay) as kubelet:
        with ExitStack() as stack:
            world.app().start(stack)
            kubelet.wait_registered(DRIVER, timeout=SECONDS)
            soon(lambda: world.devices() == ["a", "b"], "the devices")
        soon(lambda: world.slices() == [], "the wipe")
        with ExitStack() as stack:
            world.app().start(stack)
            soon(lambda: world.devices() == ["a", "b"], "the devices, made again")
    # A patient kubelet, as the real one with its 30 s.
    with FakeKubelet(world.root / "registry", wipe=wiper) as kubelet:
        for _ in range(3):
            before = world.slices()
            with ExitStack() as stack:
                world.app().start(stack)
                kubelet.wait_registered(DRIVER, timeout=SECONDS)
                soon(lambda: world.devices() == ["a", "b"] and world.api.watches, "the devices, watched")
                after = world.slices()
            kubelet.wait_deregistered(DRIVER, timeout=SECONDS)
            if before:  # the first of the three follows the wipe of a kubelet's start
                assert after == before
            assert world.slices() == after


# ---------------------------------------------------------------------- another driver beside us


class DialDriver(KnobDriver):
    """Another accelerator's driver, made by somebody else."""

    name = "dial.example.com"
    cdi_vendor = "dial.example.com"


class Two:
    """Two drivers on one node, each a whole app; the kubelet calls them one after another, as for a pod."""

    def __init__(self, world: World, stack: ExitStack) -> None:
        self.ours, self.theirs = world, World(world.root, world.api, DialDriver())
        self.kubelet = stack.enter_context(FakeKubelet(world.root / "registry"))
        for each in (self.ours, self.theirs):
            each.app().start(stack)
        self.registered()

    def registered(self) -> None:
        for each in (self.ours, self.theirs):
            self.kubelet.wait_registered(each.driver.name, timeout=SECONDS)

    def prepare(self, ref: Any) -> list[str]:
        """Return the errors; the first ends it."""
        for each in (self.ours, self.theirs):
            if error := self.kubelet.prepare([ref], each.driver.name)[ref.uid].error:
                return [error]
        return []

    def unprepare(self, ref: Any) -> list[str]:
        for each in (self.ours, self.theirs):
            if error := self.kubelet.unprepare([ref], each.driver.name)[ref.uid]:
                return [error]
        return []

    def leftovers(self) -> list[Path]:
        folders = [each.state / name for each in (self.ours, self.theirs) for name in ("held", "claims")]
        return [path for folder in (*folders, self.ours.root / "cdi") for path in folder.iterdir()]


@pytest.mark.scenario(53)
@pytest.mark.parametrize("failing", ["ours", "theirs"])
def test_53_of_two_drivers_one_fails_and_then_succeeds(world: World, failing: str) -> None:
    with ExitStack() as stack:
        two = Two(world, stack)
        ref = world.claim("both", "a", DialDriver.name, level=5)
        bad: KnobDriver = getattr(two, failing).driver
        bad.broken = {"apply:a"}
        (error,) = two.prepare(ref)
        assert "knob is stuck" in error
        bad.broken = set()
        assert two.prepare(ref) == []
        assert len(list((world.root / "cdi").iterdir())) == 2
        bad.broken = {"revert:a"}
        (error,) = two.unprepare(ref)
        assert "knob is stuck" in error
        bad.broken = set()
        assert two.unprepare(ref) == []
        assert two.leftovers() == []


@pytest.mark.scenario(53)
def test_53_a_kubelet_restart_while_one_of_two_drivers_is_in_a_call(world: World) -> None:
    with ExitStack() as stack:
        two = Two(world, stack)
        ref = world.claim("both", "a", DialDriver.name, level=5)
        two.theirs.driver.gate = gate = Gate()
        pool = stack.enter_context(ThreadPoolExecutor(1))
        first = pool.submit(two.prepare, ref)
        assert gate.entered.acquire(timeout=SECONDS)
        two.kubelet.restart()
        with pytest.raises(KubeletCallError):
            first.result(SECONDS)
        two.registered()
        gate.open()
        assert two.prepare(ref) == []
        assert two.unprepare(ref) == []
        assert two.leftovers() == []
