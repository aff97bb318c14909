"""The real driver takes over from Intel's Go driver: its claims, its CDI file, and only once it is gone."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import go_nodes
import pytest
from dra_common.model import ClaimRef
from dra_common.testing.node import SimulatedNode
from driver_nodes import assert_no_surprise, host_paths, is_alive, lines, reboot, refusal
from go_nodes import everything, go_driver, ids, preview, waiting
from gpu_nodes import NAME, NODE, allocated, machine_only, program

FLEX, B60 = "0000-4d-00-0-0x56c0", "0000-9a-00-0-0xe211"
VFIO = "0000-22-00-0-0x56c0"


def claim(device: str, *more: str, request: str = "gpu", admin: bool = False) -> dict[str, Any]:
    """One claim as the Go driver's checkpoint has it."""
    given = {
        "Requests": [request],
        "PoolName": NODE,
        "DeviceName": device,
        "CDIDeviceIDs": [f"intel.com/gpu={device}", *more],
        "Metadata": None,
        "ShareID": None,
    }
    return {"PreparedDevices": [{"AdminAccess": admin, "KubeletpluginDevice": given}]}


def leave(node: SimulatedNode, claims: Mapping[str, Any], static: Sequence[str] = (FLEX, B60)) -> Path:
    """What the Go driver leaves on a node: its checkpoint and its CDI file."""
    content = {
        "kind": "PreparedClaimsCheckpoint",
        "apiVersion": "checkpoint.gpu.intel.com/v1",
        "PreparedClaims": claims,
    }
    return go_nodes.leave(node, content, static)


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with machine_only("two-gpus") as node:
        yield node


def test_from_the_go_driver_to_the_last_unprepare(node: SimulatedNode) -> None:
    work, look = allocated(node, "work", FLEX), allocated(node, "look", FLEX, adminAccess=True)
    mei = "intel.com/gpu-mei=mei0"
    leave(node, {work.uid: claim(FLEX), look.uid: claim(FLEX, mei, request="monitor", admin=True)})
    node.start_driver()
    node.wait_published()
    answer = node.prepare(work)
    assert (ids(answer), answer[0].device, answer[0].requests) == ([f"intel.com/gpu={FLEX}"], FLEX, ("gpu",))
    assert any("/dev/dri/card" in path for path in host_paths(node.resolve(answer).device_nodes))
    assert "/dev/stale" not in host_paths(node.resolve(answer).device_nodes)
    watched = node.prepare(look)
    assert ids(watched) == [f"intel.com/gpu={FLEX}", mei]
    assert len(host_paths(node.resolve(watched).device_nodes)) == 3
    # Who has it keeps it; a new claim gets the other one, under an id of its own.
    assert "is held by claim default/work" in refusal(node, allocated(node, "thief", FLEX))
    other = allocated(node, "new", B60)
    assert ids(node.prepare(other)) == [f"intel.com/gpu={other.uid}-{B60}"]
    node.unprepare(other)
    node.unprepare(work)
    assert node.resolve(watched).device_nodes
    assert list(node.static_cdi.iterdir()) != []
    node.unprepare(look)
    assert node.leftovers() == []
    assert list(node.static_cdi.iterdir()) == []
    assert (node.state / "preparedClaims.json.adopted-1").exists()
    assert_no_surprise(node, ["thief"])


def test_it_is_done_once_and_a_restart_answers_the_same(node: SimulatedNode) -> None:
    work = allocated(node, "work", FLEX)
    path = leave(node, {work.uid: claim(FLEX)})
    node.start_driver()
    before = node.prepare(work)
    node.kill_driver()
    node.start_driver()
    assert node.prepare(work) == before
    assert node.resolve(before).device_nodes
    assert not path.exists()
    assert sum("1 claims adopted" in line for line in lines(node)) == 1
    node.unprepare(work)


def test_after_a_reboot_the_same_ids_mean_the_nodes_of_that_boot(node: SimulatedNode) -> None:
    work = allocated(node, "work", FLEX)
    leave(node, {work.uid: claim(FLEX)})
    node.start_driver()
    before = node.prepare(work)
    paths = host_paths(node.resolve(before).device_nodes)
    node.stop_driver()
    reboot(node)
    node.start_driver()
    assert node.prepare(work) == before
    after = host_paths(node.resolve(before).device_nodes)
    # Probed in another order, the cards have other numbers.
    assert sorted(after) != sorted(paths)
    assert "/dev/stale" not in after
    node.unprepare(work)


def test_a_virtual_machines_gpu_stays_where_it_is(node: SimulatedNode) -> None:
    with machine_only("unbound-and-vfio") as vfio:
        machine = allocated(vfio, "machine", VFIO)
        leave(vfio, {machine.uid: claim(VFIO)}, [VFIO])
        driver = vfio.machine / "sys/bus/pci/devices/0000:22:00.0/driver"
        vfio.start_driver()
        answer = vfio.prepare(machine)
        assert ids(answer) == [f"intel.com/gpu={VFIO}"]
        paths = sorted(host_paths(vfio.resolve(answer).device_nodes))
        assert [path.rpartition("/")[2] for path in paths] == ["iommu", "22", "vfio0", "vfio"]
        assert driver.resolve().name == "vfio-pci"
        vfio.unprepare(machine)
        assert driver.resolve().name == "vfio-pci"
        assert vfio.leftovers() == []


def test_claims_that_cannot_be_adopted_are_told_and_the_driver_serves(node: SimulatedNode) -> None:
    work = allocated(node, "work", B60)
    gone = "0000-77-00-0-0x56c0"
    leave(node, {work.uid: claim(B60), "11111111-0000-4000-8000-000000000001": claim(gone)})
    node.start_driver()
    assert ids(node.prepare(work)) == [f"intel.com/gpu={B60}"]
    assert sum(f"claim not adopted: device {gone} is not on this node" in line for line in lines(node)) == 1
    lost = ClaimRef("default", "lost", "11111111-0000-4000-8000-000000000001")
    node.unprepare(lost)
    node.unprepare(work)


def test_a_file_cut_off_by_a_crash_keeps_nobody_from_starting(node: SimulatedNode) -> None:
    path = leave(node, {"11111111-0000-4000-8000-000000000001": claim(B60)})
    path.write_bytes(path.read_bytes()[:100])
    node.start_driver()
    work = allocated(node, "work", B60)
    assert ids(node.prepare(work)) == [f"intel.com/gpu={work.uid}-{B60}"]
    assert (node.state / "preparedClaims.json.corrupt-1").exists()
    assert sum("no claim adopted" in line and " ERROR " in line for line in lines(node)) == 1


# --------------------------------------------------------------------------- while the Go driver is there


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_while_it_answers_nothing_is_taken_over_and_then_everything(
    node: SimulatedNode, end: signal.Signals
) -> None:
    work = allocated(node, "work", FLEX)
    path = leave(node, {work.uid: claim(FLEX)})
    with go_driver(node) as go:
        node.start_driver(wait=False)
        node.wait(lambda: waiting(node), "the driver to wait")
        # Meanwhile, for longer than a few looks take, somebody asks what would be adopted.
        for _ in range(2):
            assert f"{work.uid}  adopt" in preview(program, node).stdout
        assert path.exists()
        assert node.slices() == []
        assert [each.endpoint for each in node.kubelet.registered] == [str(node.state / "dra.sock")]
        assert node.leftovers() == []
        (line,) = waiting(node)
        assert f"another driver serves {NAME} on this node: its socket {node.state}/dra.sock answers" in line
        assert "remove its DaemonSet (helm uninstall" in line
        go.send_signal(end)
        go.wait()
        node.wait_published()
    node.wait(lambda: any(each.connected for each in node.kubelet.registered), "the registration")
    assert ids(node.prepare(work)) == [f"intel.com/gpu={FLEX}"]
    assert not path.exists()
    assert len(waiting(node)) == 1
    assert sum("no other driver answers any more" in each for each in lines(node)) == 1
    node.unprepare(work)


def test_asked_to_stop_while_it_waits_it_stops(node: SimulatedNode) -> None:
    path = leave(node, {})
    with go_driver(node):
        node.start_driver(wait=False)
        node.wait(lambda: waiting(node), "the driver to wait")
        assert is_alive(node)
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(60) == 0
        assert path.exists()
        assert [each.endpoint for each in node.kubelet.registered] == [str(node.state / "dra.sock")]


# --------------------------------------------------------------------------- the preview


def test_a_dry_run_beside_the_go_driver_says_it_all_and_changes_nothing(node: SimulatedNode) -> None:
    good, bad = "11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002"
    with go_driver(node):
        leave(node, {good: claim(FLEX), bad: claim("0000-77-00-0-0x56c0")})
        before = everything(node)
        table, found = preview(program, node), preview(program, node, "--json", f"--node-name={NODE}")
        assert everything(node) == before
    assert (table.returncode, found.returncode) == (1, 1)
    assert f"another driver serves {NAME} on this node" in table.stderr
    assert "format versioned, written in this boot" in table.stdout
    rows = {line.split()[0]: line.split()[1:] for line in table.stdout.splitlines()[2:]}
    assert rows[good] == ["adopt", FLEX, f"intel.com/gpu={FLEX}"]
    assert " ".join(rows[bad]).endswith("device 0000-77-00-0-0x56c0 is not on this node")
    assert json.loads(found.stdout)["claims"][0] == {
        "uid": good,
        "devices": [FLEX],
        "cdiIds": [f"intel.com/gpu={FLEX}"],
        "verdict": "adopt",
        "why": "",
    }
