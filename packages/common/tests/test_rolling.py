"""Two instances of a driver that changes hardware: long names, locks, two releases (scenarios 20, 48, 54, 55, 58)."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from dra_common.deadline import Deadline
from dra_common.kubelet.sockets import MAX_PATH_BYTES
from dra_common.locks import FileLocks
from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.forks import Forker
from dra_common.testing.instance import Instance
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.node import PrepareFailed
from dra_common.testing.waiting import wait_until
from rolling import NEW, OLD, RollingNode


@pytest.fixture
def node(short_tmp: Path, forker: Forker) -> Iterator[RollingNode]:
    with RollingNode(short_tmp, forker) as node:
        yield node


@contextmanager
def held(node: RollingNode, at: Instance, ref: ClaimRef) -> Iterator[Future[tuple[PreparedDevice, ...]]]:
    """A preparation in the middle of its change of the hardware, for as long as the block lasts or its process."""
    entered = node.hold.with_name("hold.entered")
    node.hold.touch()
    with ThreadPoolExecutor(1) as pool:
        try:
            call = pool.submit(at.prepare, ref)
            wait_until(entered.exists, "the preparation to be in the middle", seconds=60)
            entered.unlink()
            yield call
        finally:
            node.hold.unlink(missing_ok=True)


def record(node: RollingNode, ref: ClaimRef) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((node.state / f"claims/{ref.uid}.json").read_text())["record"]
    return read


# --------------------------------------------------------------------------- 55: long names


@pytest.mark.scenario(55)
def test_an_update_of_a_driver_with_a_long_name(short_tmp: Path, forker: Forker) -> None:
    # With longer folders, as by default, every name with more than 52 characters; the longest has 63: test_sockets.py.
    name = "d" * 55
    with RollingNode(short_tmp, forker, name) as node, node.instance(OLD) as old, node.instance(NEW) as new:
        for path in (old.sockets.registration, new.sockets.registration, old.sockets.dra, new.sockets.dra):
            assert path.is_socket()
            assert len(str(path)) <= MAX_PATH_BYTES
            assert name not in path.name
        ref = node.claim("claim", "a")
        answer = old.prepare(ref)
        assert node.prepare(ref) == answer
        assert old.stop() == 0
        new.unprepare(ref)
        new.kill()
        with node.instance(OLD):
            assert not new.sockets.registration.exists()
            assert not new.sockets.dra.exists()
        assert node.leftovers() == []


# --------------------------------------------------------------------------- 58: locks


@pytest.mark.scenario(58)
def test_a_claim_in_the_middle_at_one_waits_at_the_other_and_gets_the_same_answer(
    node: RollingNode,
) -> None:
    ref = node.claim("claim", "a", level=7)
    with node.instance(OLD) as old, node.instance(NEW) as new, ThreadPoolExecutor(1) as pool:
        with held(node, old, ref) as first:
            second = pool.submit(new.prepare, ref)
            # Other claims, of other hardware, wait for nobody.
            assert new.prepare(node.claim("other", "b", level=3))[0].device == "b"
            assert not second.done()
            assert not first.done()
        assert first.result(60) == second.result(60)
        assert new.lines("already prepared")
        assert node.level("a") == 7
        old.unprepare(ref)
        assert node.level("a") == 1
        assert [path.name for path in (node.state / "held").iterdir()] == ["b"]


@pytest.mark.scenario(58)
def test_a_start_leaves_alone_what_another_instance_is_working_on(node: RollingNode) -> None:
    """Recovery undoes what is found "preparing", and this is: but somebody lives who prepares it."""
    ref = node.claim("claim", "a", level=7)
    with node.instance(OLD) as old, held(node, old, ref) as call, node.instance(NEW) as new:
        assert new.lines("another instance works on this claim: left to it")
        assert record(node, ref)["phase"] == "preparing"
        assert node.level("a") == 7
        node.hold.unlink()
        assert call.result(60)[0].device == "a"
        assert record(node, ref)["phase"] == "prepared"
        new.unprepare(ref)


@pytest.mark.scenario(58)
def test_the_lock_of_a_killed_instance_is_free_and_what_it_began_is_undone_first(
    node: RollingNode,
) -> None:
    ref = node.claim("claim", "a", level=7)
    with node.instance(OLD) as old, node.instance(NEW) as new, ThreadPoolExecutor(1) as pool:
        with held(node, old, ref) as first:
            second = pool.submit(new.prepare, ref)
            old.kill()
            with pytest.raises(KubeletCallError):
                first.result(60)
        (device,) = second.result(60)
        assert device.device == "a"
        assert record(node, ref)["plan"]["devices"][0]["undo"] == {"before": 1, "level": 7}
        new.unprepare(ref)
        assert node.level("a") == 1
        assert list((node.state / "held").iterdir()) == []


@pytest.mark.parametrize("call", ["prepare", "unprepare"])
@pytest.mark.scenario(58)
def test_a_call_ends_before_the_kubelet_gives_up_and_says_what_it_waited_for(
    node: RollingNode, call: str
) -> None:
    """A frozen instance keeps its locks: the other answers with the reason, not with a bare DEADLINE_EXCEEDED."""
    ref, other = node.claim("claim", "a", level=7), node.claim("other", "b", level=3)
    with node.instance(OLD) as old, node.instance(NEW) as new:
        with held(node, old, ref):
            old.freeze()
            with pytest.raises(PrepareFailed, match=f"claim {ref.uid} is still locked by another call"):
                getattr(new, call)(ref, 10.0)
            # Everybody else's claims go on.
            assert new.prepare(other)[0].device == "b"
            new.unprepare(other)
            old.thaw()
        new.unprepare(ref)
        assert node.level("a") == 1


@pytest.mark.scenario(58)
def test_hardware_that_another_instance_works_on_is_waited_for(node: RollingNode) -> None:
    """The parent's lock: two claims, two devices or one, two processes, one piece of hardware."""
    ref = node.claim("claim", "a", level=7)
    locks = FileLocks(node.state / "claims", node.state / "hardware")
    with node.instance(OLD), node.instance(NEW) as new:
        with locks.parents(["parent-a"], Deadline.after(60)):
            with pytest.raises(PrepareFailed, match="hardware parent-a is still locked"):
                new.prepare(ref, 10.0)
            assert node.level("a") == 1
            assert list((node.state / "held").iterdir()) == []
        new.prepare(ref)
        new.unprepare(ref)


# --------------------------------------------------------------------------- two releases


def published(node: RollingNode) -> set[str]:
    return {name for device in node.devices() for name in device["attributes"]}


@pytest.mark.scenario(54)
def test_a_newer_release_takes_over_and_a_step_back_loses_nothing(node: RollingNode) -> None:
    first, second = node.claim("first", "a", level=7), node.claim("second", "b", level=3)
    with ExitStack() as stack:
        old = stack.enter_context(node.instance(OLD, version="1.4.0"))
        node.wait_published()
        said = (node.state / "publish.lock").read_text()
        assert said == f"rolling 1.4.0, pod {OLD}\n"
        answer = old.prepare(first)
        new = stack.enter_context(node.instance(NEW, version="2.0.0", newer=True))
        assert new.lines("2.0.0 on node")
        wait_until(lambda: new.lines("waits for its turn", "rolling 1.4.0"), "the wait")
        # Until the old one goes, its word is what is published, and both answer for both.
        assert published(node) == {"level"}
        assert new.prepare(first) == answer
        other = new.prepare(second)
        assert record(node, second)["colour"] == "red"
        assert old.prepare(second) == other
        node.wait(lambda: levels(node) == [7, 3, 1], "the levels, told by the old one")
        writes = len(node.api.writes)
        assert old.stop() == 0
        node.wait(lambda: published(node) == {"level", "colour"}, "the new one's slices")
        assert len(node.slices()) == 1
        assert [each.method for each in node.api.writes[writes:]] == ["PUT"]
        # The update is taken back: the older release reads, answers and undoes what the newer one wrote.
        old.start()
        assert old.prepare(second) == other
        new.kill()
        node.wait(lambda: published(node) == {"level"}, "the old one's slices")
        assert record(node, second)["colour"] == "red"
        for ref in (first, second):
            old.unprepare(ref)
        assert [node.level("a"), node.level("b")] == [1, 1]
        assert list((node.state / "held").iterdir()) == []
        assert not old.lines("ERROR")
        assert not new.lines("ERROR")


@pytest.mark.scenario(54)
def test_the_levels_that_one_instance_sets_are_published_by_the_other(node: RollingNode) -> None:
    """Who publishes does not hear the doorbell of the other process, but knows of that one, and looks by itself."""
    ref = node.claim("claim", "a", level=7)
    with node.instance(OLD, "--rescan-seconds=3600") as old:
        node.wait_published()
        with node.instance(NEW, "--rescan-seconds=3600") as new:
            new.prepare(ref)
            node.wait(lambda: levels(node) == [7, 1, 1], "the new level")
            new.running.send_signal(signal.SIGTERM)
            assert new.running.wait(60) == 0
            old.unprepare(ref)
            node.wait(lambda: levels(node) == [1, 1, 1], "the old level")


def levels(node: RollingNode) -> list[int]:
    return [device["attributes"]["level"]["int"] for device in node.devices()]
