"""What each shipped machine looks like to the scheduler and to containers, written down.

The files in ``golden/`` are read by people in review; after a change that is meant, ``UPDATE_GOLDEN=1`` writes them
anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from dra_common.model import Device, Version
from dra_common.simulate import SimulatedHost
from gaudi_driver.driver import GaudiDriver
from gaudi_driver.simulation import SIMULATION
from machines import folder, machines

GOLDEN = Path(__file__).parent / "golden"
DRIVER = GaudiDriver()
NAMES = sorted(SIMULATION.profiles)


@pytest.fixture(params=NAMES)
def machine(request: pytest.FixtureRequest) -> Iterator[tuple[str, SimulatedHost]]:
    with machines(SIMULATION) as start:
        yield request.param, start(request.param)


def as_seen(host: SimulatedHost) -> dict[str, Any]:
    found = DRIVER.discover(host)
    root = str(folder(host))
    return {
        "problems": [line.replace(root, "") for line in found.problems],
        "devices": {device.name: published(device) for device in DRIVER.publish(found.hardware).devices},
        "containers": {
            name: nodes(DRIVER.static_edits(gaudi, "/dev")) for name, gaudi in found.hardware.items()
        },
    }


def published(device: Device) -> dict[str, Any]:
    attributes = {
        name: value.value if isinstance(value, Version) else value
        for name, value in device.attributes.items()
    }
    return {
        "attributes": attributes,
        "capacity": {name: str(amount.value) for name, amount in device.capacity.items()},
        "taints": [f"{taint.key}={taint.value}:{taint.effect}" for taint in device.taints],
    }


def nodes(edits: Any) -> dict[str, list[str]]:
    return {kind: [node["path"] for node in asdict(each)["device_nodes"]] for kind, each in edits.items()}


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
