"""An operator's commands on a node where the real driver serves, or died."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest
from dra_common.model import ClaimRef
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from gpu_nodes import allocated, assert_no_surprise, gpu_cli, names, refusal, running


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
