"""Publishers of several instances, one after the other, on one API server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from dra_common.cluster import node_uid
from dra_common.publisher import Publisher, PublisherInTurn, PublisherStatus
from dra_common.testing.waiting import wait_until
from dra_common.turn import Timing, Turn
from publisher_bench import DRIVER, NODE, QUICK, Bench, bench, part


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


def publisher_of(lab: Bench) -> PublisherInTurn:
    def make() -> Publisher:
        uid = partial(node_uid, lab.client, NODE)
        return Publisher(lab.client, driver=DRIVER, node=NODE, node_uid=uid, timing=QUICK)

    return PublisherInTurn(make)


class Instance:
    """What one process has: its publisher, and its wish for the turn."""

    def __init__(self, lab: Bench, path: Path, stack: ExitStack) -> None:
        self.publisher = publisher_of(lab)
        self.turn = Turn(path, who="instance", duties=[self.publisher], timing=Timing(retry=0.02, check=0.05))
        stack.callback(self.turn.stop)
        self.turn.start()

    def synced(self) -> bool:
        return self.publisher.status().synced


def test_out_of_turn_nothing_is_asked_nor_written(lab: Bench) -> None:
    publisher = publisher_of(lab)
    publisher.publish([part("a")])
    publisher.end()
    assert publisher.status() == PublisherStatus()
    assert lab.server.requests == ()


def test_what_was_wanted_last_is_published_when_the_turn_comes(lab: Bench) -> None:
    publisher = publisher_of(lab)
    publisher.begin()
    publisher.end()
    publisher.publish([part("a")])
    publisher.publish([part("b")])
    publisher.begin()
    lab.wait(lambda: publisher.status().synced, "the slices")
    assert lab.whole("b")
    publisher.publish([part("c")])
    lab.wait(lambda: lab.whole("c"), "the change")
    publisher.end()
    publisher.publish([part("d")])
    assert lab.whole("c")


def test_the_next_instance_writes_nothing_that_is_unchanged(lab: Bench, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = Instance(lab, tmp_path / "publish.lock", stack)
        first.publisher.publish([part("a"), part("b")])
        lab.wait(first.synced, "the first")
        second = Instance(lab, tmp_path / "publish.lock", stack)
        second.publisher.publish([part("a"), part("b")])
        before, writes = lab.own(), len(lab.server.writes)
        first.turn.stop()
        lab.wait(second.synced, "the second")
        assert lab.own() == before
        assert len(lab.server.writes) == writes
        # And it stands guard from now on.
        lab.wait(lambda: lab.server.watches, "its watch")
        lab.wipe()
        lab.wait(lambda: lab.whole("a", "b"), "the repair")


def test_two_instances_that_want_different_things_do_not_fight(lab: Bench, tmp_path: Path) -> None:
    """An older release next to a newer one: what is published is the holder's word, until the other's turn."""
    old, new = [part("a")], [part("a", attributes={"more": {"int": 1}})]
    with ExitStack() as stack:
        first = Instance(lab, tmp_path / "publish.lock", stack)
        first.publisher.publish(old)
        lab.wait(first.synced, "the first")
        second = Instance(lab, tmp_path / "publish.lock", stack)
        second.publisher.publish(new)
        lab.wipe()
        lab.wait(lambda: lab.holds(*old), "the repair")
        assert {item["spec"]["pool"]["generation"] for item in lab.own()} == {1}
        writes = len(lab.server.writes)
        first.turn.stop()
        lab.wait(lambda: lab.holds(*new), "the new content")
        assert len(lab.server.writes) == writes + 1
        first.publisher.publish(old)
        lab.wait(second.synced, "the second")
        assert lab.holds(*new)
        assert len(lab.server.writes) == writes + 1


def test_a_turn_ends_with_its_threads(lab: Bench, tmp_path: Path) -> None:
    before = threading.active_count()
    publisher = publisher_of(lab)
    publisher.publish([part("a")])
    for _ in range(3):
        publisher.begin()
        lab.wait(lambda: publisher.status().synced and lab.server.watches, "the slices")
        publisher.end()
        lab.wait(lambda: not lab.server.watches, "the watch to end")
    # The server's own threads end a little later than the connections they served.
    wait_until(lambda: threading.active_count() <= before + 1, "our threads to end")
    assert lab.whole("a")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_at_work_is_told_and_one_that_was_stopped_is_not(lab: Bench) -> None:
    """SystemExit ends a thread without a word: nothing would be published any more."""

    def dies() -> str:
        raise SystemExit

    made = [Publisher(lab.client, driver=DRIVER, node=NODE, node_uid=dies, timing=QUICK)]
    publisher = PublisherInTurn(made.pop)
    assert publisher.why_dead() == ""
    publisher.publish([part("a")])
    publisher.begin()
    wait_until(lambda: publisher.why_dead() == "thread publisher has ended", "the death", seconds=60)
    publisher.end()
    assert publisher.why_dead() == ""
    healthy = publisher_of(lab)
    healthy.publish([part("a")])
    healthy.begin()
    lab.wait(lambda: healthy.status().synced, "the slices")
    assert healthy.why_dead() == ""
    healthy.end()
