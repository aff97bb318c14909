"""The claim engine on real files; scenario numbers are those of the protocol reference the project keeps (§7)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dra_common.deadline import Deadline
from dra_common.errors import (
    ClaimError,
    ClaimMismatch,
    ConfigError,
    DeviceHeld,
    DeviceRefused,
    DeviceUnknown,
    DraError,
    HostError,
    LockTimeout,
    NotFound,
    StateError,
    Unreachable,
)
from dra_common.model import ClaimRecord, ClaimRef, Phase, PreparedDevice
from dra_common.testing.bench import NODE, Bench, config, soon
from dra_common.testing.knobs import DRIVER, Gate


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def spec(bench: Bench, name: str, cdi_class: str = "knob") -> dict[str, Any]:
    path = bench.root / "cdi" / f"example.com-{cdi_class}_uid-{name}.json"
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def record(bench: Bench, name: str) -> ClaimRecord:
    found = bench.records.load(f"uid-{name}")
    assert found is not None
    return found


# ---------------------------------------------------------------- prepare


@pytest.mark.defect(1)
@pytest.mark.scenario(16)
def test_prepare_answers_with_ids_that_resolve_and_records_the_claim(bench: Bench) -> None:
    """16: one entry per device, CDI file before the reply."""
    ref = bench.claim("one", "a", "b", config=[config(5)])
    assert bench.engine.prepare(ref, soon()) == (
        PreparedDevice(("r",), NODE, "a", ("example.com/knob=uid-one-a",)),
        PreparedDevice(("r",), NODE, "b", ("example.com/knob=uid-one-b",)),
    )
    devices = {device["name"]: device["containerEdits"] for device in spec(bench, "one")["devices"]}
    assert devices["uid-one-a"]["env"] == ["KNOB=5"], "edits are made from the hardware as it is after apply"
    assert (bench.level("a"), bench.level("c")) == (5, 1)
    assert record(bench, "one").phase is Phase.PREPARED
    assert bench.holds.holders() == {("a", None): "uid-one", ("b", None): "uid-one"}


@pytest.mark.scenario(17, 23)
def test_prepare_again_gives_the_same_answer_without_api_server_or_hardware(bench: Bench) -> None:
    """17 and 23: a retry needs no GET and changes nothing."""
    ref = bench.claim("one", "a", config=[config(5)])
    first = bench.engine.prepare(ref, soon())
    bench.claims.down = Unreachable("the API server is away")
    before = spec(bench, "one")
    assert bench.engine.prepare(ref, soon()) == first
    assert bench.driver.applied == ["a"]
    assert spec(bench, "one") == before


@pytest.mark.scenario(18)
def test_prepare_again_restores_a_missing_or_damaged_cdi_file(bench: Bench) -> None:
    """18: what the answer names must resolve."""
    ref = bench.claim("one", "a")
    first = bench.engine.prepare(ref, soon())
    path = bench.root / "cdi/example.com-knob_uid-one.json"
    wanted = path.read_text()
    path.write_text("{")
    assert bench.engine.prepare(ref, soon()) == first
    assert path.read_text() == wanted
    path.unlink()
    assert bench.engine.prepare(ref, soon()) == first
    assert path.read_text() == wanted


@pytest.mark.defect(11)
def test_prepare_again_describes_the_hardware_of_now(bench: Bench) -> None:
    """A kernel driver that was reloaded renumbers nodes: an old CDI file would name somebody else's."""
    ref = bench.claim("one", "a")
    first = bench.engine.prepare(ref, soon())
    bench.knob("a").write_text("9\n")
    assert bench.engine.prepare(ref, soon()) == first
    assert spec(bench, "one")["devices"][0]["containerEdits"]["env"] == ["KNOB=9"]


@pytest.mark.scenario(28)
def test_prepare_again_of_a_device_that_is_gone_is_refused_and_the_claim_kept(bench: Bench) -> None:
    """28: the device may come back; until the claim is unprepared it belongs to it."""
    ref = bench.claim("one", "a")
    first = bench.engine.prepare(ref, soon())
    bench.knob("a").unlink()
    with pytest.raises(DeviceUnknown, match="device a is not on this node"):
        bench.engine.prepare(ref, soon())
    bench.knob("a").write_text("1\n")
    assert bench.engine.prepare(ref, soon()) == first


@pytest.mark.scenario(27)
def test_a_claim_with_nothing_of_ours_is_prepared_with_no_devices(bench: Bench) -> None:
    """27: results of other drivers are ignored, and so is their configuration."""
    foreign = {"source": "FromClaim", "opaque": {"driver": "other.example.com", "parameters": {"kind": "X"}}}
    ref = bench.claim(
        "one", {"driver": "other.example.com", "pool": "elsewhere", "device": "x"}, config=[foreign]
    )
    assert bench.engine.prepare(ref, soon()) == ()
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []


@pytest.mark.scenario(32)
def test_subrequests_are_answered_with_the_main_request(bench: Bench) -> None:
    """32: the kubelet compares with the main request's name."""
    ref = bench.claim("one", {"device": "a", "request": "main/sub"})
    assert bench.engine.prepare(ref, soon())[0].requests == ("main",)


@pytest.mark.scenario(29, 35)
def test_shares_of_one_device_are_held_and_answered_apart(bench: Bench) -> None:
    """35: the same device twice with two share ids."""
    shares = [{"device": "a", "shareID": f"{n}1111111-0000-4000-8000-000000000000"} for n in (1, 2)]
    answer = bench.engine.prepare(bench.claim("one", *shares), soon())
    assert [device.share_id for device in answer] == [share["shareID"] for share in shares]
    assert len({device.cdi_ids for device in answer}) == 2
    assert len(bench.holds.holders()) == 2


@pytest.mark.scenario(29, 35)
def test_who_wants_a_device_whole_waits_for_the_last_share_of_it(bench: Bench) -> None:
    one = bench.claim("one", {"device": "a", "shareID": "0a"}, {"device": "a", "shareID": "0b"})
    two = bench.claim("two", {"device": "a", "shareID": "0c"})
    whole = bench.claim("whole", "a")
    answers = [bench.engine.prepare(ref, soon()) for ref in (one, two)]
    assert [[each.share_id for each in answer] for answer in answers] == [["0a", "0b"], ["0c"]]
    for ref in (one, two):
        with pytest.raises(DeviceHeld, match=f"device a is held by claim default/{ref.name}"):
            bench.engine.prepare(whole, soon())
        bench.engine.unprepare(ref, soon())
        assert not [name for name in bench.leftovers() if "whole" in name]
    assert bench.leftovers() == []
    assert bench.engine.prepare(whole, soon())
    with pytest.raises(DeviceHeld, match="device a is held by claim default/whole"):
        bench.engine.prepare(two, soon())
    bench.engine.unprepare(whole, soon())
    assert bench.leftovers() == []


def test_a_claim_cannot_have_a_device_whole_and_a_share_of_it(bench: Bench) -> None:
    """No scheduler allocates that."""
    for first, second in (({}, {"shareID": "0a"}), ({"shareID": "0a"}, {})):
        ref = bench.claim("one", {"device": "a", **first}, {"device": "a", **second})
        with pytest.raises(StateError, match="cannot have a share of a and all of it"):
            bench.engine.prepare(ref, soon())
        assert bench.leftovers() == []


@pytest.mark.scenario(25, 26)
@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"status": {}}, ClaimMismatch, "not allocated"),
        ({"metadata": {"uid": "another"}}, ClaimMismatch, "replaced"),
        ({"status": {"allocation": None}}, ClaimMismatch, "not allocated"),
        ({"status": "?"}, ClaimMismatch, "not allocated"),
    ],
)
def test_a_claim_that_is_not_the_allocated_one_is_refused(
    bench: Bench, change: dict[str, Any], error: type[Exception], says: str
) -> None:
    """25 and 26."""
    ref = bench.claim("one", "a")
    bench.claims.objects["default", "one"].update(change)
    with pytest.raises(error, match=f"default/one.*{says}"):
        bench.engine.prepare(ref, soon())
    assert bench.leftovers() == []


@pytest.mark.scenario(24)
def test_a_claim_that_is_gone_is_refused_and_leaves_nothing(bench: Bench) -> None:
    """24."""
    ref = bench.claim("one", "a")
    bench.claims.objects.clear()
    with pytest.raises(NotFound, match="default/one"):
        bench.engine.prepare(ref, soon())
    assert bench.leftovers() == []


@pytest.mark.parametrize("uid", ["", "..", "../../etc/passwd", "a/b", "x" * 200, "a\0b", "-a"])
def test_a_uid_that_is_no_uid_never_becomes_a_path(bench: Bench, uid: str) -> None:
    ref = replace(bench.claim("one", "a"), uid=uid)
    for call in (bench.engine.prepare, bench.engine.unprepare):
        with pytest.raises(ClaimMismatch, match="default/one"):
            call(ref, soon())
    assert bench.leftovers() == []


@pytest.mark.scenario(28)
@pytest.mark.parametrize(
    ("result", "says"),
    [
        ({"device": "zz"}, "device zz is not on this node"),
        ({"device": "a", "pool": "node-2"}, "pool node-2, this node has pool node-1"),
    ],
)
def test_unknown_pool_and_device_are_named(bench: Bench, result: dict[str, str], says: str) -> None:
    """28."""
    with pytest.raises(DeviceUnknown, match=says) as caught:
        bench.engine.prepare(bench.claim("one", "b", result), soon())
    assert caught.value.cure
    assert bench.leftovers() == []


@pytest.mark.parametrize("device", ["A", "../held", "a.b", "", "x" * 64, "a@b"])
def test_a_malformed_device_name_never_becomes_a_path(bench: Bench, device: str) -> None:
    with pytest.raises(ClaimMismatch, match="malformed"):
        bench.engine.prepare(bench.claim("one", {"device": device}), soon())
    assert bench.leftovers() == []


@pytest.mark.scenario(29)
def test_a_device_of_another_claim_is_refused_with_that_claims_name(bench: Bench) -> None:
    """29: the last line of defence; nothing of the first claim changes."""
    first = bench.claim("one", "a", config=[config(3)])
    answer = bench.engine.prepare(first, soon())
    second = bench.claim("two", "b", "a", config=[config(7)])
    with pytest.raises(DeviceHeld, match=r"device a is held by claim default/one \(uid uid-one\)"):
        bench.engine.prepare(second, soon())
    assert (bench.level("a"), bench.level("b")) == (3, 1)
    assert bench.engine.prepare(first, soon()) == answer
    assert not [name for name in bench.leftovers() if "two" in name]
    bench.engine.unprepare(first, soon())
    bench.engine.prepare(second, soon())
    assert bench.level("a") == 7


@pytest.mark.scenario(29, 37)
def test_admin_access_holds_nothing_and_changes_no_hardware(bench: Bench) -> None:
    """37: a monitor beside a user, in both orders."""
    monitor = bench.claim("monitor", {"device": "a", "adminAccess": True}, config=[config(9)])
    answer = bench.engine.prepare(monitor, soon())
    assert answer[0].cdi_ids == ("example.com/knob=uid-monitor-a", "example.com/spy=uid-monitor-a")
    user = bench.claim("user", "a", config=[config(4)])
    bench.engine.prepare(user, soon())
    assert bench.level("a") == 4
    bench.engine.unprepare(monitor, soon())
    assert bench.level("a") == 4
    assert bench.holds.holders() == {("a", None): "uid-user"}
    assert not (bench.root / "cdi/example.com-spy_uid-monitor.json").exists()


# ---------------------------------------------------------------- opaque configuration (31)


@pytest.mark.scenario(31)
def test_later_configuration_wins_field_by_field(bench: Bench) -> None:
    """Class before claim; a claim that sets one field keeps the class's other fields."""
    entries = [
        config(2, source="FromClass", unsafe=True),
        config(label="x"),
        config(6, requests=["r"]),
        config(8, requests=["other"]),
    ]
    bench.engine.prepare(bench.claim("one", "a", config=entries), soon())
    assert bench.level("a") == 6


@pytest.mark.scenario(31)
def test_configuration_for_a_subrequest_reaches_only_it(bench: Bench) -> None:
    devices = [{"device": "a", "request": "main/x"}, {"device": "b", "request": "main/y"}]
    entries = [config(2, requests=["main"]), config(3, requests=["main/y"])]
    bench.engine.prepare(bench.claim("one", *devices, config=entries), soon())
    assert (bench.level("a"), bench.level("b")) == (2, 3)


@pytest.mark.scenario(31)
@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (config(1, unsafe=True), "claim .*KnobConfig field unsafe may be set in the DeviceClass only"),
        (config(1, speed=3), "KnobConfig field speed: unknown field"),
        (config("high", source="FromClass"), "DeviceClass.*KnobConfig field level"),
        (
            {**config(1), "opaque": {"driver": DRIVER, "parameters": {"kind": "Other"}}},
            "unknown opaque kind 'Other'",
        ),
        ({**config(1), "opaque": {"driver": DRIVER}}, "unknown opaque kind None"),
        ({**config(1, requests=["r"]), "opaque": {"driver": DRIVER, "parameters": []}}, "for request r"),
    ],
)
def test_bad_configuration_is_refused_and_loses_nothing(
    bench: Bench, entry: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        bench.engine.prepare(bench.claim("one", "a", config=[entry]), soon())
    assert "default/one" in str(caught.value)
    assert caught.value.cure
    assert bench.leftovers() == []


@pytest.mark.scenario(31)
def test_an_entry_from_an_unknown_source_is_refused(bench: Bench) -> None:
    with pytest.raises(ClaimMismatch, match="unknown source 'FromMars'"):
        bench.engine.prepare(bench.claim("one", "a", config=[config(1, source="FromMars")]), soon())


# ---------------------------------------------------------------- failures


def test_a_refusal_of_the_plan_changes_nothing(bench: Bench) -> None:
    with pytest.raises(DeviceRefused, match="device a: level 11 is over 10"):
        bench.engine.prepare(bench.claim("one", "a", config=[config(11)]), soon())
    assert bench.leftovers() == []


@pytest.mark.scenario(21)
@pytest.mark.parametrize("fault", ["apply:b", "bug:b"])
def test_a_failure_half_way_reverts_what_was_done(bench: Bench, fault: str) -> None:
    """21: then the same claim succeeds. An error nobody foresaw is undone like any other."""
    ref = bench.claim("one", "a", "b", config=[config(5)])
    bench.driver.broken = {fault}
    if fault == "bug:b":
        with pytest.raises(RuntimeError, match="a bug"):
            bench.engine.prepare(ref, soon())
        bench.driver.broken = set()
        bench.recover()
    else:
        with pytest.raises(HostError, match="device b: apply: the knob is stuck"):
            bench.engine.prepare(ref, soon())
    assert (bench.level("a"), bench.level("b")) == (1, 1)
    assert bench.leftovers() == []
    bench.driver.broken = set()
    bench.engine.prepare(ref, soon())
    assert (bench.level("a"), bench.level("b")) == (5, 5)


@pytest.mark.scenario(45)
def test_a_revert_that_fails_keeps_the_record_and_the_device(bench: Bench) -> None:
    """The claim is *failed*; its device stays held until unprepare can finish."""
    ref = bench.claim("one", "a", "b", config=[config(5)])
    bench.driver.broken = {"apply:b", "revert:a"}
    with pytest.raises(HostError, match="apply"):
        bench.engine.prepare(ref, soon())
    assert record(bench, "one").phase is Phase.FAILED
    assert "revert" in record(bench, "one").error
    assert bench.bell.reasons, "the reconciler must hear of it, to taint the device"
    with pytest.raises(DeviceHeld):
        bench.engine.prepare(bench.claim("two", "a"), soon())
    with pytest.raises(HostError, match="revert"):
        bench.engine.unprepare(ref, soon())
    bench.driver.broken = set()
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []
    assert bench.level("a") == 1


def test_a_failed_claim_is_undone_before_it_is_prepared_again(bench: Bench) -> None:
    ref = bench.claim("one", "a", config=[config(5)])
    bench.driver.broken = {"apply:a", "revert:a"}
    with pytest.raises(HostError):
        bench.engine.prepare(ref, soon())
    bench.driver.broken = set()
    bench.engine.prepare(ref, soon())
    bench.engine.unprepare(ref, soon())
    assert bench.level("a") == 1, "the level found first is what is given back"


def test_when_the_state_cannot_be_written_nothing_is_touched(bench: Bench) -> None:
    ref = bench.claim("one", "a", config=[config(5)])
    claims = bench.root / "state/claims"
    (claims / "uid-one.json.tmp").mkdir()
    with pytest.raises(StateError, match=r"cannot write .*uid-one\.json"):
        bench.engine.prepare(ref, soon())
    assert bench.level("a") == 1
    assert bench.holds.holders() == {}
    (claims / "uid-one.json.tmp").rmdir()
    bench.engine.prepare(ref, soon())


def test_when_the_cdi_folder_is_a_file_the_claim_is_refused_and_undone(bench: Bench) -> None:
    (bench.root / "cdi").write_text("")
    with pytest.raises(StateError, match="cdi"):
        bench.engine.prepare(bench.claim("one", "a", config=[config(5)]), soon())
    assert bench.level("a") == 1
    (bench.root / "cdi").unlink()
    (bench.root / "cdi").mkdir()
    bench.recover()
    assert bench.leftovers() == []
    assert bench.engine.prepare(bench.claim("one", "a"), soon())


@pytest.mark.scenario(52)
def test_a_corrupt_record_is_set_aside_and_the_claim_prepared_anew(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """52: defined behaviour, no silent loss."""
    ref = bench.claim("one", "a")
    answer = bench.engine.prepare(ref, soon())
    path = bench.root / "state/claims/uid-one.json"
    path.write_bytes(path.read_bytes()[:40])
    with caplog.at_level(logging.ERROR):
        assert bench.engine.prepare(ref, soon()) == answer
    assert "uid-one.json.corrupt-1" in caplog.text
    assert (bench.root / "state/claims/uid-one.json.corrupt-1").exists()
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []


@pytest.mark.scenario(52)
def test_a_record_of_a_newer_release_is_refused_and_kept(bench: Bench) -> None:
    ref = bench.claim("one", "a")
    bench.engine.prepare(ref, soon())
    path = bench.root / "state/claims/uid-one.json"
    newer = {**json.loads(path.read_text()), "schema": 99}
    path.write_text(json.dumps(newer))
    for call in (bench.engine.prepare, bench.engine.unprepare):
        with pytest.raises(StateError, match="schema 99"):
            call(ref, soon())
    assert json.loads(path.read_text()) == newer
    assert bench.holds.holders() == {("a", None): "uid-one"}


# ---------------------------------------------------------------- unprepare


@pytest.mark.scenario(41, 43, 44)
def test_unprepare_leaves_nothing_and_needs_no_api_server(bench: Bench) -> None:
    """41, 43, 44."""
    ref = bench.claim("one", "a", "b", config=[config(5)])
    bench.engine.prepare(ref, soon())
    bench.claims.objects.clear()
    bench.claims.down = Unreachable("away")
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []
    assert (bench.level("a"), bench.level("b")) == (1, 1)


@pytest.mark.scenario(42)
def test_unprepare_of_an_unknown_claim_succeeds(bench: Bench) -> None:
    """42: never prepared, and prepared and unprepared before."""
    ref = bench.claim("one", "a")
    bench.engine.unprepare(ref, soon())
    bench.engine.prepare(ref, soon())
    bench.engine.unprepare(ref, soon())
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []


@pytest.mark.scenario(49)
def test_unprepare_when_the_device_is_gone_still_cleans_up(bench: Bench) -> None:
    """49."""
    ref = bench.claim("one", "a", config=[config(5)])
    bench.engine.prepare(ref, soon())
    bench.knob("a").unlink()
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []


def test_unprepare_cleans_up_after_a_record_that_was_lost(bench: Bench) -> None:
    """Holds and CDI files carry the UID, so they can be found without the record."""
    ref = bench.claim("one", "a")
    bench.engine.prepare(ref, soon())
    (bench.root / "state/claims/uid-one.json").unlink()
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []


@pytest.mark.scenario(48)
def test_unprepare_by_another_instance(bench: Bench) -> None:
    """48: either process may get any call; all state is on disk."""
    ref = bench.claim("one", "a", config=[config(5)])
    bench.engine.prepare(ref, soon())
    bench.start()
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []
    assert bench.level("a") == 1


# ---------------------------------------------------------------- reboot


@pytest.mark.scenario(18)
def test_after_a_reboot_the_same_answer_and_the_hardware_done_again(bench: Bench) -> None:
    ref = bench.claim("one", "a", config=[config(5)])
    answer = bench.engine.prepare(ref, soon())
    bench.reboot()
    bench.recover()
    assert bench.engine.prepare(ref, soon()) == answer
    assert bench.level("a") == 5
    assert spec(bench, "one")["devices"][0]["name"] == "uid-one-a"
    assert record(bench, "one").boot_id == "boot-2"


def test_after_a_reboot_a_failure_keeps_the_claim_and_its_device(bench: Bench) -> None:
    ref = bench.claim("one", "a", config=[config(5)])
    answer = bench.engine.prepare(ref, soon())
    bench.reboot()
    bench.driver.broken = {"apply:a"}
    with pytest.raises(HostError):
        bench.engine.prepare(ref, soon())
    with pytest.raises(DeviceHeld):
        bench.engine.prepare(bench.claim("two", "a"), soon())
    bench.driver.broken = set()
    assert bench.engine.prepare(ref, soon()) == answer


def test_after_a_reboot_unprepare_works_without_prepare(bench: Bench) -> None:
    ref = bench.claim("one", "a", config=[config(5)])
    bench.engine.prepare(ref, soon())
    bench.reboot()
    bench.engine.unprepare(ref, soon())
    assert bench.leftovers() == []
    assert bench.level("a") == 1


# ---------------------------------------------------------------- at the same time


def test_two_prepares_of_one_claim_do_the_work_once(bench: Bench) -> None:
    """22."""
    ref = bench.claim("one", "a", config=[config(5)])
    bench.driver.gate = gate = Gate()
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(bench.engine.prepare, ref, soon()) for _ in range(4)]
        assert gate.entered.acquire(timeout=60)
        gate.open()
        answers = {call.result() for call in calls}
    assert len(answers) == 1
    assert bench.driver.applied == ["a"]


def test_claims_do_not_wait_for_one_another(bench: Bench) -> None:
    """A slow claim keeps nobody else: four are inside ``apply`` at the same moment."""
    refs = [bench.claim(name, name, config=[config(2)]) for name in "abcd"]
    bench.driver.gate = gate = Gate()
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(bench.engine.prepare, ref, soon()) for ref in refs]
        assert all(gate.entered.acquire(timeout=60) for _ in refs)
        gate.open()
        assert all(call.result() for call in calls)


def test_of_many_claims_for_one_device_exactly_one_gets_it(bench: Bench) -> None:
    refs = [bench.claim(f"c{n}", "a") for n in range(16)]

    def attempt(n: int) -> bool:
        try:
            bench.engine.prepare(refs[n], soon())
        except DeviceHeld:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(attempt, range(16)))
    assert sum(won) == 1
    assert bench.holds.holders() == {("a", None): f"uid-c{won.index(True)}"}


def test_a_call_gives_up_at_its_deadline_while_another_holds_the_claim(bench: Bench) -> None:
    """20: the kubelet's deadline; a later retry finds the claim prepared once."""
    ref = bench.claim("one", "a", config=[config(5)])
    bench.driver.gate = gate = Gate()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(bench.engine.prepare, ref, soon())
        assert gate.entered.acquire(timeout=60)
        with pytest.raises(LockTimeout, match="uid-one"):
            bench.engine.prepare(ref, soon(0.05))
        with pytest.raises(LockTimeout, match="uid-one"):
            bench.engine.unprepare(ref, soon(0.05))
        gate.open()
        answer = slow.result()
    assert bench.engine.prepare(ref, soon()) == answer


# ---------------------------------------------------------------- nobody waits any more


def test_a_prepare_that_nobody_waits_for_is_not_begun(bench: Bench) -> None:
    """The GET outlasts the call; by now the kubelet may have unprepared, and would never again ask for this claim."""
    ref, deadline, read = bench.claim("one", "a", config=[config(5)]), soon(), bench.claims.read

    def slow(ref: ClaimRef, deadline: Deadline) -> Mapping[str, Any]:
        found = read(ref, deadline)
        deadline.end()
        bench.engine.unprepare(ref, soon())
        return found

    bench.claims.read = slow  # type: ignore[method-assign]
    with pytest.raises(ClaimError, match=r"default/one.*no longer waits"):
        bench.engine.prepare(ref, deadline)
    assert bench.leftovers() == []
    assert bench.level("a") == 1


def test_an_unprepare_that_nobody_waits_for_is_not_begun(bench: Bench) -> None:
    """It was repeated and answered meanwhile, and the claim prepared again for the next pod."""
    ref = bench.claim("one", "a", config=[config(5)])
    bench.engine.prepare(ref, soon())
    late = soon()
    late.end()
    with pytest.raises(ClaimError, match=r"default/one.*no longer waits"):
        bench.engine.unprepare(ref, late)
    assert bench.level("a") == 5
    assert record(bench, "one").phase is Phase.PREPARED


def test_a_wait_for_a_lock_ends_with_the_call(bench: Bench) -> None:
    """A caller that went away does not keep a worker until the deadline."""
    ref, deadline = bench.claim("one", "a"), soon(3600)
    with ThreadPoolExecutor(1) as pool, bench.locks.claim(ref.uid, soon()):
        waiting = pool.submit(bench.engine.unprepare, ref, deadline)
        deadline.end()
        with pytest.raises(DraError, match="uid-one"):
            waiting.result(timeout=60)
