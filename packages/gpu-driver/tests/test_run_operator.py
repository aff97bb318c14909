"""An operator's commands on a node where the real driver serves, or died."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dra_common.model import ClaimRef
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import assert_no_surprise, names, refusal
from gpu_nodes import allocated, gpu_cli, running
from modes_world import configure


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with running("two-gpus") as node:
        yield node


def places(node: SimulatedNode) -> list[str]:
    return [
        f"--kubelet-plugins-dir={node.plugins}",
        f"--cdi-dynamic-root={node.cdi}",
        f"--cdi-root={node.root / 'etc-cdi'}",
        f"--simulated-root={node.machine}",
    ]


def claims(node: SimulatedNode, *arguments: str) -> subprocess.CompletedProcess[str]:
    return gpu_cli("claims", *arguments, *places(node))


def prepared(node: SimulatedNode) -> tuple[ClaimRef, ClaimRef]:
    first, second = (allocated(node, name, device) for name, device in zip("ab", names(node), strict=True))
    for ref in (first, second):
        node.prepare(ref)
    return first, second


def test_damage_under_a_running_driver_is_found_repaired_and_nobody_notices(node: SimulatedNode) -> None:
    first, second = prepared(node)
    answer = node.prepare(first)
    assert claims(node, "verify").stdout == "in order: 2 claims on this node\n"
    (node.cdi / f"intel.com-gpu_{first.uid}.json").write_text("{")
    (node.state / "held" / names(node)[1]).unlink()
    found = claims(node, "verify", "--json")
    assert found.returncode == 1
    findings = {each["kind"]: each["uid"] for each in json.loads(found.stdout)["findings"]}
    assert findings == {"cdi-wrong": first.uid, "hold-missing": second.uid}
    repaired = claims(node, "repair")
    assert (repaired.returncode, repaired.stderr) == (0, "")
    assert repaired.stdout.count("mended: ") == 2
    assert claims(node, "verify").returncode == 0
    assert node.prepare(first) == answer
    assert node.resolve(answer).device_nodes
    assert "held by claim" in refusal(node, allocated(node, "thief", names(node)[1]))
    for ref in (first, second):
        node.unprepare(ref)
    assert node.leftovers() == []
    assert_no_surprise(node, ("held by claim",))


def as_an_older_release_left_it(node: SimulatedNode, name: str, ref: ClaimRef) -> None:
    """Put that release's record and CDI file of a claim in the place of ours."""
    file = node.state / f"claims/{ref.uid}.json"
    boot = json.loads(file.read_text())["record"]["boot_id"]
    text = (Path(__file__).parent / f"golden/older/{name}.json").read_text()
    older = json.loads(
        text.replace("UID", ref.uid).replace("MACHINE", str(node.machine)).replace("BOOT", boot)
    )
    body = json.dumps(older["record"], separators=(",", ":"), sort_keys=True)
    sha = hashlib.sha256(body.encode()).hexdigest()
    file.write_text(json.dumps({"schema": 1, "sha256": sha, "record": older["record"]}))
    (node.cdi / f"intel.com-gpu_{ref.uid}.json").write_text(json.dumps(older["cdi"]) + "\n")
    shutil.rmtree(node.state / "dra-device-metadata" / ref.uid)


@pytest.mark.parametrize("name", ["drm", "vfio"])
def test_what_an_older_release_wrote_is_in_order(node: SimulatedNode, name: str) -> None:
    """It told containers nothing of where their GPUs are, and its records have no word of what came later."""
    device = dict(zip(("drm", "vfio"), names(node), strict=True))[name]
    ref = allocated(node, name, device)
    if name == "vfio":
        configure(node, ref, binding="vfio")
    answer = node.prepare(ref)
    node.kill_driver()
    as_an_older_release_left_it(node, name, ref)
    assert claims(node, "verify").stdout == "in order: 1 claims on this node\n"
    node.start_driver()
    assert claims(node, "verify").stdout == "in order: 1 claims on this node\n"
    # Who starts containers with it again gives them what this release gives.
    assert node.prepare(ref) == answer
    assert any(mount.endswith("-metadata.json") for mount in node.resolve(answer).mounts)
    assert claims(node, "verify").stdout == "in order: 1 claims on this node\n"
    node.unprepare(ref)
    assert node.leftovers() == []


def test_a_node_whose_driver_died_is_repaired_without_one(node: SimulatedNode) -> None:
    first, second = prepared(node)
    node.kill_driver()
    record = node.state / f"claims/{first.uid}.json"
    whole = record.read_bytes()
    record.write_bytes(whole[:100])
    said = claims(node, "repair")
    assert said.returncode == 1
    assert "mended: record" in said.stdout
    assert f"left: the claim's record was set aside as {first.uid}.json.corrupt-1" in said.stdout
    # The administrator has a copy.
    (node.state / f"claims/{first.uid}.json.corrupt-1").write_bytes(whole)
    assert claims(node, "repair").returncode == 0
    assert record.read_bytes() == whole
    node.start_driver()
    assert node.prepare(first)
    for ref in (first, second):
        node.unprepare(ref)
    assert node.leftovers() == []


def ask(node: SimulatedNode, ref: ClaimRef, answer: bytes) -> tuple[int, str]:
    """Release a claim at a terminal, and type an answer to the question."""
    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "gpu_driver", "claims", "release", ref.uid, *places(node)]
    with subprocess.Popen(
        [*command, f"--kubeconfig={node.root / 'kubeconfig'}"],
        stdin=inside,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=SimulatedNode.environment(),
    ) as process:
        os.close(inside)
        os.write(terminal, answer)
        assert process.stdout
        said = process.stdout.read().decode()
        code = process.wait(60)
    os.close(terminal)
    return code, said


def test_a_claim_deleted_by_force_is_released_at_a_terminal_and_its_device_is_free(
    node: SimulatedNode,
) -> None:
    first, second = prepared(node)
    node.delete_claim(first)
    code, said = ask(node, first, b"n\n")
    assert code == 1
    for part in (
        f"default/a (uid {first.uid})",
        "prepared, in this boot",
        names(node)[0],
        "does not have the claim",
    ):
        assert part in said
    assert "keeps the devices" in said
    assert (node.state / f"claims/{first.uid}.json").exists()
    code, said = ask(node, first, b"y\n")
    assert (code, said.endswith("released\n")) == (0, True)
    after = allocated(node, "after", names(node)[0])
    assert node.prepare(after)
    # The kubelet still asks, some day: what is not known is a success.
    node.unprepare(first)
    wait_until(lambda: claims(node, "verify").returncode == 0, "the node to be in order")
    for ref in (second, after):
        node.unprepare(ref)
    assert node.leftovers() == []
