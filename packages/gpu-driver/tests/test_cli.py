"""Every command of the real ``gpu-driver`` as a process of its own, on each shipped machine.

What a machine looks like is in ``golden/``, written by ``test_profiles``: there the parts are tested, here the program.
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from dra_common.simulate import Simulator, find_profile
from dra_common.testing.cdi import resolve
from driver_nodes import host_paths
from gpu_driver.simulation import SIMULATION
from gpu_nodes import NODE, gpu_cli

GOLDEN = Path(__file__).parent / "golden"
WRITTEN_DOWN = sorted(set(SIMULATION.profiles) - {"large"})  # nobody would read 72 devices


class Machine:
    """A simulated machine, and what the program says of it."""

    def __init__(self, profile: str, root: Path) -> None:
        self.profile, self.root = profile, root
        said = self.ask("devices", "--json")
        self.warnings = [
            line.removeprefix("gpu-driver: warning: ").replace(str(root), "")
            for line in said.stderr.splitlines()
        ]
        found: list[dict[str, Any]] = json.loads(said.stdout)
        self.hardware = {device["name"]: device.pop("hardware") for device in found}
        self.devices = found

    def ask(self, *arguments: str) -> Any:
        said = gpu_cli(*arguments, f"--simulated-root={self.root}")
        assert said.returncode == 0, said.stderr
        return said

    @property
    def golden(self) -> Mapping[str, Any]:
        """What is written down of it."""
        found: dict[str, Any] = json.loads((GOLDEN / f"{self.profile}.json").read_text())
        return found


@pytest.fixture(scope="module", params=sorted(SIMULATION.profiles))
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    root = Path(tempfile.mkdtemp(prefix="gpu"))
    with Simulator(SIMULATION, find_profile(SIMULATION, request.param), root):
        yield Machine(request.param, root)
    shutil.rmtree(root)


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
    shown = machine.ask("devices").stdout
    if not machine.devices:
        assert shown == "no devices on this node\n"
        return
    header, *rows = shown.splitlines()
    assert header.split() == ["DEVICE", "MODEL", "FAMILY", "TYPE", "DRIVER", "CAPACITY", "TAINTS"]
    assert [row.split()[0] for row in rows] == [device["name"] for device in machine.devices]
    for row, device in zip(rows, machine.devices, strict=True):
        shown_of_it = [device["attributes"]["model"], *device["capacity"].values()]
        assert all(part in row for part in shown_of_it), row


# ---------------------------------------------------------------------- slices


@pytest.mark.defect(17)
@pytest.mark.parametrize("kubernetes", ["1.34", "1.37"])
def test_slices_have_every_device_once_within_the_limits(machine: Machine, kubernetes: str) -> None:
    said = machine.ask("slices", f"--node-name={NODE}", f"--kubernetes={kubernetes}")
    items = json.loads(said.stdout)["items"]
    assert items, "an empty pool is a slice without devices: the driver lives"
    pools = [item["spec"]["pool"] for item in items]
    assert pools == [{"name": NODE, "generation": 1, "resourceSliceCount": len(items)}] * len(items)
    # It has no taints and no counters: devices that need a taint are left out, and PFs with VFs; each is named.
    parents = {device["attributes"].get("parent") for device in machine.devices}
    withdrawn = {
        device["name"]
        for device in machine.devices
        if kubernetes == "1.34" and (device["taints"] or device["attributes"]["pciAddress"] in parents)
    }
    named = [device["name"] for item in items for device in item["spec"].get("devices", ())]
    assert named == [device["name"] for device in machine.devices if device["name"] not in withdrawn]
    assert all(name in said.stderr for name in withdrawn)
    for item in items:
        devices = item["spec"].get("devices", ())
        dear = any(device.get("taints") or device.get("consumesCounters") for device in devices)
        assert len(devices) <= (64 if dear else 128)


# ---------------------------------------------------------------------- cdi generate


@pytest.mark.parametrize("machine", WRITTEN_DOWN, indirect=True, scope="module")
def test_cdi_generate_makes_what_a_runtime_resolves_to_what_is_written_down(
    machine: Machine, tmp_path: Path
) -> None:
    folder = tmp_path / "cdi"
    said = machine.ask("cdi", "generate", f"--cdi-root={folder}")
    kinds: dict[str, dict[str, list[str]]] = {}
    for name, of_device in machine.golden["containers"].items():
        for kind, paths in of_device.items():
            kinds.setdefault(kind, {})[name] = paths
    if not kinds:
        assert not folder.exists()
        assert "no devices on this node: nothing to generate" in said.stderr
    printed = [line.strip() for line in said.stdout.splitlines()]
    assert printed == [
        line
        for kind, devices in kinds.items()
        for line in (f"{folder}/intel.com-{kind}.json:", *(f"intel.com/{kind}={name}" for name in devices))
    ]
    for kind, devices in kinds.items():
        for name, paths in devices.items():
            edits = resolve([f"intel.com/{kind}={name}"], [folder])
            assert [*edits.device_nodes, *edits.mounts] == paths
            on_host = [*host_paths(edits.device_nodes), *(str(m["hostPath"]) for m in edits.mounts.values())]
            assert on_host == [f"{machine.root}{path}" for path in paths]


def test_a_dry_run_of_cdi_generate_prints_the_files_and_writes_nothing(
    machine: Machine, tmp_path: Path
) -> None:
    folder = tmp_path / "cdi"
    shown = machine.ask("cdi", "generate", "--dry-run", f"--cdi-root={folder}").stdout
    assert not folder.exists()
    machine.ask("cdi", "generate", f"--cdi-root={folder}")
    assert shown == "".join(path.read_text() for path in sorted(folder.glob("*"), key=lambda path: path.stem))


# ---------------------------------------------------------------------- simulate


def test_simulate_lists_every_machine_with_a_line() -> None:
    said = gpu_cli("simulate", "--list")
    assert (said.returncode, said.stderr) == (0, "")
    names, descriptions = zip(*(line.split(maxsplit=1) for line in said.stdout.splitlines()), strict=True)
    assert list(names) == sorted(SIMULATION.profiles)
    assert len(set(descriptions)) == len(names)


def test_simulate_once_writes_a_tree_that_is_read_without_a_kernel_behind_it(machine: Machine) -> None:
    root = machine.root / "once"
    said = gpu_cli("simulate", "--once", f"--profile={machine.profile}", f"--root={root}")
    assert (said.returncode, said.stdout, said.stderr) == (0, f"{machine.profile} is written to {root}\n", "")
    roots = [f"--{name}fs-root={root / name}" for name in ("sys", "dev", "proc")]
    shown = gpu_cli("devices", "--json", *roots)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert [device["name"] for device in found] == list(machine.hardware)
    for device, known in zip(found, machine.devices, strict=True):
        # What only the kernel can be asked for, by ioctl, is missing there, never wrong.
        assert device["attributes"].items() <= known["attributes"].items()
        assert device["capacity"].items() <= known["capacity"].items()


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
