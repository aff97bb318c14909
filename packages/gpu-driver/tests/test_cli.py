"""Every command of the real ``gpu-driver`` as a process of its own, on each shipped machine.

What a machine looks like is in ``golden/``, written by ``test_profiles``: there the parts are tested, here the program.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cli_machines
import pytest
from cli_machines import Machine
from gpu_driver.simulation import SIMULATION
from gpu_nodes import gpu_cli, program

GOLDEN = Path(__file__).parent / "golden"
WRITTEN_DOWN = sorted(set(SIMULATION.profiles) - {"large"})  # nobody would read 72 devices


@pytest.fixture(scope="module", params=sorted(SIMULATION.profiles))
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with cli_machines.machine(program, SIMULATION, request.param, GOLDEN) as machine:
        yield machine


# ---------------------------------------------------------------------- devices


def but_counters(device: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in device.items() if not name.startswith("takes of ")}


def test_devices_as_json_are_what_is_written_down(machine: Machine) -> None:
    for name, facts in machine.hardware.items():
        assert name == f"{facts['bdf'].replace(':', '-').replace('.', '-')}-{facts['device_id']}"
    if machine.profile == "large":
        assert (len(machine.hardware), machine.warnings) == (72, [])
        return
    expected = machine.golden
    assert machine.devices == [
        {"name": name, **but_counters(rest)} for name, rest in expected["devices"].items()
    ]
    assert machine.warnings == expected["problems"]


def test_devices_for_a_person_has_a_row_for_each(machine: Machine) -> None:
    if not machine.devices:
        assert machine.ask("devices").stdout == "no devices on this node\n"
        return
    machine.check_table("DEVICE", "MODEL", "FAMILY", "TYPE", "DRIVER", "CAPACITY", "TAINTS")


# ---------------------------------------------------------------------- slices


@pytest.mark.defect(17)
@pytest.mark.parametrize("kubernetes", ["1.34", "1.37"])
def test_slices_have_every_device_once_within_the_limits(machine: Machine, kubernetes: str) -> None:
    # 1.34 has no taints and no counters: devices that need a taint are left out, and PFs with VFs; each is named.
    parents = {device["attributes"].get("parent") for device in machine.devices}
    withdrawn = {
        device["name"]
        for device in machine.devices
        if kubernetes == "1.34" and (device["taints"] or device["attributes"]["pciAddress"] in parents)
    }
    machine.check_slices(kubernetes, withdrawn)


# ---------------------------------------------------------------------- cdi generate


@pytest.mark.parametrize("machine", WRITTEN_DOWN, indirect=True, scope="module")
def test_cdi_generate_makes_what_a_runtime_resolves_to_what_is_written_down(
    machine: Machine, tmp_path: Path
) -> None:
    machine.check_cdi(tmp_path / "cdi")


def test_a_dry_run_of_cdi_generate_prints_the_files_and_writes_nothing(
    machine: Machine, tmp_path: Path
) -> None:
    machine.check_dry_run(tmp_path / "cdi")


# ---------------------------------------------------------------------- simulate


def test_simulate_lists_every_machine_with_a_line() -> None:
    said = gpu_cli("simulate", "--list")
    assert (said.returncode, said.stderr) == (0, "")
    names, descriptions = zip(*(line.split(maxsplit=1) for line in said.stdout.splitlines()), strict=True)
    assert list(names) == sorted(SIMULATION.profiles)
    assert len(set(descriptions)) == len(names)


def test_simulate_once_writes_a_tree_that_is_read_without_a_kernel_behind_it(machine: Machine) -> None:
    machine.check_once()


@pytest.mark.parametrize("more", [[], ["--once"]])
def test_an_unknown_machine_is_one_line_that_names_those_there_are(tmp_path: Path, more: list[str]) -> None:
    root = tmp_path / "root"
    said = gpu_cli("simulate", "--profile=nope", f"--root={root}", *more)
    assert (said.returncode, said.stdout) == (2, "")
    known = ", ".join(sorted(SIMULATION.profiles))
    assert said.stderr == f"gpu-driver: no profile 'nope' (one of {known}, or the path of a YAML file)\n"
    assert not root.exists()


# ---------------------------------------------------------------------- version


def test_version_is_the_installed_one() -> None:
    own, common = version("dra-gpu-driver"), version("dra-common")
    said = gpu_cli("version")
    expected = f"gpu-driver {own} (dra-common {common}, Python {platform.python_version()})\n"
    assert (said.returncode, said.stdout, said.stderr) == (0, expected, "")
    assert not own.startswith("0.0.0")
