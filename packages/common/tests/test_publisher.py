"""The publisher against the fake API server over real HTTP (scenarios 54, 57, 59 to 64, 66, 67, 69, 70)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dra_common.cluster import node_uid
from dra_common.errors import Forbidden, Throttled
from dra_common.model import (
    Capacity,
    CounterConsumption,
    CounterSet,
    Device,
    Quantity,
    RequestPolicy,
    Snapshot,
    Taint,
    TaintEffect,
    Version,
)
from dra_common.publisher import Publisher, Timing
from dra_common.slices import ServerFeatures, SliceContent, to_slices
from publisher_bench import DRIVER, NODE, QUICK, TAINT, Bench, bench, part


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


# ---------------------------------------------------------------------- scenario 61: create, keep, update


@pytest.mark.scenario(61)
def test_61_the_first_publish(lab: Bench) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"), part("b"))
        status = publisher.status()
    node = lab.server.get("Node", NODE)
    first, second = lab.own()
    assert node is not None
    assert first["metadata"]["name"].startswith("00000-gpu.intel.com-n1-")
    assert second["metadata"]["name"].startswith("00001-gpu.intel.com-n1-")
    assert first["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": node["metadata"]["uid"], "controller": True}
    ]
    assert first["spec"] == {
        "driver": DRIVER,
        "nodeName": NODE,
        "pool": {"name": NODE, "generation": 1, "resourceSliceCount": 2},
        "devices": [{"name": "a"}],
    }
    assert (status.synced, status.generation, status.slices, status.error) == (True, 1, 2, "")


@pytest.mark.scenario(61)
def test_61_the_same_content_asks_nothing_and_a_change_one_list_and_one_write(lab: Bench) -> None:
    """Our own events come back on the watch and must not look like somebody else's."""
    with lab.running() as publisher:
        lab.publish(publisher, part("a"), part("b"))
        lab.server.forget_requests()
        publisher.publish([part("a"), part("b")])
        for index in range(3):
            lab.publish(publisher, part("a"), part("b", attributes={"x": {"int": index}}))
            publisher.publish([part("a"), part("b", attributes={"x": {"int": index}})])
        assert lab.asked() == ["GET", "PUT"] * 3
        assert lab.pools() == {(1, 2)}


@pytest.mark.scenario(61)
def test_61_more_and_fewer_slices(lab: Bench) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
        lab.publish(publisher, part("a"), part("b"), part("c"))
        assert lab.pools() == {(2, 3)}
        lab.publish(publisher, part("c"))
        assert lab.whole("c")
        assert len(lab.own()) == 1


def test_no_slices_at_all_is_refused(lab: Bench) -> None:
    with lab.running() as publisher, pytest.raises(ValueError, match="at least one slice"):
        publisher.publish([])


@pytest.mark.scenario(67)
def test_67_a_large_node_with_everything_is_accepted_by_the_server(lab: Bench) -> None:
    """What to_slices makes passes the server's validation and comes back as it was sent."""
    policy = RequestPolicy(Quantity.mebibytes(512), (Quantity.mebibytes(512), Quantity.mebibytes(1024)))
    sets = tuple(CounterSet(f"p{index}", {"mode": Quantity(1)}) for index in range(9))
    devices = tuple(
        Device(
            f"d{index}",
            {"model": "Arc", "fw": Version("1.2.3"), "sriov": True, "resource.kubernetes.io/numaNode": index},
            {
                "memory": Capacity(Quantity(2000 * (index + 1), "binary")),
                "vram": Capacity(Quantity.mebibytes(2048), policy),
            },
            (Taint("gpu.intel.com/unhealthy", TaintEffect.NO_EXECUTE, "ecc"),),
            (CounterConsumption(f"p{index % 9}", {"mode": Quantity(1)}),),
            allow_multiple_allocations=True,
        )
        for index in range(129)
    )
    slices = to_slices(Snapshot(1, devices, sets), driver=DRIVER, features=ServerFeatures.of((1, 36)))
    with lab.running() as publisher:
        lab.publish(publisher, *slices.contents)
        assert publisher.status().dropped == ()
    assert lab.whole(*(device.name for device in devices))
    assert len(lab.own()) == 5


# ---------------------------------------------------------------------- scenarios 59, 60, 62, 63: repairs


@pytest.mark.scenario(59)
def test_59_a_kubelet_start_wipes_and_the_slices_come_back(lab: Bench) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"), part("b"))
        lab.wipe()
        lab.wait(lambda: lab.whole("a", "b"), "the pool")
        lab.settled(publisher)


@pytest.mark.scenario(63)
def test_63_a_wipe_right_after_our_own_write_is_repaired(lab: Bench) -> None:
    """The Go helper's cache of its own writes hid this for a minute until 1.37."""
    with lab.running() as publisher:
        for index in range(10):
            content = part("a", attributes={"x": {"int": index}})
            publisher.publish([content])
            lab.wait(partial(lab.holds, content), "the write")
            lab.wipe()
            lab.wait(partial(lab.holds, content), "the repair")


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["devices"].append({"name": "intruder"}),
        lambda spec: spec["devices"][0].update(taints=[TAINT]),
        lambda spec: spec["pool"].update(resourceSliceCount=7),
        lambda spec: spec["pool"].update(generation=70),
    ],
)
@pytest.mark.scenario(62)
def test_62_an_edit_is_reverted(lab: Bench, change: Callable[[dict[str, Any]], object]) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"), part("b"))
        lab.edit(change)
        lab.wait(lambda: lab.whole("a", "b") and lab.holds(part("a"), part("b")), "the pool")


@pytest.mark.scenario(62)
def test_62_one_deleted_slice_comes_back(lab: Bench) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"), part("b"))
        lab.server.delete("ResourceSlice", lab.own()[1]["metadata"]["name"])
        lab.wait(lambda: lab.whole("a", "b"), "the pool")


@pytest.mark.scenario(62)
def test_62_somebody_who_undoes_our_writes_gets_no_fight(lab: Bench) -> None:
    with lab.running(Timing(settle=0.01, first=0.02, most=0.1, burst=3, every=600, changes=1)) as publisher:
        lab.publish(publisher, part("a"))
        for _ in range(3):
            lab.edit(lambda spec: spec["devices"].append({"name": "intruder"}))
            lab.wait(lambda: lab.whole("a"), "the repair")
            lab.settled(publisher)
        lab.edit(lambda spec: spec["devices"].append({"name": "intruder"}))
        lab.wait(lambda: not publisher.status().synced, "the publisher to notice")
        assert publisher._due is not None
        assert publisher._due > time.monotonic() + 60
        lab.publish(publisher, part("b"))  # what we have to say ourselves does not wait
        assert lab.whole("b")


def test_70_slices_of_others_are_left_alone(lab: Bench) -> None:
    others = [("other.example.com", NODE), (DRIVER, "n2")]
    for index, (driver, node) in enumerate(others):
        spec = {
            "driver": driver,
            "nodeName": node,
            "pool": {"name": node, "generation": 3, "resourceSliceCount": 1},
        }
        lab.server.create("ResourceSlice", {"metadata": {"name": f"00000-{index}"}, "spec": spec})
    before = lab.server.objects("ResourceSlice")
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
        publisher.withdraw()
        lab.wait(lambda: lab.server.objects("ResourceSlice") == before, "only the slices of others")
        lab.settled(publisher)
        assert publisher.status().slices == 0


# ---------------------------------------------------------------------- scenarios 54, 57, 60: stop and start


@pytest.mark.scenario(60)
def test_60_a_restart_leaves_every_byte(lab: Bench) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a", taints=[TAINT]), part("b"))
    before = lab.own()
    assert len(before) == 2
    lab.server.forget_requests()
    with lab.running() as publisher:
        lab.publish(publisher, part("a", taints=[TAINT]), part("b"))
    assert lab.own() == before
    assert lab.server.writes == ()


def test_57_slices_wiped_while_we_were_away_are_made_again(lab: Bench) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
    lab.wipe()
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
    assert lab.whole("a")


def test_54_two_instances_that_say_the_same_write_nothing(lab: Bench) -> None:
    """Rolling update: the publishing of the two is deterministic."""
    with lab.running() as old:
        lab.publish(old, part("a"), part("b"))
        before = lab.own()
        with lab.running() as new:
            lab.publish(new, part("a"), part("b"))
        lab.settled(old)
    assert lab.own() == before


def test_slices_of_a_go_driver_are_taken_over_or_replaced(lab: Bench) -> None:
    spec = {"driver": DRIVER, "nodeName": NODE, "devices": [{"name": "a"}]}
    for name in ("00000-gpu.intel.com-n1-go", "n1-gpu.intel.com-x7d2f"):
        pool = {"name": NODE, "generation": 4, "resourceSliceCount": 1}
        lab.server.create("ResourceSlice", {"metadata": {"name": name}, "spec": {**spec, "pool": pool}})
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
    (item,) = lab.own()
    assert item["metadata"]["name"] == "00000-gpu.intel.com-n1-go"
    assert item["spec"]["pool"]["generation"] == 4


def test_stopping_ends_both_threads_with_the_watch_open(lab: Bench) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
    assert not any(thread.is_alive() for thread in publisher._threads)
    assert lab.whole("a")
    publisher.stop()


def test_stopping_before_anything_was_published(lab: Bench) -> None:
    with lab.running() as publisher:
        pass
    assert not any(thread.is_alive() for thread in publisher._threads)
    assert lab.server.requests == ()


def test_a_silent_server_does_not_keep_us_from_stopping(lab: Bench) -> None:
    with lab.running(Timing(first=0.02, most=0.1, join=0.1)) as publisher:
        lab.server.pause()
        publisher.publish([part("a")])
        lab.wait(lambda: lab.server.requests, "a request that is not answered")
    lab.server.resume()
    publisher._threads[0].join(60)
    assert not publisher._threads[0].is_alive()
    assert lab.own() == [], "nothing is written after stop"


# ---------------------------------------------------------------------- scenario 64: taints, dropped fields


@pytest.mark.scenario(64)
def test_64_the_time_of_a_taint_stays_when_the_slice_is_written(lab: Bench) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a", taints=[TAINT]))
        moment = lab.own()[0]["spec"]["devices"][0]["taints"][0]["timeAdded"]
        lab.publish(publisher, part("a", taints=[TAINT, {"key": "b", "effect": "NoExecute"}]))
        taints = lab.own()[0]["spec"]["devices"][0]["taints"]
    assert taints[0]["timeAdded"] == moment
    assert [taint["key"] for taint in taints] == [TAINT["key"], "b"]


@pytest.mark.parametrize(
    ("gate", "fields", "feature", "contents"),
    [
        ("DRADeviceTaints", ("devices[].taints",), "taints", [part("a", taints=[TAINT])]),
        (
            "DRAConsumableCapacity",
            ("devices[].allowMultipleAllocations",),
            "consumable_capacity",
            [part("a", allowMultipleAllocations=True)],
        ),
        (
            "DRAPartitionableDevices",
            ("devices[].consumesCounters", "sharedCounters"),
            "partitionable",
            [
                SliceContent(shared_counters=({"name": "p", "counters": {"m": {"value": "1"}}},)),
                part("a", consumesCounters=[{"counterSet": "p", "counters": {"m": {"value": "1"}}}]),
            ],
        ),
    ],
)
@pytest.mark.scenario(64)
def test_64_dropped_fields_are_told_once_and_not_written_again(
    tmp_path: Path, gate: str, fields: tuple[str, ...], feature: str, contents: Sequence[SliceContent]
) -> None:
    with bench(tmp_path, feature_gates={gate: False}) as lab, lab.running() as publisher:
        lab.publish(publisher, *contents)
        assert publisher.status().dropped == fields
        assert [item.features for item in lab.dropped] == [(feature,)]
        lab.server.forget_requests()
        lab.server.expire_history()
        lab.server.drop_watches()
        lab.wait(lambda: lab.asked() == ["GET"], "a pass over what the server stored")
        lab.settled(publisher)
        lab.wipe()
        lab.wait(lambda: len(lab.own()) == len(contents), "the repair")
        lab.settled(publisher)
        assert lab.asked().count("POST") == len(contents)
        assert "PUT" not in lab.asked()
        assert len(lab.dropped) == 1
        lab.publish(publisher, part("plain"))
        assert publisher.status().dropped == ()


# ---------------------------------------------------------------------- scenario 66: refusals


@pytest.mark.scenario(66)
def test_66_what_the_server_refuses_is_said_once_and_mended_by_the_next_publish(
    lab: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
        publisher.publish([part("Not A Label")])
        lab.wait(lambda: publisher.status().error, "the refusal")
        assert "spec.devices[0].name" in publisher.status().error
        assert "Not A Label" in publisher.status().error
        assert lab.whole("a"), "what was published before stays"
        lab.publish(publisher, part("b"))
        assert publisher.status().error == ""
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "n1 are not published" in errors[0]


@pytest.mark.scenario(66)
def test_66_what_the_server_refuses_is_tried_again_slowly(lab: Bench) -> None:
    lab.server.faults.add(status=422, method="POST", count=2)
    with lab.running(Timing(settle=0.01, first=0.02, most=0.1, refused=0.05)) as publisher:
        lab.publish(publisher, part("a"))
    assert lab.whole("a")


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503, "drop", "half", "garbage"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refusals_are_explained_and_survived(
    lab: Bench, caplog: pytest.LogCaptureFixture, status: int | str, method: str
) -> None:
    fault = lab.server.faults.add(status=status, method=method, path="resourceslices", retry_after=0)  # type: ignore[arg-type]
    with lab.running() as publisher:
        publisher.publish([part("a")])
        lab.wait(lambda: fault.hits >= 3, "some tries")
        error = publisher.status().error
        lab.server.faults.clear()
        lab.settled(publisher)
    assert lab.whole("a")
    assert error.endswith(")"), "a cure"
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1, "one line, not one a try"
    assert all(record.exc_info is None for record in caplog.records), (
        "no tracebacks for what goes wrong in the field"
    )


def test_forbidden_says_what_to_allow(lab: Bench) -> None:
    def denied() -> str:
        raise Forbidden("node n1: 403")

    publisher = Publisher(lab.client, driver=DRIVER, node=NODE, node_uid=denied, timing=QUICK)
    publisher.start()
    publisher.publish([part("a")])
    lab.wait(lambda: publisher.status().error, "the refusal")
    publisher.stop()
    assert "get of nodes" in publisher.status().error


def test_throttled_waits_as_long_as_it_is_told(lab: Bench) -> None:
    with lab.running() as publisher:
        assert publisher._pause(Throttled("slow", retry_after=17.0)) == 17.0
    lab.server.faults.add(status=429, method="POST", count=1, retry_after=1)
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
    assert lab.whole("a")


@pytest.mark.parametrize("status", [409, 404])
def test_a_slice_that_changed_meanwhile_is_read_again(lab: Bench, status: int) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
        fault = lab.server.faults.add(status=status, method="PUT", count=2)
        lab.server.forget_requests()
        lab.publish(publisher, part("b"))
        assert fault.hits == 2
        assert lab.asked() == ["GET", "PUT"] * 3
        assert publisher.status().error == ""
    assert lab.whole("b")


def test_slices_that_change_all_the_time_are_an_error_with_pauses(lab: Bench) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
        lab.server.faults.add(status=409, method="PUT")
        publisher.publish([part("b")])
        lab.wait(lambda: publisher.status().error, "giving up for now")
        lab.server.faults.clear()
        lab.settled(publisher)
    assert lab.whole("b")


def test_a_write_whose_answer_was_lost_is_not_made_twice(lab: Bench) -> None:
    lab.server.faults.add(status="drop", method="POST", count=1, applied=True)
    with lab.running() as publisher:
        lab.publish(publisher, part("a"), part("b"))
    assert lab.whole("a", "b")
    assert len(lab.own()) == 2


def test_an_obsolete_slice_that_is_gone_already_is_fine(lab: Bench) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"), part("b"))
        lab.server.faults.add(status="drop", method="DELETE", count=1, applied=True)
        lab.publish(publisher, part("a"))
    assert lab.whole("a")


def test_an_error_nobody_foresaw_does_not_end_publishing(
    lab: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [RuntimeError("bug"), None]

    def uid() -> str:
        if error := answers.pop(0):
            raise error
        return node_uid(lab.client, NODE)

    publisher = Publisher(lab.client, driver=DRIVER, node=NODE, node_uid=uid, timing=QUICK)
    publisher.start()
    lab.publish(publisher, part("a"))
    publisher.stop()
    assert lab.whole("a")
    assert any(record.exc_info for record in caplog.records)


# ---------------------------------------------------------------------- the server away, the node unknown


def test_the_server_away_at_the_start_and_later(lab: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="dra_common")
    lab.server.stop()
    with lab.running() as publisher:
        publisher.publish([part("a")])
        lab.wait(lambda: publisher.status().error, "the failure")
        lab.server.start()
        lab.settled(publisher)
        lab.server.stop()
        publisher.publish([part("b")])
        lab.wait(lambda: publisher.status().error, "the second failure")
        lab.server.start()
        lab.wait(lambda: lab.whole("b"), "the pool")
        lab.settled(publisher)
    lines = [record.getMessage() for record in caplog.records]
    assert sum("are not published" in line for line in lines) == 2
    assert sum(line.startswith("published") for line in lines) == 2


def test_slices_deleted_while_the_server_was_away_from_us(lab: Bench) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
        lab.server.stop()
        lab.server.delete("ResourceSlice", lab.own()[0]["metadata"]["name"])
        lab.server.start()
        lab.wait(lambda: lab.whole("a"), "the repair")


def test_a_node_that_the_server_does_not_know_yet(lab: Bench, caplog: pytest.LogCaptureFixture) -> None:
    lab.server.delete("Node", NODE)
    with lab.running() as publisher:
        publisher.publish([part("a")])
        lab.wait(lambda: "node n1 is not known" in publisher.status().error, "the failure")
        assert "--node-name" in publisher.status().error
        assert lab.own() == []
        lab.server.create("Node", {"metadata": {"name": NODE}})
        lab.settled(publisher)
    assert lab.whole("a")
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1


@pytest.mark.scenario(69)
def test_69_a_node_made_anew_owns_the_slices_made_anew(lab: Bench) -> None:
    """Garbage collection deletes the slices of the old Node; with its UID they would be deleted again and again."""
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
        lab.server.delete("Node", NODE)
        node = lab.server.create("Node", {"metadata": {"name": NODE}})
        lab.wipe()
        lab.wait(lab.own, "the slices")
        assert lab.own()[0]["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]


# ---------------------------------------------------------------------- the watch


def test_a_watch_that_breaks_is_opened_again(lab: Bench) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
        for _ in range(3):
            lab.wait(lab.server.drop_watches, "a watch to cut")
            lab.wipe()
            lab.wait(lambda: lab.whole("a"), "the repair")
            lab.settled(publisher)


@pytest.mark.parametrize("as_status", [True, False])
def test_a_watch_that_is_too_old_lists_again(lab: Bench, *, as_status: bool) -> None:
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
        lab.server.stop()
        lab.server.delete("ResourceSlice", lab.own()[0]["metadata"]["name"])
        lab.server.expire_history(as_status=as_status)
        lab.server.start()
        lab.wait(lambda: lab.whole("a"), "the repair")
        lab.settled(publisher)


def test_a_watch_that_is_refused_does_not_keep_us_from_publishing(
    lab: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    fault = lab.server.faults.add(status=500, method="WATCH")
    with lab.running() as publisher:
        publisher.publish([part("a")])
        lab.wait(lambda: publisher.status().synced and fault.hits >= 3, "a pool without a watch")
        lab.server.faults.clear()
        lab.settled(publisher)
        lab.wipe()
        lab.wait(lambda: lab.whole("a"), "the repair")
    assert sum("watch of ResourceSlices is lost" in record.getMessage() for record in caplog.records) == 1


def test_bookmarks_move_the_watch_on(lab: Bench) -> None:
    """After a bookmark the watch survives that everything before it is forgotten."""
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
        version = lab.heard(publisher)
        lab.server.forget_requests()
        lab.server.drop_watches()
        lab.wait(lambda: any(request.is_watch for request in lab.server.requests), "the next watch")
        again = next(request for request in lab.server.requests if request.is_watch)
        assert int(again.query["resourceVersion"]) >= version
        assert again.query["fieldSelector"] == "spec.driver=gpu.intel.com,spec.nodeName=n1"
