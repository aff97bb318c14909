"""Every command of the real ``gaudi-driver`` as a process of its own, on each shipped machine.

What a machine looks like is in ``golden/``, written by ``test_profiles``: there the parts are tested, here the program.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import cli_machines
import pytest
from cli_machines import Machine
from gaudi_driver.simulation import SIMULATION
from gaudi_nodes import allocated, gaudi_cli, program, running

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module", params=sorted(SIMULATION.profiles))
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with cli_machines.machine(program, SIMULATION, request.param, GOLDEN) as machine:
        yield machine


# ---------------------------------------------------------------------- devices


def test_devices_as_json_are_what_is_written_down(machine: Machine) -> None:
    for name, facts in machine.hardware.items():
        assert name == f"{facts['bdf'].replace(':', '-').replace('.', '-')}-{facts['device_id']}"
    expected = machine.golden
    assert machine.devices == [{"name": name, **rest} for name, rest in expected["devices"].items()]
    assert machine.warnings == expected["problems"]


def test_devices_for_a_person_has_a_row_for_each(machine: Machine) -> None:
    machine.check_table("DEVICE", "MODEL", "FAMILY", "TYPE", "DRIVER", "CAPACITY", "TAINTS")


# ---------------------------------------------------------------------- slices


@pytest.mark.defect(17)
@pytest.mark.parametrize("kubernetes", ["1.34", "1.37"])
def test_slices_have_every_device_once_within_the_limits(machine: Machine, kubernetes: str) -> None:
    # 1.34 has no taints: devices that need one are left out, and each is named.
    tainted = {device["name"] for device in machine.devices if device["taints"]}
    machine.check_slices(kubernetes, tainted if kubernetes == "1.34" else set())


# ---------------------------------------------------------------------- cdi generate


def test_cdi_generate_makes_what_a_runtime_resolves_to_what_is_written_down(
    machine: Machine, tmp_path: Path
) -> None:
    machine.check_cdi(tmp_path / "cdi")


def test_a_dry_run_of_cdi_generate_prints_the_files_and_writes_nothing(
    machine: Machine, tmp_path: Path
) -> None:
    machine.check_dry_run(tmp_path / "cdi")


# ---------------------------------------------------------------------- config check


def test_a_configuration_that_is_good_is_what_the_commands_go_by(machine: Machine, tmp_path: Path) -> None:
    first = next(iter(machine.hardware))
    file = tmp_path / "config.yaml"
    file.write_text(
        "apiVersion: config.gaudi.intel.com/v1alpha1\nkind: GaudiDriverConfig\nhealthInterval: 30\n"
        f"devices: [{{match: {{name: {first}}}, publish: false}}]\n"
    )
    said = gaudi_cli("config", "check", str(file), "--json")
    assert (said.returncode, said.stderr) == (0, "")
    (rule,) = json.loads(said.stdout)["devices"]
    assert (rule["match"]["name"], rule["publish"]) == ([first], False)
    found = json.loads(machine.ask("devices", "--json", f"--config={file}").stdout)
    denied = [device["name"] for device in found if "gaudi.intel.com/denied" in str(device["taints"])]
    assert (denied, len(found)) == ([first], len(machine.hardware))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("healthInterval: 0", "line 3: healthInterval: Input should be greater than or equal to 1, not 0"),
        ("gaudiHookPath: bin/hook", "line 3: gaudiHookPath"),
        ("networkFile: ''", "line 3: networkFile"),
        ("devices: [{match: {module: gaudi}}]", "line 3: devices.0.match.module"),
        ("hlml: yes", "line 3: hlml"),
    ],
)
def test_a_configuration_that_is_not_is_named_by_line_and_field(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"apiVersion: config.gaudi.intel.com/v1alpha1\nkind: GaudiDriverConfig\n{text}\n")
    said = gaudi_cli("config", "check", str(file))
    assert (said.returncode, said.stdout) == (2, "")
    assert says in said.stderr
    assert said.stderr.count("\n") == 1


# ---------------------------------------------------------------------- claims


def test_claims_lists_what_is_prepared_in_the_order_of_the_allocation() -> None:
    with running("gaudi2-hls") as node:
        folder = f"--kubelet-plugins-dir={node.plugins}"
        first, second, *_ = (device["name"] for device in node.devices())
        ref = allocated(node, "train", second, first)
        answer = node.prepare(ref)
        (record,) = json.loads(gaudi_cli("claims", "--json", folder).stdout)
        assert (record["ref"]["uid"], record["phase"]) == (ref.uid, "prepared")
        told = [name for device in record["answer"] for name in device["cdi_ids"]]
        assert told == [name for device in answer for name in device.cdi_ids]
        (_, row) = gaudi_cli("claims", folder).stdout.splitlines()
        assert row.split() == ["default/train", ref.uid, "prepared", f"{second},", first]
        node.unprepare(ref)
        assert json.loads(gaudi_cli("claims", "--json", folder).stdout) == []


# ---------------------------------------------------------------------- simulate, version


def test_simulate_lists_every_machine_with_a_line() -> None:
    said = gaudi_cli("simulate", "--list")
    assert (said.returncode, said.stderr) == (0, "")
    names, descriptions = zip(*(line.split(maxsplit=1) for line in said.stdout.splitlines()), strict=True)
    assert list(names) == sorted(SIMULATION.profiles)
    assert len(set(descriptions)) == len(names)


def test_simulate_once_writes_a_tree_that_is_read_without_a_kernel_behind_it(machine: Machine) -> None:
    machine.check_once()


def test_version_is_the_installed_one() -> None:
    own, common = version("dra-gaudi-driver"), version("dra-common")
    said = gaudi_cli("version")
    expected = f"gaudi-driver {own} (dra-common {common}, Python {platform.python_version()})\n"
    assert (said.returncode, said.stdout, said.stderr) == (0, expected, "")
