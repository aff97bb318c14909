"""A simulated node with the real ``gpu-driver run``: what the tests of whole processes have in common."""

from __future__ import annotations

import atexit
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from dra_common.model import ClaimRef
from dra_common.testing.forks import Forker
from dra_common.testing.node import SimulatedNode
from driver_nodes import put_status, short_folder
from gpu_driver.driver import GpuDriver

NAME = GpuDriver.name
NODE = "node-1"


@cache
def warm() -> Forker:
    """A process that has imported the driver, from which others are forked until this process ends."""
    forker = Forker("gpu_driver.driver", "gpu_driver.simulation", "dra_common.simulate.run").__enter__()
    atexit.register(forker.__exit__, None, None, None)
    return forker


@contextmanager
def machine_only(profile: str, *, fresh: bool = False, **more: Any) -> Iterator[SimulatedNode]:
    """Yield a node whose driver is not started; no process of it outlives the block.

    ``fresh``: its processes are started from nothing, as a container runtime does.
    """
    forker = None if fresh else warm()
    with (
        short_folder() as root,
        SimulatedNode(root, module="gpu_driver", driver=NAME, profile=profile, forker=forker, **more) as node,
    ):
        yield node


@contextmanager
def running(profile: str, *arguments: str, **more: Any) -> Iterator[SimulatedNode]:
    """Yield a node whose driver has registered and published."""
    with machine_only(profile, **more) as node:
        node.start_driver(*arguments)
        node.wait_published()
        yield node


def gpu_cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command of ``gpu-driver`` as its own process, with none of our own settings in its environment."""
    given = {**SimulatedNode.environment(), "COLUMNS": "200", **environment}
    return warm().run("gpu_driver", *arguments, environment=given)


def spec(*selectors: str, **exactly: Any) -> dict[str, Any]:
    """A claim with one request, named ``gpu``."""
    wanted = {
        "deviceClassName": NAME,
        "selectors": [{"cel": {"expression": selector}} for selector in selectors],
        **exactly,
    }
    return {"devices": {"requests": [{"name": "gpu", "exactly": wanted}]}}


def by_address(bdf: str, **exactly: Any) -> dict[str, Any]:
    """A claim for the device at one PCI address."""
    return spec(f'device.attributes["{NAME}"].pciAddress == "{bdf}"', **exactly)


def allocated(node: SimulatedNode, claim: str, *devices: str, **result: Any) -> ClaimRef:
    """Create a claim with an allocation written past the scheduler."""
    ref = node.create_claim(claim, spec())
    results = [
        {"request": "gpu", "driver": NAME, "pool": node.name, "device": device, **result}
        for device in devices
    ]
    put_status(node, ref, {"allocation": {"devices": {"results": results}}})
    return ref
