"""Reports over real HTTP, to an API server that knows whose devices may be told of."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dra_common.claimstatus import Report, Writer
from dra_common.cluster import connect
from dra_common.model import ClaimRef
from dra_common.pacing import Backoff
from dra_common.telemetry import CLAIM_STATUSES
from dra_common.testing.apiserver import FakeApiServer
from dra_common.testing.ledger import Ledger

DRIVER, NODE = "x.example.com", "node-1"
STATUS = "/status"


class World:
    """An API server, and a writer for it."""

    def __init__(self, api: FakeApiServer, root: Path, stack: ExitStack) -> None:
        self.api, self.ledger, self._root, self._stack = api, Ledger(), root, stack
        self.facts: Mapping[Any, Mapping[str, Any]] | None = {(NODE, "a", None): {"deviceNodes": ["/dev/a"]}}

    def start(self) -> Writer:
        client = connect(str(self.api.kubeconfig(self._root / "kubeconfig")))
        self._stack.callback(client.close)
        writer = Writer(
            client,
            driver=DRIVER,
            node=NODE,
            facts=lambda _: self.facts,
            counts=self.ledger,
            backoff=Backoff(0.02, 0.1),
        )
        writer.start()
        self._stack.callback(writer.stop)
        return writer

    def claim(self, name: str) -> ClaimRef:
        result = {"request": "r", "driver": DRIVER, "pool": NODE, "device": "a"}
        spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": DRIVER}}]}}
        made = self.api.create(
            "ResourceClaim",
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": spec,
                "status": {"allocation": {"devices": {"results": [result]}}},
            },
        )
        return ClaimRef("default", name, made["metadata"]["uid"])

    def told(self, ref: ClaimRef) -> list[dict[str, Any]]:
        found = self.api.get("ResourceClaim", ref.name, ref.namespace) or {}
        devices: list[dict[str, Any]] = found.get("status", {}).get("devices", [])
        return devices

    def condition(self, ref: ClaimRef) -> dict[str, Any]:
        (device,) = self.told(ref)
        (condition,) = device["conditions"]
        found: dict[str, Any] = condition
        return found

    def wait(self, result: str, count: int = 1) -> None:
        key = f"{CLAIM_STATUSES.name}{{{result}}}"
        self.api.wait_for(lambda: self.ledger.counts[key] >= count, 60, f"{count} {result}")


def ready(ref: ClaimRef) -> Report:
    return Report(ref, ready=True, reason="Prepared", message="fine")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeApiServer() as api, ExitStack() as stack:
        yield World(api, tmp_path, stack)


def test_a_report_is_written_once(world: World) -> None:
    writer, ref = world.start(), world.claim("train")
    writer.tell(ready(ref))
    world.wait("written")
    (device,) = world.told(ref)
    assert device["data"] == {"deviceNodes": ["/dev/a"]}
    assert (device["driver"], device["pool"], device["device"]) == (DRIVER, NODE, "a")
    assert world.condition(ref)["status"] == "True"
    writer.tell(ready(ref))
    world.wait("unchanged")


def test_why_it_failed_is_told_and_later_that_it_did_not(world: World) -> None:
    writer, ref = world.start(), world.claim("train")
    writer.tell(Report(ref, ready=False, reason="DeviceHeld", message="held by claim default/other"))
    world.wait("written")
    assert world.condition(ref)["reason"] == "DeviceHeld"
    assert "data" not in world.told(ref)[0]
    writer.tell(ready(ref))
    world.wait("written", 2)
    assert world.condition(ref)["status"] == "True"


def test_a_claim_that_changes_meanwhile_is_read_again(world: World) -> None:
    writer, ref = world.start(), world.claim("train")
    world.api.faults.add(status=409, method="PUT", path=STATUS, count=3)
    writer.tell(ready(ref))
    world.wait("written")
    assert world.condition(ref)["status"] == "True"


def test_one_that_never_holds_still_is_dropped_and_others_are_written(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    writer, ref, other = world.start(), world.claim("train"), world.claim("other")
    world.api.faults.add(status=409, method="PUT", path="train/status")
    writer.tell(ready(ref))
    world.wait("dropped")
    writer.tell(ready(other))
    world.wait("written")
    assert world.told(ref) == []
    assert len([line for line in caplog.messages if "was not written" in line]) == 1


def test_without_the_right_one_line_says_so_and_nothing_more_is_sent(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    writer, ref, other = world.start(), world.claim("train"), world.claim("other")
    world.api.faults.add(status=403, method="PUT", path=STATUS)
    writer.tell(ready(ref))
    world.wait("dropped")
    world.api.wait_for(lambda: caplog.messages, 60, "the line")
    world.api.faults.clear()
    writer.tell(ready(other))
    writer.stop()
    assert world.told(other) == []
    assert len([line for line in caplog.messages if "until the next start" in line]) == 1


def test_what_waits_is_written_when_the_api_server_is_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    writer, ref, other = world.start(), world.claim("train"), world.claim("other")
    world.api.faults.add(status=503)
    writer.tell(ready(ref))
    writer.tell(Report(other, ready=False, reason="LockTimeout", message="old"))
    world.wait("failed", 2)
    writer.tell(ready(other))
    world.api.faults.clear()
    world.wait("written", 2)
    assert world.condition(ref)["status"] == world.condition(other)["status"] == "True"
    assert len([line for line in caplog.messages if "waits for the API server" in line]) == 1


def test_what_is_over_is_not_written(world: World) -> None:
    writer, ref = world.start(), world.claim("train")
    world.facts = None
    writer.tell(ready(ref))
    world.wait("over")
    world.facts = {}
    writer.tell(ready(ClaimRef("default", "gone", "uid-gone")))
    world.wait("over", 2)
    writer.tell(ready(ClaimRef("default", "train", "uid-of-another")))
    world.wait("unchanged")
    assert world.told(ref) == []


def test_telling_never_waits_and_the_newest_counts(world: World) -> None:
    writer, ref = world.start(), world.claim("train")
    world.api.pause()
    writer.tell(Report(world.claim("first"), ready=False, reason="LockTimeout", message="x"))
    for number in range(2000):
        writer.tell(Report(ref, ready=False, reason="LockTimeout", message=str(number)))
        writer.tell(
            Report(ClaimRef("default", f"c{number}", f"uid-{number}"), ready=False, reason="X", message="")
        )
    assert len(writer._waiting) == 512
    forgotten = next(iter(writer._waiting))
    writer.forget(forgotten)
    assert forgotten not in writer._waiting
    writer.tell(ready(ref))
    assert threading.active_count() < 50
    world.api.resume()
    world.api.wait_for(lambda: world.told(ref), 60, "the newest report")
    assert world.condition(ref)["status"] == "True"


def test_a_server_that_does_not_store_it_is_not_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeApiServer(feature_gates={"DRAResourceClaimDeviceStatus": False}) as api, ExitStack() as stack:
        world = World(api, tmp_path, stack)
        writer = world.start()
        writer.tell(ready(world.claim("train")))
        world.wait("dropped")
        assert "DRAResourceClaimDeviceStatus" in caplog.text
