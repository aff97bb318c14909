"""The real driver on every shipped machine: from registration to nothing left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_machines import check_preview
from dra_common.testing.allocator import Allocation
from dra_common.testing.cdi import ResolvedEdits
from dra_common.testing.node import SimulatedNode
from driver_nodes import assert_no_surprise, given, host_paths, refusal
from gaudi_driver.simulation import SIMULATION
from gaudi_nodes import NODE, allocated, by_address, program, running

ILL = ("0000:43:00.0", "0000:44:00.0")
"""Of the machine that is made of trouble: their kernel driver says that they are broken."""


@pytest.fixture(params=sorted(SIMULATION.profiles))
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def node(profile: str) -> Iterator[SimulatedNode]:
    with running(profile) as node:
        yield node


def test_slices_prints_exactly_what_run_publishes_of_devices_that_nobody_watches(profile: str) -> None:
    with running(profile, "--no-health-monitoring") as node:
        check_preview(program, node)


@pytest.mark.defect(1)
@pytest.mark.scenario(16, 41, 44)
def test_from_registration_to_nothing_left(node: SimulatedNode) -> None:
    published = {device["name"]: device for device in node.devices()}
    found = {device["name"]: device["hardware"] for device in program.devices(node)}
    assert list(published) == list(found)
    # A claim each, by PCI address, all prepared at the same time.
    answers = {}
    for name, gaudi in found.items():
        if "taints" in published[name]:
            refused(node, name, gaudi)
            continue
        ref = given(node, f"for-{name}", by_address(gaudi["bdf"]))
        answers[name] = ref, node.prepare(ref)
    assert answers
    for name, (ref, answer) in answers.items():
        (device,) = answer
        assert (device.device, device.pool, device.requests) == (name, NODE, ("gaudi",))
        assert device.cdi_ids == (f"intel.com/gaudi={ref.uid}-{name}", f"intel.com/gaudi={ref.uid}")
        expect_container(node, found[name], node.resolve(answer))
    assert len(list(node.cdi.iterdir())) == len(answers)
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
    names = (gaudi["bdf"].replace(":", "-").replace(".", "-") for gaudi in found.values())
    troubles = [f"{name}-0x1020 is unhealthy" for name in names] if node.profile == "gaudi-broken" else []
    assert_no_surprise(node, (*troubles, "cannot be given to a container"))


def refused(node: SimulatedNode, name: str, gaudi: dict[str, Any]) -> None:
    """The scheduler keeps claims off it; one that comes all the same is refused if there is nothing to give."""
    late = node.create_claim(f"late-{name}", by_address(gaudi["bdf"]))
    assert not isinstance(node.allocate(late), Allocation)
    if gaudi["usable"]:
        assert gaudi["bdf"] in ILL
        return
    why = refusal(node, allocated(node, f"past-{name}", name))
    assert f"device {name} cannot be given to a container" in why
    cause = f"it is bound to {gaudi['driver'] or 'no kernel driver'}"
    assert (cause if gaudi["driver"] != "habanalabs" else "'In device creation'") in why
    assert "delete and re-create the pod" in why


def expect_container(node: SimulatedNode, gaudi: dict[str, Any], edits: ResolvedEdits) -> None:
    nodes = [gaudi[kind] for kind in ("compute", "control", "uverbs") if gaudi[kind]]
    assert list(edits.device_nodes) == [f"/dev/{path}" for path in nodes]
    assert host_paths(edits.device_nodes) == [f"{node.machine}/dev/{path}" for path in nodes]
    assert all(Path(path).exists() for path in host_paths(edits.device_nodes))
    (metadata,) = edits.mounts
    assert metadata.endswith("/gaudi.intel.com-metadata.json")
    (hook,) = edits.hooks
    assert (hook["hookName"], hook["path"]) == ("createRuntime", "/usr/bin/habana-container-hook")
    expected = {
        "HABANA_VISIBLE_DEVICES": str(gaudi["index"]),
        "HL_VISIBLE_DEVICES": f"/dev/{gaudi['compute']}",
    }
    if gaudi["module_id"] is not None:
        expected["HABANA_VISIBLE_MODULES"] = str(gaudi["module_id"])
    assert edits.env == expected
