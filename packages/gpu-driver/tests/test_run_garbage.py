"""The real driver cleans up while it serves: what is over goes, what may still run stays and is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from dra_common.model import ClaimRef
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import assert_no_surprise, json_lines, names, reboot, refusal
from gpu_nodes import allocated, running

OFTEN = ("--gc-seconds=1", "--logging-format=json")


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with running("two-gpus", *OFTEN) as node:
        yield node


def said(node: SimulatedNode, part: str) -> list[dict[str, Any]]:
    return [line for line in json_lines(node) if part in line["msg"]]


def reads(node: SimulatedNode, ref: ClaimRef) -> int:
    return len([each for each in node.api.requests if each.path.endswith(f"/resourceclaims/{ref.name}")])


def test_a_record_damaged_while_the_driver_serves_is_told_and_all_others_are_served(
    node: SimulatedNode,
) -> None:
    first, second = names(node)
    damaged, other = allocated(node, "damaged", first), allocated(node, "other", second)
    answer = node.prepare(damaged)
    record = node.state / f"claims/{damaged.uid}.json"
    record.write_bytes(record.read_bytes()[:200])
    node.wait(lambda: said(node, "claim record set aside"), "the damage to be told")
    assert node.prepare(other)
    node.unprepare(other)
    # Its container goes on: its device is nobody else's, its CDI file is there for the next start of the container.
    assert "held by claim" in refusal(node, allocated(node, "thief", first))
    assert node.resolve(answer).device_nodes
    node.unprepare(damaged)
    assert node.leftovers() == []
    (line,) = said(node, "claim record set aside")
    assert (line["level"], line["uid"]) == ("error", damaged.uid)


def test_a_claim_deleted_by_force_is_told_once_and_kept_until_the_kubelet_unprepares_it(
    node: SimulatedNode,
) -> None:
    ref = allocated(node, "forced", names(node)[0])
    answer = node.prepare(ref)
    node.delete_claim(ref)
    node.wait(lambda: said(node, "the API server has it no more"), "the loss to be told")
    asked = reads(node, ref)
    node.wait(lambda: reads(node, ref) >= asked + 2, "two more passes")
    (line,) = said(node, "the API server has it no more")
    assert line["level"] == "warning"
    assert f"`claims release {ref.uid}`" in line["msg"]
    assert node.resolve(answer).device_nodes
    assert "held by claim" in refusal(node, allocated(node, "thief", names(node)[0]))
    node.unprepare(ref)
    assert node.leftovers() == []


def test_after_a_reboot_a_claim_that_was_deleted_meanwhile_frees_its_device(node: SimulatedNode) -> None:
    device = names(node)[0]
    gone, kept = allocated(node, "gone", device), allocated(node, "kept", names(node)[1])
    for ref in (gone, kept):
        node.prepare(ref)
    node.kill_driver()
    reboot(node)
    node.delete_claim(gone)
    node.start_driver(*OFTEN)
    wait_until(
        lambda: not [name for name in node.leftovers() if gone.uid in name], "the claim to go", seconds=60
    )
    after = allocated(node, "after", device)
    assert node.prepare(after)
    assert "held by claim" in refusal(node, allocated(node, "thief", names(node)[1]))
    for ref in (after, kept):
        node.unprepare(ref)
    assert node.leftovers() == []
    assert_no_surprise(node)


@pytest.mark.parametrize("mood", [403, 404, "garbage"])
def test_without_the_api_servers_definite_word_nothing_is_removed(
    node: SimulatedNode, mood: int | Literal["garbage"]
) -> None:
    device = names(node)[0]
    ref = allocated(node, "gone", device)
    node.prepare(ref)
    node.kill_driver()
    reboot(node)
    node.delete_claim(ref)
    fault = node.api.faults.add(method="GET", path="resourceclaims", status=mood)
    node.start_driver(*OFTEN)
    node.wait(lambda: fault.hits > 2, "three attempts")
    assert (node.state / f"claims/{ref.uid}.json").exists()
    assert (node.state / "held" / device).is_symlink()
    node.api.faults.clear()
    wait_until(lambda: node.leftovers() == [], "the claim to go", seconds=60)
