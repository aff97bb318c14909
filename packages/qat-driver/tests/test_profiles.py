"""What each shipped machine looks like, written down.

The files in ``golden/`` are read by people in review; after a change that is meant, ``UPDATE_GOLDEN=1`` writes them
anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dra_common.simulate import SimulatedHost, find_profile, list_profiles, write_tree
from qat_driver.device import Pf, Qat, Vf, to_device
from qat_driver.discovery import discover
from qat_driver.simulation import SIMULATION

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(SIMULATION.profiles)


def line(qat: Qat) -> str:
    if isinstance(qat, Pf):
        services = ";".join(
            [*filter(None, [qat.services.text]), *(f"{each}?" for each in qat.services.unknown)]
        )
        facts = [qat.product.family, qat.driver, f"state={qat.state}", f"services={services}"]
        facts += [
            f"auto_reset={qat.auto_reset}",
            f"vfs={len(qat.vfs)}/{qat.total_vfs}",
            f"numa={qat.numa_node}",
        ]
        return " ".join([qat.name, *facts, *(f"! {fault.why}" for fault in qat.faults)])
    return "  ".join(["", qat.name, qat.driver or "-", qat.node or "-", published(qat)])


def published(vf: Vf) -> str:
    device = to_device(vf)
    shown = {
        name.rpartition("/")[2]: value for name, value in device.attributes.items() if value is not False
    }
    taints = [f"! {taint.key}={taint.value}:{taint.effect}" for taint in device.taints]
    return " ".join([*(f"{name}={value}" for name, value in shown.items()), *taints])


def test_the_machines_that_are_shipped() -> None:
    names = [name for name, description in list_profiles(SIMULATION) if description]
    assert sorted(names) == ["broken", "c6xx", "gen6", "vm", "vm-noiommu", "xeon-2s", "xeon-fresh"] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_looks_as_written_down(name: str, tmp_path: Path) -> None:
    write_tree(SIMULATION, find_profile(SIMULATION, name), tmp_path)
    found = discover(SimulatedHost(tmp_path))
    text = "\n".join([*map(line, found.hardware.values()), *found.problems]) + "\n"
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text.splitlines() == file.read_text().splitlines()


def test_nothing_is_written_down_of_machines_that_are_gone() -> None:
    assert sorted(file.stem for file in GOLDEN.glob("*.txt")) == NAMES
