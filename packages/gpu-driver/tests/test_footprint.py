"""What the real ``gpu-driver run`` has in memory on a node with 72 devices that serves claims."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from dra_common.testing.node import SimulatedNode
from driver_nodes import names, short_folder
from gpu_nodes import NAME, allocated

MOST_MIB = 80
"""Resident size. Measured 69 MiB on CPython 3.11, 28 of them pages of files that processes share. One typed API of the
Kubernetes client would add 73 MiB; the room above is for other versions of Python and of what we import."""

CLAIMS = 32

# The real program, which says at its end what it has imported: nothing is left out that a thread imported late.
PROGRAM = """
import json, sys
from gpu_driver.__main__ import main

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
    "gpu_driver.simulation": "the same",
    "gpu_driver.demo": "stories",
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
        return [sys.executable, "-c", PROGRAM, str(self.root / "modules.json"), *arguments]


@dataclass(frozen=True, slots=True)
class Footprint:
    """What was seen of the process."""

    devices: int
    kib: Mapping[str, int]
    modules: tuple[str, ...]


@pytest.fixture(scope="module")
def footprint() -> Iterator[Footprint]:
    """A driver that has published 72 devices, prepared claims on half of them, and ended."""
    with short_folder() as root, RealRoots(root, module="gpu_driver", driver=NAME, profile="large") as node:
        node.start_driver()
        node.wait_published()
        for number, device in enumerate(names(node)[:CLAIMS]):
            node.prepare(allocated(node, f"claim-{number}", device))
        kib = node.resident_kib()
        assert node.stop_driver() == 0, node.log_tail()
        modules = json.loads((root / "modules.json").read_text())
        yield Footprint(len(node.devices()), kib, tuple(modules))


def test_the_resident_size_is_bounded(footprint: Footprint) -> None:
    assert footprint.devices == 72
    assert footprint.kib["VmRSS"] <= MOST_MIB * 1024, footprint.kib


def test_what_was_looked_at_is_the_whole_program(footprint: Footprint) -> None:
    """Otherwise the next test would pass on anything."""
    assert {"gpu_driver.driver", "dra_common.app", "kubernetes.client.api_client", "grpc", "pyudev"} <= set(
        footprint.modules
    )


@pytest.mark.parametrize("package", UNWANTED)
def test_nothing_is_loaded_that_a_node_agent_does_not_need(footprint: Footprint, package: str) -> None:
    below = package.rstrip(".") + "."
    exact = () if package.endswith(".") else (package,)
    assert [name for name in footprint.modules if name in exact or name.startswith(below)] == []
