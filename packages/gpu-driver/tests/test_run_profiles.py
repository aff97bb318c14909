"""The real driver on every shipped machine: from registration to nothing left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_machines import check_preview
from dra_common.testing.allocator import Allocation
from dra_common.testing.node import SimulatedNode
from driver_nodes import assert_no_surprise, host_paths, refusal
from gpu_driver.simulation import SIMULATION
from gpu_nodes import NODE, allocated, by_address, program, running

KNOWN_TROUBLE = {
    # This machine is made of trouble: a GPU that did not start, two that keep their memory to themselves.
    "unbound-and-vfio": ("0000:25:00.0", "0000:24:00.0", "0000:26:00.0"),
}


@pytest.fixture(scope="module", params=sorted(SIMULATION.profiles))
def node(request: pytest.FixtureRequest) -> Iterator[SimulatedNode]:
    with running(request.param) as node:
        yield node


def test_slices_prints_exactly_what_run_publishes(node: SimulatedNode) -> None:
    check_preview(program, node)


@pytest.mark.defect(1)
@pytest.mark.scenario(16, 41, 44)
def test_from_registration_to_nothing_left(node: SimulatedNode) -> None:
    published = {device["name"]: device for device in node.devices()}
    found = {device["name"]: device for device in program.devices(node)}
    assert list(published) == list(found)
    usable = [name for name, device in found.items() if device["hardware"]["usable"]][:12]
    # A claim each, by PCI address, all prepared at the same time.
    answers = {}
    for name in usable:
        ref = node.create_claim(f"for-{name}", by_address(found[name]["hardware"]["bdf"]))
        if not isinstance(node.allocate(ref), Allocation):
            # A PF and its VFs exclude one another, which its own tests look at.
            assert published[name]["consumesCounters"]
            node.delete_claim(ref)
            continue
        answers[name] = ref, node.prepare(ref)
    for name, (ref, answer) in answers.items():
        (device,) = answer
        assert (device.device, device.pool, device.requests) == (name, NODE, ("gpu",))
        assert device.cdi_ids == (f"intel.com/gpu={ref.uid}-{name}",)
        expect_container(node, found[name]["hardware"], node.resolve(answer))
    assert len(list(node.cdi.iterdir())) == len(answers)
    # What the scheduler is kept from is refused, and leaves nothing; the others get a kernel driver for the claim.
    for name in set(found) - set(usable) if len(found) < 12 else ():
        ref = allocated(node, f"other-{name}", name)
        if published[name].get("taints"):
            assert f"device {name} cannot be prepared" in refusal(node, ref)
        else:
            assert any("card" in path for path in node.resolve(node.prepare(ref)).device_nodes)
            node.unprepare(ref)
            (now,) = (device for device in program.devices(node) if device["name"] == name)
            assert now["hardware"]["driver"] == found[name]["hardware"]["driver"]
    node.api.pause()
    for ref, _ in answers.values():
        node.unprepare(ref)
    node.api.resume()
    assert node.leftovers() == []
    node.wait(
        lambda: {device["name"]: device for device in node.devices()} == published, "the slices of before"
    )
    slices = node.slices()
    assert node.stop_driver() == 0
    assert not [*node.state.glob("*.sock"), *node.registry.glob("*.sock")]
    assert node.slices() == slices
    assert_no_surprise(node, (*KNOWN_TROUBLE.get(node.profile, ()), "cannot be prepared"))


def expect_container(node: SimulatedNode, gpu: dict[str, Any], edits: Any) -> None:
    dev = f"{node.machine}/dev"
    nodes = [f"dri/{gpu['card']}", *([f"dri/{gpu['render']}"] if gpu["render"] else [])]
    assert list(edits.device_nodes) == [f"/dev/{path}" for path in nodes]
    assert host_paths(edits.device_nodes) == [f"{dev}/{path}" for path in nodes]
    links = [f"dri/by-path/pci-{gpu['bdf']}-{kind}" for kind in ("card", "render") if gpu[kind]]
    mounts = {path: mount["hostPath"] for path, mount in edits.mounts.items()}
    (metadata,) = (path for path in mounts if path.endswith("/gpu.intel.com-metadata.json"))
    del mounts[metadata]
    assert mounts == {f"/dev/{path}": f"{dev}/{path}" for path in links}
    for path in (*nodes, *links):
        assert Path(dev, path).exists()
    assert not edits.hooks
    assert not edits.env
