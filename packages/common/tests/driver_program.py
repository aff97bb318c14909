"""A driver's program, as the tests of whole processes start it."""

from __future__ import annotations

import atexit
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dra_common.model import ClaimRef
from dra_common.testing.forks import Forker
from dra_common.testing.node import SimulatedNode
from driver_nodes import put_status, short_folder

NODE = "node-1"


@dataclass(slots=True)
class Program:
    """A driver's program, on nodes of its own.

    Args:
        module: its package.
        driver: its name.
        request: how the one request of a claim is called.
    """

    module: str
    driver: str
    request: str
    _forkers: list[Forker] = field(default_factory=list)

    def warm(self) -> Forker:
        """A process that has imported the driver, from which others are forked until this process ends."""
        if not self._forkers:
            modules = (f"{self.module}.driver", f"{self.module}.simulation", "dra_common.simulate.run")
            forker = Forker(*modules).__enter__()
            atexit.register(forker.__exit__, None, None, None)
            self._forkers.append(forker)
        return self._forkers[0]

    @contextmanager
    def machine_only(self, profile: str, *, fresh: bool = False, **more: Any) -> Iterator[SimulatedNode]:
        """Yield a node whose driver is not started; no process of it outlives the block.

        ``fresh``: its processes are started from nothing, as a container runtime does.
        """
        more = {"module": self.module, "driver": self.driver, "profile": profile, "name": NODE, **more}
        forker = None if fresh else self.warm()
        with short_folder() as root, SimulatedNode(root, forker=forker, **more) as node:
            yield node

    @contextmanager
    def running(self, profile: str, *arguments: str, **more: Any) -> Iterator[SimulatedNode]:
        """Yield a node whose driver has registered and published."""
        with self.machine_only(profile, **more) as node:
            node.start_driver(*arguments)
            node.wait_published()
            yield node

    def cli(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command as its own process, with none of our own settings in its environment."""
        given = {**SimulatedNode.environment(), "COLUMNS": "200", **environment}
        return self.warm().run(self.module, *arguments, environment=given)

    def spec(self, *selectors: str, **exactly: Any) -> dict[str, Any]:
        """A claim with one request."""
        wanted = {
            "deviceClassName": self.driver,
            "selectors": [{"cel": {"expression": selector}} for selector in selectors],
            **exactly,
        }
        return {"devices": {"requests": [{"name": self.request, "exactly": wanted}]}}

    def allocated(self, node: SimulatedNode, claim: str, *devices: str, **result: Any) -> ClaimRef:
        """Create a claim with an allocation written past the scheduler."""
        ref = node.create_claim(claim, self.spec())
        common = {"request": self.request, "driver": self.driver, "pool": node.name}
        results = [{**common, "device": device, **result} for device in devices]
        put_status(node, ref, {"allocation": {"devices": {"results": results}}})
        return ref

    def devices(self, node: SimulatedNode) -> list[dict[str, Any]]:
        """What ``devices --json`` says: an independent look at the same machine."""
        shown = self.cli("devices", "--json", f"--simulated-root={node.machine}")
        assert shown.returncode == 0, shown.stderr
        found: list[dict[str, Any]] = json.loads(shown.stdout)
        return found
