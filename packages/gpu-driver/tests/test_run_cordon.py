"""``devices cordon`` and ``uncordon`` beside the real driver, and without one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from dra_common.testing.allocator import Allocation, Unsatisfiable
from dra_common.testing.node import SimulatedNode
from driver_nodes import assert_no_surprise, names, taints
from gpu_nodes import NAME, allocated, gpu_cli, machine_only, running, spec
from modes_world import B60, FLEX, claim, config, divisible

ANY = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": NAME}}]}}


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with running("two-gpus") as node:
        yield node


def devices(node: SimulatedNode, *arguments: str, machine: bool = True) -> subprocess.CompletedProcess[str]:
    places = [f"--kubelet-plugins-dir={node.plugins}", f"--simulated-root={node.machine}"]
    return gpu_cli("devices", *arguments, *places[: 2 if machine else 1])


def uncordon(node: SimulatedNode, *arguments: str) -> subprocess.CompletedProcess[str]:
    return devices(node, "uncordon", *arguments, machine=False)


def test_no_new_claim_gets_a_cordoned_gpu_and_what_runs_goes_on(node: SimulatedNode) -> None:
    first, second = names(node)
    runs = allocated(node, "runs", first)
    answer = node.prepare(runs)
    said = devices(node, "cordon", first, second, "--reason", "fan 2 is loud")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == f"cordoned {first}\ncordoned {second}\n", "the running driver has answered"
    node.wait(lambda: taints(node, first) == taints(node, second) == ["cordoned"], "the taints")
    (taint,) = next(device for device in node.devices() if device["name"] == second)["taints"]
    assert (taint["value"], taint["effect"]) == ("fan-2-is-loud", "NoSchedule")
    waits = node.create_claim("waits", ANY)
    refused = node.allocate(waits)
    assert isinstance(refused, Unsatisfiable)
    assert "cordoned" in str(refused)
    assert node.prepare(runs) == answer
    assert uncordon(node, second).stdout == f"uncordoned {second}\n"
    node.wait(lambda: not taints(node, second), "the end of the taint")
    found = node.allocate(waits)
    assert isinstance(found, Allocation)
    assert [device.device for device in found.devices] == [second]
    assert taints(node, first) == ["cordoned"]
    assert_no_surprise(node)


def test_a_cordon_survives_a_kill_and_ends_only_when_it_is_taken_back(node: SimulatedNode) -> None:
    first, _ = names(node)
    devices(node, "cordon", first)
    node.kill_driver()
    node.start_driver()
    node.wait(lambda: taints(node, first) == ["cordoned"], "the taint")
    assert uncordon(node, first).returncode == 0
    node.wait(lambda: not taints(node, first), "the end of the taint")
    assert not list((node.state / "cordoned").glob("[!.]*"))


def test_without_a_driver_it_counts_from_the_next_start_on(node: SimulatedNode) -> None:
    first, _ = names(node)
    node.stop_driver()
    said = devices(node, "cordon", first)
    assert (said.returncode, said.stdout) == (
        0,
        f"cordoned {first}; no driver answers on this node, it counts as soon as one runs\n",
    )
    node.start_driver()
    node.wait(lambda: taints(node, first) == ["cordoned"], "the taint")


def test_the_list_of_devices_shows_it(node: SimulatedNode) -> None:
    first, second = names(node)
    devices(node, "cordon", second, "--reason=bad")
    listed = {each["name"]: each["taints"] for each in json.loads(devices(node, "--json").stdout)}
    assert listed == {first: [], second: [f"{NAME}/cordoned=bad:NoSchedule"]}
    assert f"{NAME}/cordoned" in devices(node).stdout.splitlines()[2]


def test_whoever_takes_out_a_gpu_takes_out_all_parts_of_it() -> None:
    """A whole GPU out of use means that nobody new gets a part of it; of its parts each can be taken out alone."""
    pf, mode, other = B60, f"{B60}-vf2", f"{B60}-vf4"
    with divisible() as node:
        runs = claim(node, "runs", "vf2")
        devices(node, "cordon", mode, "--reason=slow")
        node.wait(lambda: taints(node, mode) == ["cordoned"], "the mode's taint")
        assert taints(node, pf) == taints(node, other) == []
        devices(node, "cordon", pf, "--reason=fan")
        node.wait(lambda: taints(node, pf) == taints(node, other) == ["cordoned"], "the taints")
        values = {
            device["name"]: device["taints"][0]["value"] for device in node.devices() if device.get("taints")
        }
        assert values.items() >= {pf: "fan", other: "fan", mode: "slow"}.items()
        assert FLEX not in values
        assert node.prepare(runs), "what was allocated before goes on"
        refused = node.allocate(
            node.create_claim("waits", spec('device.attributes["gpu.intel.com"].model == "B60"'))
        )
        assert isinstance(refused, Unsatisfiable)
        listed = json.loads(devices(node, "--json", config(node.root)).stdout)
        marked = {each["name"]: each["taints"] for each in listed}
        assert marked[other] == marked[pf] == [f"{NAME}/cordoned=fan:NoSchedule"]
        assert marked[mode] == [f"{NAME}/cordoned=slow:NoSchedule"]
        uncordon(node, pf)
        node.wait(lambda: taints(node, pf) == taints(node, other) == [], "the end of the taints")
        assert taints(node, mode) == ["cordoned"]


def test_a_gpu_s_cordon_is_its_virtual_functions_too() -> None:
    with running("battlemage-pro") as node:
        pf = "0000-18-00-0-0xe212"
        vfs = [name for name in names(node) if name.startswith("0000-18-00-") and name != pf]
        devices(node, "cordon", vfs[0])
        node.wait(lambda: taints(node, vfs[0]) == ["cordoned"], "the taint")
        assert "cordoned" not in (*taints(node, pf), *taints(node, vfs[1]))
        devices(node, "cordon", pf)
        node.wait(lambda: all("cordoned" in taints(node, name) for name in (pf, *vfs)), "the taints")
        assert {name for name in names(node) if "cordoned" in taints(node, name)} == {pf, *vfs}


def test_one_wrong_name_and_nothing_is_done(node: SimulatedNode) -> None:
    first, second = names(node)
    said = devices(node, "cordon", first, "card0")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == (
        f"gpu-driver: device card0 is not on this node: nothing was done (this node has {first}, {second})\n"
    )
    said = uncordon(node, first)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == (
        f"gpu-driver: device {first} is not cordoned: nothing was done (this node has cordons of none)\n"
    )
    assert not (node.state / "cordoned").exists()


def test_a_wrong_folder_is_refused_since_nobody_would_see_the_cordon_there() -> None:
    with machine_only("two-gpus") as node:
        said = devices(node, "cordon", "0000-9a-00-0-0xe211")
        assert said.returncode == 2
        assert "the driver has never run with this folder" in said.stderr
        assert not node.state.exists()
