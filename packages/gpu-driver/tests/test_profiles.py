"""What each shipped machine looks like to the scheduler and to containers, written down.

The files in ``golden/`` are read by people in review; after a change that is meant, ``UPDATE_GOLDEN=1`` writes them
anew.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from dra_common.model import Device, Quantity, Version
from dra_common.simulate import SimulatedHost, Simulator, find_profile
from gpu_driver.driver import GpuDriver
from gpu_driver.simulation import SIMULATION

GOLDEN = Path(__file__).parent / "golden"
DRIVER = GpuDriver()
# 72 devices are told from one another in test_simulation; nobody would read 2,000 lines.
NAMES = sorted(set(SIMULATION.profiles) - {"large"})


@pytest.fixture(params=NAMES)
def machine(request: pytest.FixtureRequest) -> Iterator[tuple[str, SimulatedHost]]:
    root = Path(tempfile.mkdtemp(prefix="gpu"))
    with Simulator(SIMULATION, find_profile(SIMULATION, request.param), root):
        yield request.param, SimulatedHost(root, dev_root="/dev")
    shutil.rmtree(root)


def as_seen(host: SimulatedHost) -> dict[str, Any]:
    found = DRIVER.discover(host)
    root = str(Path(host.sysfs.root).parent)
    seen = DRIVER.publish(found.hardware)
    return {
        "problems": [line.replace(root, "") for line in found.problems],
        "devices": {device.name: published(device) for device in seen.devices},
        "counters": {each.name: counters(each.counters) for each in seen.counter_sets},
        "containers": {name: nodes(DRIVER.static_edits(gpu, "/dev")) for name, gpu in found.hardware.items()},
    }


def published(device: Device) -> dict[str, Any]:
    attributes = {
        name: value.value if isinstance(value, Version) else value
        for name, value in device.attributes.items()
    }
    capacity = {name: str(amount.value) for name, amount in device.capacity.items()}
    return {
        "attributes": attributes,
        "capacity": capacity,
        "taints": [f"{taint.key}={taint.value}:{taint.effect}" for taint in device.taints],
        **{f"takes of {use.counter_set}": counters(use.counters) for use in device.consumes},
    }


def counters(found: Mapping[str, Quantity]) -> dict[str, str]:
    return {name: str(amount) for name, amount in found.items()}


def nodes(edits: Any) -> dict[str, list[str]]:
    return {
        kind: [node["path"] for node in asdict(each)["device_nodes"]]
        + [mount["container_path"] for mount in asdict(each)["mounts"]]
        for kind, each in edits.items()
    }


def test_a_machine_looks_as_written_down(machine: tuple[str, SimulatedHost]) -> None:
    name, host = machine
    seen = as_seen(host)
    file = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(seen, indent=2) + "\n")
    expected = json.loads(file.read_text())
    assert seen == expected
    # The order is a promise, too.
    assert list(seen["devices"]) == list(expected["devices"])


def test_nothing_is_written_down_of_machines_that_are_gone() -> None:
    assert sorted(file.stem for file in GOLDEN.glob("*.json")) == NAMES
