"""What has to change on the server (scenarios 61, 64, 68, 69), against a server that only stores."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pytest
from dra_common.publisher.compare import content, fingerprint
from dra_common.publisher.sync import Owner, SyncPlan, index_of, index_prefix, plan_sync
from dra_common.slices import SliceContent
from hypothesis import given
from hypothesis import strategies as st

OWNER = Owner("gpu.intel.com", "n1", "node-uid")


class Shelf:
    """Carries plans out: names, versions, taint times, nothing else."""

    def __init__(self) -> None:
        self.slices: dict[str, dict[str, Any]] = {}
        self.version = 0

    def put(self, item: Mapping[str, Any]) -> None:
        self.version += 1
        stored = copy.deepcopy(dict(item))
        metadata = stored["metadata"]
        metadata.setdefault("name", f"{metadata.get('generateName', '')}{self.version}")
        metadata["resourceVersion"] = str(self.version)
        metadata.setdefault("uid", f"uid-{self.version}")
        for device in stored["spec"].get("devices", ()):
            for taint in device.get("taints", ()):
                taint.setdefault("timeAdded", f"t{self.version}")
        self.slices[metadata["name"]] = stored

    def carry_out(self, plan: SyncPlan) -> None:
        for _ in self.steps(plan):
            pass

    def steps(self, plan: SyncPlan) -> Iterator[None]:
        """Carry the plan out, and let others look after every single request."""
        for deletion in plan.deletes:
            gone = self.slices.pop(deletion.name)
            assert (gone["metadata"]["uid"], gone["metadata"]["resourceVersion"]) == (
                deletion.uid,
                deletion.resource_version,
            )
            yield
        for item in plan.updates:
            assert (
                item["metadata"]["resourceVersion"]
                == self.slices[item["metadata"]["name"]]["metadata"]["resourceVersion"]
            )
            self.put(item)
            yield
        for item in plan.creates:
            self.put(item)
            yield

    def sync(self, desired: Sequence[SliceContent], owner: Owner = OWNER, **more: Any) -> SyncPlan:
        plan = plan_sync(desired, list(self.slices.values()), owner, **more)
        self.carry_out(plan)
        return plan

    def pools(self) -> set[tuple[int, int]]:
        specs = [item["spec"]["pool"] for item in self.slices.values()]
        return {(pool["generation"], pool["resourceSliceCount"]) for pool in specs}

    def seen(self) -> list[Any] | None:
        """What a scheduler sees: the devices of the newest generation, None while not all of its slices are there."""
        newest = max((generation for generation, _ in self.pools()), default=0)
        items = [item for _, item in sorted(self.slices.items())]
        specs = [item["spec"] for item in items if item["spec"]["pool"]["generation"] == newest]
        counts = {spec["pool"]["resourceSliceCount"] for spec in specs}
        return [spec["devices"] for spec in specs] if counts == {len(specs)} else None

    def devices(self) -> list[str]:
        return [
            device["name"]
            for _, item in sorted(self.slices.items())
            for device in item["spec"].get("devices", ())
        ]


def part(*names: str, **fields: Any) -> SliceContent:
    return SliceContent(tuple({"name": name, **fields} for name in names))


def counts(plan: SyncPlan) -> tuple[int, int, int]:
    return len(plan.deletes), len(plan.updates), len(plan.creates)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


# ---------------------------------------------------------------------- scenario 61


@pytest.mark.scenario(61)
def test_61_first_publish_creates_generation_1(shelf: Shelf) -> None:
    plan = shelf.sync([part("a"), part("b")])
    assert counts(plan) == (0, 0, 2)
    assert plan.creates[0] == {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {
            "generateName": "00000-gpu.intel.com-n1-",
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "node-uid", "controller": True}
            ],
        },
        "spec": {
            "driver": "gpu.intel.com",
            "nodeName": "n1",
            "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 2},
            "devices": [{"name": "a"}],
        },
    }
    assert plan.creates[1]["metadata"]["generateName"] == "00001-gpu.intel.com-n1-"


@pytest.mark.scenario(61)
def test_61_an_empty_pool_is_published_and_stays(shelf: Shelf) -> None:
    assert counts(shelf.sync([SliceContent()])) == (0, 0, 1)
    assert not shelf.sync([SliceContent()])
    next(iter(shelf.slices.values()))["spec"].pop("devices")  # as the server prints an empty list
    assert not shelf.sync([SliceContent()])


@pytest.mark.scenario(61)
def test_61_unchanged_is_nothing_to_do(shelf: Shelf) -> None:
    shelf.sync([part("a"), part("b")])
    assert not shelf.sync([part("a"), part("b")])


@pytest.mark.scenario(61)
def test_61_one_change_keeps_the_generation(shelf: Shelf) -> None:
    shelf.sync([part("a"), part("b")])
    plan = shelf.sync([part("a"), part("b", attributes={"x": {"int": 1}})])
    assert counts(plan) == (0, 1, 0)
    assert plan.generation == 1
    assert shelf.pools() == {(1, 2)}


@pytest.mark.scenario(61)
def test_61_two_changes_renew_the_pool(shelf: Shelf) -> None:
    shelf.sync([part("a"), part("b"), part("c")])
    plan = shelf.sync([part("x"), part("y"), part("c")])
    assert counts(plan) == (0, 3, 0)
    assert shelf.pools() == {(2, 3)}


@pytest.mark.scenario(61)
def test_61_a_new_slice_renews_the_pool(shelf: Shelf) -> None:
    shelf.sync([part("a")])
    plan = shelf.sync([part("a"), part("b")])
    assert counts(plan) == (0, 1, 1)
    assert shelf.pools() == {(2, 2)}
    assert shelf.devices() == ["a", "b"]


@pytest.mark.scenario(61)
def test_61_fewer_slices(shelf: Shelf) -> None:
    shelf.sync([part("a"), part("b"), part("c")])
    assert counts(shelf.sync([part("a"), part("b")])) == (1, 2, 0)
    assert shelf.pools() == {(2, 2)}
    plan = shelf.sync([part("a")])
    assert counts(plan) == (1, 1, 0)
    assert shelf.pools() == {(2, 1)}


@pytest.mark.scenario(61)
def test_61_obsolete_generations_are_deleted(shelf: Shelf) -> None:
    """Left over by an update that was broken off."""
    shelf.sync([part("a"), part("b")])
    old = copy.deepcopy(next(item for name, item in shelf.slices.items() if name.startswith("00001-")))
    shelf.sync([part("x"), part("y")])
    old["metadata"]["name"] = "00001-gpu.intel.com-n1-old"
    shelf.put(old)
    plan = shelf.sync([part("x"), part("y")])
    assert [item.name for item in plan.deletes] == ["00001-gpu.intel.com-n1-old"]
    assert counts(plan) == (1, 0, 0)


@pytest.mark.scenario(61)
def test_61_an_update_that_was_broken_off_is_finished(shelf: Shelf) -> None:
    shelf.sync([part("a"), part("b")])
    plan = plan_sync([part("x"), part("y")], list(shelf.slices.values()), OWNER)
    shelf.carry_out(SyncPlan(plan.generation, updates=plan.updates[:1]))
    shelf.sync([part("x"), part("y")])
    assert len(shelf.pools()) == 1
    assert shelf.devices() == ["x", "y"]


@pytest.mark.scenario(61)
def test_61_a_redundant_slice_is_deleted(shelf: Shelf) -> None:
    shelf.sync([part("a")])
    twin = copy.deepcopy(next(iter(shelf.slices.values())))
    twin["metadata"] = {"name": "00000-gpu.intel.com-n1-zzz"}
    shelf.put(twin)
    plan = shelf.sync([part("a")])
    assert [item.name for item in plan.deletes] == ["00000-gpu.intel.com-n1-zzz"]
    assert counts(plan) == (1, 0, 0)


@pytest.mark.scenario(61)
def test_61_another_pool_of_this_driver_and_node_is_removed(shelf: Shelf) -> None:
    foreign = {
        "metadata": {"name": "00000-x"},
        "spec": {"driver": "gpu.intel.com", "pool": {"name": "other", "generation": 7}},
    }
    shelf.put(foreign)
    plan = shelf.sync([part("a")])
    assert counts(plan) == (1, 0, 1)
    assert shelf.pools() == {(1, 1)}


@pytest.mark.scenario(61)
def test_61_nothing_wanted_removes_all(shelf: Shelf) -> None:
    shelf.sync([part("a"), part("b")])
    assert counts(shelf.sync([])) == (2, 0, 0)
    assert shelf.slices == {}


def test_a_wipe_of_one_of_two_renews_the_pool(shelf: Shelf) -> None:
    """Scenario 59: consumers must not take the slice that is left for a whole pool."""
    shelf.sync([part("a"), part("b")])
    shelf.slices.pop(next(iter(shelf.slices)))
    assert counts(shelf.sync([part("a"), part("b")])) == (0, 1, 1)
    assert shelf.pools() == {(2, 2)}


def test_counter_slices_are_written(shelf: Shelf) -> None:
    counters = SliceContent(shared_counters=({"name": "p", "counters": {"mode": {"value": "1"}}},))
    shelf.sync([counters, part("a")])
    assert not shelf.sync([counters, part("a")])
    first = shelf.slices[min(shelf.slices)]["spec"]
    assert first["sharedCounters"] == list(counters.shared_counters)
    assert "devices" not in first


# ---------------------------------------------------------------------- scenario 62: edits of others


@pytest.mark.parametrize(
    "edit",
    [
        lambda item: item["spec"]["devices"].clear(),
        lambda item: item["spec"]["devices"][0].update(taints=[{"key": "a", "effect": "NoExecute"}]),
        lambda item: item["spec"]["pool"].update(resourceSliceCount=5),
        lambda item: item["metadata"].update(ownerReferences=[]),
    ],
)
@pytest.mark.scenario(62)
def test_62_edits_are_reverted(shelf: Shelf, edit: Any) -> None:
    shelf.sync([part("a")])
    before = copy.deepcopy(shelf.slices)
    edit(next(iter(shelf.slices.values())))
    assert counts(shelf.sync([part("a")])) == (0, 1, 0)
    (name,) = before
    assert shelf.slices[name]["spec"] == before[name]["spec"]
    assert shelf.slices[name]["metadata"]["ownerReferences"] == before[name]["metadata"]["ownerReferences"]


@pytest.mark.scenario(62)
def test_62_a_generation_that_somebody_raised_is_kept(shelf: Shelf) -> None:
    """Consumers have seen it: a lower one would be ignored."""
    shelf.sync([part("a"), part("b")])
    next(iter(shelf.slices.values()))["spec"]["pool"]["generation"] = 40
    shelf.sync([part("a"), part("b")])
    assert shelf.pools() == {(41, 2)}


def test_labels_of_others_stay(shelf: Shelf) -> None:
    shelf.sync([part("a")])
    next(iter(shelf.slices.values()))["metadata"]["labels"] = {"team": "x"}
    assert not shelf.sync([part("a")])
    plan = shelf.sync([part("b")])
    assert plan.updates[0]["metadata"]["labels"] == {"team": "x"}


# ---------------------------------------------------------------------- scenario 64: taints, dropped fields


@pytest.mark.scenario(64)
def test_64_time_added_is_kept_when_another_taint_comes(shelf: Shelf) -> None:
    first, second = {"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}
    shelf.sync([part("d", taints=[first])])
    assert not shelf.sync([part("d", taints=[first])])
    shelf.sync([part("d", taints=[first, second])])
    (item,) = shelf.slices.values()
    assert [taint["timeAdded"] for taint in item["spec"]["devices"][0]["taints"]] == ["t1", "t2"]


@pytest.mark.scenario(64)
def test_64_time_added_moves_with_the_device_to_another_slice(shelf: Shelf) -> None:
    taint = {"key": "a", "effect": "NoSchedule"}
    shelf.sync([part("d", taints=[taint])])
    plan = shelf.sync([part("new"), part("d", taints=[taint])])
    assert plan.creates[0]["spec"]["devices"][0]["taints"] == [{**taint, "timeAdded": "t1"}]


@pytest.mark.scenario(64)
def test_64_what_this_server_makes_of_our_content_is_accepted(shelf: Shelf) -> None:
    wanted = part("d", taints=[{"key": "a", "effect": "NoSchedule"}])
    shelf.sync([wanted])
    (item,) = shelf.slices.values()
    item["spec"]["devices"][0].pop("taints")  # the gate is off
    assert plan_sync([wanted], [item], OWNER)
    adopted = {fingerprint(wanted.spec()): content(item["spec"])}
    assert not plan_sync([wanted], [item], OWNER, adopted)
    item["spec"]["devices"].append({"name": "foreign"})
    plan = plan_sync([wanted], [item], OWNER, adopted)
    assert plan.updates[0]["spec"]["devices"][0]["taints"], "written whole: the gate may be on again"


# ---------------------------------------------------------------------- scenarios 68 and 69: names, owner


@pytest.mark.scenario(68)
def test_68_random_names_migrate_to_indexed_ones(shelf: Shelf) -> None:
    """Slices of a Go driver before 1.36; the generation goes on, so that consumers take the new ones."""
    shelf.sync([part("a"), part("b")])
    for index, item in enumerate(list(shelf.slices.values())):
        item["metadata"]["name"] = f"n1-gpu.intel.com-{index}abcd"
    shelf.slices = {item["metadata"]["name"]: item for item in shelf.slices.values()}
    assert counts(shelf.sync([part("a"), part("b")])) == (2, 0, 2)
    assert shelf.pools() == {(2, 2)}
    assert [name[:6] for name in sorted(shelf.slices)] == ["00000-", "00001-"]


@pytest.mark.parametrize("name", ["0000-a", "000000-a", "0000G-a", "00001-a", "x", "0000A-a"])
@pytest.mark.scenario(68)
def test_68_what_is_no_index_of_this_pool(shelf: Shelf, name: str) -> None:
    shelf.sync([part("a")])
    (item,) = shelf.slices.values()
    item["metadata"]["name"] = name
    shelf.slices = {name: item}
    plan = shelf.sync([part("a")])
    assert [deletion.name for deletion in plan.deletes] == [name]
    assert counts(plan) == (1, 0, 1)


@pytest.mark.parametrize(
    ("index", "count", "prefix"),
    [
        (0, 1, "00000-"),
        (0xFFFFF, 0x100000, "fffff-"),
        (0, 0x100001, "000000-"),
        (0x100000, 0x100001, "100000-"),
    ],
)
@pytest.mark.scenario(68)
def test_68_the_index_grows_with_the_pool(index: int, count: int, prefix: str) -> None:
    assert index_prefix(index, count) == prefix
    assert index_of(f"{prefix}gpu", count) == index
    assert index_of(f"0{prefix}gpu", count) is None
    assert index_of(f"{prefix}gpu", index) is None


@pytest.mark.scenario(69)
def test_69_a_node_made_anew_gets_its_slices_back(shelf: Shelf) -> None:
    shelf.sync([part("a")])
    reborn = Owner("gpu.intel.com", "n1", "other-uid")
    plan = shelf.sync([part("a")], reborn)
    assert counts(plan) == (0, 1, 0)
    assert plan.updates[0]["metadata"]["ownerReferences"][0]["uid"] == "other-uid"
    assert not shelf.sync([part("a")], reborn)


# ---------------------------------------------------------------------- properties

_CONTENTS = st.lists(
    st.lists(st.sampled_from("abcdefgh"), max_size=3, unique=True).map(lambda names: part(*names)),
    min_size=1,
    max_size=5,
)


@given(st.lists(_CONTENTS, min_size=1, max_size=6), st.data())
def test_every_pass_leads_there_and_the_next_has_nothing_to_do(
    history: list[list[SliceContent]], data: st.DataObject
) -> None:
    """Whatever was published before, and whatever of it was deleted by others."""
    shelf, newest = Shelf(), 0
    for desired in history:
        for name in (
            data.draw(st.lists(st.sampled_from(sorted(shelf.slices)), unique=True)) if shelf.slices else []
        ):
            del shelf.slices[name]
        survivors = bool(shelf.slices)
        plan = shelf.sync(desired)
        assert [item["spec"]["devices"] for _, item in sorted(shelf.slices.items())] == [
            list(each.devices) for each in desired
        ]
        assert shelf.pools() == {(plan.generation, len(desired))}
        assert plan.generation >= newest or not survivors
        newest = plan.generation
        assert not shelf.sync(desired)


@given(_CONTENTS, _CONTENTS)
def test_the_generation_stays_only_for_a_single_write(
    before: list[SliceContent], after: list[SliceContent]
) -> None:
    """A consumer that sees one generation sees one state of the pool, or one slice being replaced."""
    shelf = Shelf()
    shelf.sync(before)
    plan = shelf.sync(after)
    if plan.generation == 1:
        assert len(plan.updates) <= 1
        assert not plan.creates
    else:
        assert len(plan.updates) + len(plan.creates) == len(after)


@given(st.lists(_CONTENTS, min_size=2, max_size=6), st.data())
def test_a_scheduler_sees_the_old_pool_or_the_new_one_or_none(
    history: list[list[SliceContent]], data: st.DataObject
) -> None:
    """At every moment of every pass, also of passes that were cut short and went on with other content."""
    shelf = Shelf()
    for number, desired in enumerate(history, 1):
        old, new = shelf.seen(), [list(each.devices) for each in desired]
        plan = plan_sync(desired, list(shelf.slices.values()), OWNER)
        for _ in islice(shelf.steps(plan), data.draw(st.integers(0, 9)) if number < len(history) else None):
            assert shelf.seen() in (None, old, new)
        if number == len(history):
            assert shelf.seen() == new
