"""What a driver's program says of a simulated machine: the part of those tests that no driver has for itself alone."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dra_common.simulate import Simulation, Simulator, find_profile
from dra_common.testing.cdi import resolve
from dra_common.testing.node import SimulatedNode
from driver_nodes import host_paths
from driver_program import NODE, Program


class Machine:
    """A simulated machine, and what the program says of it.

    Args:
        program: the driver's.
        profile: the machine's name.
        root: where it runs.
        written: the folder with what is written down of each machine.
    """

    def __init__(self, program: Program, profile: str, root: Path, written: Path) -> None:
        self.program, self.profile, self.root, self._written = program, profile, root, written
        said = self.ask("devices", "--json")
        self.warnings = [
            line.partition(": warning: ")[2].replace(str(root), "") for line in said.stderr.splitlines()
        ]
        found: list[dict[str, Any]] = json.loads(said.stdout)
        self.hardware = {device["name"]: device.pop("hardware") for device in found}
        self.devices = found

    def ask(self, *arguments: str) -> Any:
        said = self.program.cli(*arguments, f"--simulated-root={self.root}")
        assert said.returncode == 0, said.stderr
        return said

    @property
    def golden(self) -> Mapping[str, Any]:
        """What is written down of it."""
        found: dict[str, Any] = json.loads((self._written / f"{self.profile}.json").read_text())
        return found

    def check_table(self, *columns: str) -> None:
        """The table for a person has a row for each, with the model and every amount."""
        header, *rows = self.ask("devices").stdout.splitlines()
        assert header.split() == list(columns)
        assert [row.split()[0] for row in rows] == [device["name"] for device in self.devices]
        for row, device in zip(rows, self.devices, strict=True):
            assert all(part in row for part in (device["attributes"]["model"], *device["capacity"].values()))

    def check_slices(self, kubernetes: str, withdrawn: Collection[str]) -> None:
        """Every device once, within the limits of the API, but those that a cluster without taints cannot have."""
        said = self.ask("slices", f"--node-name={NODE}", f"--kubernetes={kubernetes}")
        items = json.loads(said.stdout)["items"]
        assert items, "an empty pool is a slice without devices: the driver lives"
        pools = [item["spec"]["pool"] for item in items]
        assert pools == [{"name": NODE, "generation": 1, "resourceSliceCount": len(items)}] * len(items)
        named = [device["name"] for item in items for device in item["spec"].get("devices", ())]
        assert named == [device["name"] for device in self.devices if device["name"] not in withdrawn]
        assert all(name in said.stderr for name in withdrawn)
        for item in items:
            devices = item["spec"].get("devices", ())
            dear = any(device.get("taints") or device.get("consumesCounters") for device in devices)
            assert len(devices) <= (64 if dear else 128)

    def check_cdi(self, folder: Path) -> None:
        """``cdi generate`` makes what a runtime resolves to what is written down."""
        said = self.ask("cdi", "generate", f"--cdi-root={folder}")
        kinds: dict[str, dict[str, list[str]]] = {}
        for name, of_device in self.golden["containers"].items():
            for kind, paths in of_device.items():
                kinds.setdefault(kind, {})[name] = paths
        if not kinds:
            assert not folder.exists()
            assert "no devices on this node: nothing to generate" in said.stderr
        assert [line.strip() for line in said.stdout.splitlines()] == [
            line
            for kind, devices in kinds.items()
            for line in (
                f"{folder}/intel.com-{kind}.json:",
                *(f"intel.com/{kind}={name}" for name in devices),
            )
        ]
        for kind, devices in kinds.items():
            for name, paths in devices.items():
                edits = resolve([f"intel.com/{kind}={name}"], [folder])
                assert [*edits.device_nodes, *edits.mounts] == paths
                mounts = (str(mount["hostPath"]) for mount in edits.mounts.values())
                on_host = [*host_paths(edits.device_nodes), *mounts]
                assert on_host == [f"{self.root}{path}" for path in paths]

    def check_dry_run(self, folder: Path) -> None:
        """``cdi generate --dry-run`` prints the files and writes nothing."""
        shown = self.ask("cdi", "generate", "--dry-run", f"--cdi-root={folder}").stdout
        assert not folder.exists()
        self.ask("cdi", "generate", f"--cdi-root={folder}")
        files = sorted(folder.glob("*"), key=lambda path: path.stem)
        assert shown == "".join(path.read_text() for path in files)

    def check_once(self) -> None:
        """``simulate --once`` writes a tree that is read without a kernel behind it.

        What only the kernel can be asked for, by ioctl, is missing there, never wrong.
        """
        root = self.root / "once"
        said = self.program.cli("simulate", "--once", f"--profile={self.profile}", f"--root={root}")
        assert (said.returncode, said.stdout, said.stderr) == (
            0,
            f"{self.profile} is written to {root}\n",
            "",
        )
        roots = [f"--{name}fs-root={root / name}" for name in ("sys", "dev", "proc")]
        shown = self.program.cli("devices", "--json", *roots)
        assert shown.returncode == 0, shown.stderr
        found = json.loads(shown.stdout)
        assert [device["name"] for device in found] == list(self.hardware)
        for device, known in zip(found, self.devices, strict=True):
            assert device["attributes"].items() <= known["attributes"].items()
            assert device["capacity"].items() <= known["capacity"].items()


@contextmanager
def machine(program: Program, simulation: Simulation, profile: str, written: Path) -> Iterator[Machine]:
    """Yield a machine that runs in this process until the end of the block."""
    root = Path(tempfile.mkdtemp(prefix=program.request))
    try:
        with Simulator(simulation, find_profile(simulation, profile), root):
            yield Machine(program, profile, root, written)
    finally:
        shutil.rmtree(root)


# ---------------------------------------------------------------------- beside a running driver


def check_preview(program: Program, node: SimulatedNode) -> None:
    """``slices`` prints exactly what ``run`` has published."""
    shown = program.cli(
        "slices", f"--node-name={NODE}", "--kubernetes=1.36", f"--simulated-root={node.machine}"
    )
    assert shown.returncode == 0, shown.stderr
    preview = json.loads(shown.stdout)
    assert (preview["apiVersion"], preview["kind"]) == ("v1", "List")
    published = sorted(node.slices(), key=lambda item: item["metadata"]["name"])
    assert [_text(item["spec"]) for item in preview["items"]] == [_sent(item["spec"]) for item in published]
    for item, stored in zip(preview["items"], published, strict=True):
        (owner,), (real,) = item["metadata"]["ownerReferences"], stored["metadata"]["ownerReferences"]
        assert {**owner, "uid": real["uid"]} == real
        assert stored["metadata"]["name"].startswith(item["metadata"]["generateName"])


def _text(spec: dict[str, Any]) -> str:
    """One text for what is equal to the API server, which leaves out an empty list."""
    spec = {field: value for field, value in spec.items() if value != []}
    return json.dumps(spec, indent=1, sort_keys=True)


def _sent(spec: dict[str, Any]) -> str:
    """The stored text without what the API server itself adds: the time at which it first saw a taint."""
    for device in spec.get("devices", ()):
        for taint in device.get("taints", ()):
            assert taint.pop("timeAdded")
    return _text(spec)
