"""What a real node agent has in memory while it serves claims, and what it has imported."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dra_common.testing.node import SimulatedNode
from driver_nodes import names, short_folder
from driver_program import Program

# The real program, which says at its end what it has imported: nothing is left out that a thread imported late.
_PROGRAM = """
import json, sys
from {module}.__main__ import main

where = sys.argv.pop(1)
try:
    main()
finally:
    with open(where, "w") as file:
        json.dump(sorted(sys.modules), file)
"""

# Module or package -> why a node agent has no business with it.
UNWANTED = {
    "kubernetes.client.api": "typed APIs: 73 MiB, and they drop fields that they do not know",
    "kubernetes.client.models.": "the same",
    "kubernetes.aio": "a second client",
    "aiohttp": "a second client",
    "dra_common.testing": "fakes for tests",
    "dra_common.simulate": "the simulated kernel, on a node with a real one",
    "cel_expr_python": "the allocator's, for tests",
    "prometheus_client": "metrics, which are off unless asked for",
    "dra_common.metrics": "the same",
    "dra_common.document": "YAML, for a configuration file, which is not there",
    "rich": "formatting of help and tracebacks",
    "pygments": "the same",
    "hypothesis": "a tool for tests",
    "pytest": "a tool for tests",
    "numpy": "nothing here computes",
}


class RealRoots(SimulatedNode):
    """A node whose driver is told of ordinary sysfs, devfs and procfs folders, as on a real machine."""

    def run_arguments(self) -> list[str]:
        simulated = f"--simulated-root={self.machine}"
        roots = [f"--{name}fs-root={self.machine / name}" for name in ("sys", "dev", "proc")]
        return [argument for argument in super().run_arguments() if argument != simulated] + roots

    def command(self, *arguments: str) -> list[str]:
        if arguments[0] != "run":
            return super().command(*arguments)
        program = _PROGRAM.format(module=self.module)
        return [sys.executable, "-c", program, str(self.root / "modules.json"), *arguments]


@dataclass(frozen=True, slots=True)
class Footprint:
    """What was seen of the process."""

    devices: int
    kib: Mapping[str, int]
    modules: tuple[str, ...]

    def has(self, package: str) -> list[str]:
        """Which modules of a package it has loaded; with a dot at the end only what is below it."""
        below = package.rstrip(".") + "."
        exact = () if package.endswith(".") else (package,)
        return [name for name in self.modules if name in exact or name.startswith(below)]


def measure(program: Program, profile: str, claims: int) -> Footprint:
    """Let a driver publish, prepare so many claims, and end."""
    more: dict[str, Any] = {"module": program.module, "driver": program.driver, "profile": profile}
    with short_folder() as root, RealRoots(root, **more) as node:
        node.start_driver()
        node.wait_published()
        for number, device in enumerate(names(node)[:claims]):
            node.prepare(program.allocated(node, f"claim-{number}", device))
        kib = node.resident_kib()
        assert node.stop_driver() == 0, node.log_tail()
        modules = json.loads((root / "modules.json").read_text())
        return Footprint(len(node.devices()), kib, tuple(modules))
