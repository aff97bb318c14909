"""``status.devices`` after a report."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from dra_common.claimstatus import Report, with_report
from dra_common.model import ClaimRef

DRIVER, NODE, NOW, LATER = "gpu.intel.com", "node-1", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
REF = ClaimRef("default", "train", "uid-1")
READY = Report(REF, ready=True, reason="Prepared", message="prepared on node node-1")
Data = dict[tuple[str, str, str | None], dict[str, Any]]
SHARE = "11111111-0000-4000-8000-000000000000"


def result(device: str, driver: str = DRIVER, pool: str = NODE, **more: str) -> dict[str, Any]:
    return {"request": "r", "driver": driver, "pool": pool, "device": device, **more}


def claim(*results: dict[str, Any], devices: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    status: dict[str, Any] = {
        "allocation": {"devices": {"results": list(results)}},
        "reservedFor": [{"name": "p"}],
    }
    if devices is not None:
        status["devices"] = devices
    metadata = {"name": "train", "namespace": "default", "uid": "uid-1", "resourceVersion": "7"}
    return {"metadata": metadata, "spec": {"new": "field"}, "status": status}


def reported(raw: dict[str, Any], report: Report, now: str = NOW) -> dict[str, Any] | None:
    before = copy.deepcopy(raw)
    new = with_report(raw, report, driver=DRIVER, pool=NODE, now=now)
    assert raw == before, "pure"
    if new is not None:
        assert with_report(new, report, driver=DRIVER, pool=NODE, now=LATER) is None, "once is enough"
    return new


def devices(raw: dict[str, Any], report: Report, now: str = NOW) -> list[dict[str, Any]]:
    new = reported(raw, report, now)
    assert new is not None
    assert {**new, "status": {**new["status"], "devices": None}} == {
        **raw,
        "status": {**raw["status"], "devices": None},
    }
    found: list[dict[str, Any]] = new["status"]["devices"]
    return found


def test_each_of_our_devices_has_an_entry_with_its_data() -> None:
    data: Data = {
        (NODE, "a", None): {"deviceNodes": ["/dev/dri/card1"]},
        (NODE, "b", SHARE): {"cdiDevices": []},
    }
    raw = claim(
        result("a"), result("b", shareID=SHARE), result("x", driver="other"), result("y", pool="node-2")
    )
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Prepared",
        "message": "prepared on node node-1",
        "lastTransitionTime": NOW,
    }
    assert devices(raw, replace(READY, data=data)) == [
        {
            "driver": DRIVER,
            "pool": NODE,
            "device": "a",
            "conditions": [condition],
            "data": {"deviceNodes": ["/dev/dri/card1"]},
        },
        {
            "driver": DRIVER,
            "pool": NODE,
            "device": "b",
            "shareID": SHARE,
            "conditions": [condition],
            "data": {"cdiDevices": []},
        },
    ]


def test_a_device_of_two_requests_has_one_entry() -> None:
    assert len(devices(claim(result("a"), {**result("a"), "request": "other"}), READY)) == 1


def test_a_failure_says_why_and_takes_the_data_away() -> None:
    data: Data = {(NODE, "a", None): {"deviceNodes": []}}
    ready = reported(claim(result("a")), replace(READY, data=data))
    assert ready is not None
    failed = Report(REF, ready=False, reason="DeviceHeld", message="x" * 10_000)
    (entry,) = devices(ready, failed, LATER)
    assert "data" not in entry
    (condition,) = entry["conditions"]
    assert (condition["status"], condition["reason"], len(condition["message"])) == (
        "False",
        "DeviceHeld",
        4096,
    )
    assert condition["lastTransitionTime"] == LATER


def test_the_time_is_that_of_the_last_change_between_ready_and_not() -> None:
    first = reported(claim(result("a")), Report(REF, ready=False, reason="DeviceHeld", message="one"))
    assert first is not None
    (entry,) = devices(first, Report(REF, ready=False, reason="LockTimeout", message="two"), LATER)
    assert entry["conditions"][0]["lastTransitionTime"] == NOW


def test_what_others_said_stays() -> None:
    theirs = {
        "driver": "nic.example.com",
        "pool": NODE,
        "device": "n",
        "networkData": {"interfaceName": "eth1"},
    }
    far = {"driver": DRIVER, "pool": "node-2", "device": "y", "conditions": []}
    health = {"type": "Healthy", "status": "True", "reason": "Fine", "message": "", "lastTransitionTime": NOW}
    ours = {"driver": DRIVER, "pool": NODE, "device": "a", "conditions": [health], "networkData": {"ips": []}}
    raw = claim(result("a"), result("y", pool="node-2"), devices=[theirs, ours, far])
    found = devices(raw, READY)
    assert found[:2] == [theirs, far]
    assert found[2]["conditions"][0] == health
    assert [each["type"] for each in found[2]["conditions"]] == ["Healthy", "Ready"]
    assert found[2]["networkData"] == {"ips": []}


def test_an_entry_of_ours_for_what_is_not_allocated_goes() -> None:
    stale = {"driver": DRIVER, "pool": NODE, "device": "old", "conditions": []}
    assert [each["device"] for each in devices(claim(result("a"), devices=[stale]), READY)] == ["a"]


def test_nothing_to_say() -> None:
    assert reported(claim(result("x", driver="other")), READY) is None
    assert reported({"metadata": {"uid": "uid-1"}}, READY) is None
    assert reported({"metadata": {"uid": "uid-1"}, "status": {"allocation": {}}}, READY) is None
    other = claim(result("a"))
    other["metadata"]["uid"] = "uid-2"
    assert reported(other, READY) is None, "another claim of the same name"
