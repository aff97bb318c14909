"""The real driver takes over from Intel's Go driver for Gaudi: its claims, its CDI file, and only once it is gone."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from typing import Any

import go_nodes
import pytest
from dra_common.model import ClaimRef
from dra_common.testing.node import SimulatedNode
from driver_nodes import assert_no_surprise, container, host_paths, lines, reboot, refusal
from gaudi_nodes import NODE, allocated, machine_only, program
from go_nodes import everything, go_driver, ids, preview, waiting

A, B, C = (f"0000-{bus}-00-0-0x1020" for bus in ("43", "44", "1a"))
"""Numbers 0, 1, 2; places 0, 1, 3."""
LOST = "11111111-0000-4000-8000-000000000001"


def devices(uid: str, *names: str, request: str = "gaudi") -> list[dict[str, Any]]:
    """A claim's devices as that driver writes them: the first has the claim's id beside its own."""
    return [
        {
            "Requests": [request],
            "PoolName": NODE,
            "DeviceName": name,
            "CDIDeviceIDs": [
                f"intel.com/gaudi={name}",
                *([f"intel.com/gaudi={uid}"] if name == names[0] else []),
            ],
            "Metadata": None,
            "ShareID": None,
        }
        for name in names
    ]


def as_map(claims: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The checkpoint of all its releases."""
    return {uid: {"Err": None, "Devices": found} for uid, found in claims.items()}


def as_versioned(claims: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The checkpoint as its sister for GPUs has it."""
    prepared = {
        uid: {"PreparedDevices": [{"AdminAccess": False, "KubeletpluginDevice": one} for one in found]}
        for uid, found in claims.items()
    }
    kind = {"kind": "PreparedClaimsCheckpoint", "apiVersion": "checkpoint.gaudi.intel.com/v1"}
    return {**kind, "PreparedClaims": prepared}


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with machine_only("gaudi2-hls") as node:
        yield node


def expect(node: SimulatedNode, answer: Any, numbers: str, modules: str) -> None:
    """What the claim's containers are started with now."""
    edits = container(node, answer, "gaudi")
    assert (edits.env["HABANA_VISIBLE_DEVICES"], edits.env["HABANA_VISIBLE_MODULES"]) == (numbers, modules)
    assert edits.env["HL_VISIBLE_DEVICES"] == ",".join(
        f"/dev/accel/accel{each}" for each in numbers.split(",")
    )
    assert len(edits.hooks) == 1
    paths = host_paths(edits.device_nodes)
    assert len(paths) == 3 * len(numbers.split(","))
    assert all(path.startswith(f"{node.machine}/dev/") for path in paths)


@pytest.mark.defect(4)
@pytest.mark.parametrize("checkpoint", [as_map, as_versioned])
def test_from_the_go_driver_to_the_last_unprepare(node: SimulatedNode, checkpoint: Any) -> None:
    work, look = allocated(node, "work", C, A), allocated(node, "look", B)
    claims = {work.uid: devices(work.uid, C, A), look.uid: devices(look.uid, B)}
    path = go_nodes.leave(node, checkpoint(claims), (A, B, C))
    node.start_driver()
    node.wait_published()
    answer = node.prepare(work)
    assert ids(answer) == [f"intel.com/gaudi={name}" for name in (C, work.uid, A)]
    assert [device.device for device in answer] == [C, A]
    expect(node, answer, "2,0", "3,0")
    looked = node.prepare(look)
    expect(node, looked, "1", "1")
    # Who has it keeps it; a new claim gets another one, under ids of its own.
    assert "is held by claim default/work" in refusal(node, allocated(node, "thief", A))
    other = allocated(node, "new", "0000-19-00-0-0x1020")
    assert ids(node.prepare(other)) == [
        f"intel.com/gaudi={other.uid}-0000-19-00-0-0x1020",
        f"intel.com/gaudi={other.uid}",
    ]
    node.unprepare(other)
    node.unprepare(look)
    expect(node, answer, "2,0", "3,0")
    node.unprepare(work)
    assert node.leftovers() == []
    assert list(node.static_cdi.iterdir()) == []
    assert not path.exists()
    assert (node.state / "preparedClaims.json.adopted-1").exists()
    assert_no_surprise(node, ["thief"])


@pytest.mark.defect(4)
def test_ids_resolve_after_a_restart_and_a_reboot_with_the_numbers_of_now(node: SimulatedNode) -> None:
    work = allocated(node, "work", C, A)
    go_nodes.leave(node, as_map({work.uid: devices(work.uid, C, A)}), (A, B, C))
    node.start_driver()
    answer = node.prepare(work)
    node.kill_driver()
    expect(node, answer, "2,0", "3,0")
    node.start_driver()
    assert node.prepare(work) == answer
    expect(node, answer, "2,0", "3,0")
    assert sum("1 claims adopted" in line for line in lines(node)) == 1
    node.stop_driver()
    reboot(node)
    node.start_driver()
    assert node.prepare(work) == answer
    found = {device["name"]: device["hardware"]["index"] for device in program.devices(node)}
    assert (found[C], found[A]) != (2, 0)
    expect(node, answer, f"{found[C]},{found[A]}", "3,0")
    node.unprepare(work)
    assert node.leftovers() == []


def test_claims_that_cannot_be_adopted_are_told_and_the_driver_serves(node: SimulatedNode) -> None:
    work, gone = allocated(node, "work", B), "0000-77-00-0-0x1020"
    claims = {work.uid: devices(work.uid, B), LOST: devices(LOST, gone)}
    go_nodes.leave(node, as_map(claims), (B, gone))
    node.start_driver()
    expect(node, node.prepare(work), "1", "1")
    assert sum(f"claim not adopted: device {gone} is not on this node" in line for line in lines(node)) == 1
    node.unprepare(ClaimRef("default", "lost", LOST))
    node.unprepare(work)


def test_a_file_cut_off_by_a_crash_keeps_nobody_from_starting(node: SimulatedNode) -> None:
    path = go_nodes.leave(node, as_map({LOST: devices(LOST, A)}), (A,))
    path.write_bytes(path.read_bytes()[:100])
    node.start_driver()
    work = allocated(node, "work", A)
    assert f"intel.com/gaudi={work.uid}" in ids(node.prepare(work))
    assert (node.state / "preparedClaims.json.corrupt-1").exists()
    assert sum("no claim adopted" in line and " ERROR " in line for line in lines(node)) == 1


def test_nothing_is_registered_or_taken_over_while_it_answers(node: SimulatedNode) -> None:
    work = allocated(node, "work", C, A)
    path = go_nodes.leave(node, as_map({work.uid: devices(work.uid, C, A)}), (A, C))
    with go_driver(node) as go:
        before = everything(node)
        said = preview(program, node)
        assert f"{work.uid}  adopt" in said.stdout
        assert f"another driver serves {node.driver} on this node" in said.stderr
        assert everything(node) == before
        node.start_driver(wait=False)
        node.wait(lambda: waiting(node), "the driver to wait")
        assert path.exists()
        assert (node.slices(), node.leftovers()) == ([], [])
        assert [each.endpoint for each in node.kubelet.registered] == [str(node.state / "dra.sock")]
        go.send_signal(signal.SIGTERM)
        go.wait()
        node.wait_published()
    node.wait(lambda: any(each.connected for each in node.kubelet.registered), "the registration")
    assert not path.exists()
    expect(node, node.prepare(work), "2,0", "3,0")
    node.unprepare(work)
    assert node.leftovers() == []
