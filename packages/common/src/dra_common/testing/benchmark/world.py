"""A simulated node with many claims on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dra_common.model import ClaimRef
from dra_common.testing.node import PrepareFailed, SimulatedNode
from dra_common.testing.process import cpu_seconds

_BATCH = 50
_TMPFS = "/dev/shm"  # noqa: S108 - the CDI folder is on a tmpfs, as /var/run/cdi is


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured.

    Args:
        module: the driver's Python package.
        driver: the DRA driver's name.
        profile: the simulated machine; a large one.
    """

    module: str
    driver: str
    profile: str = "large"

    def on(self, profile: str) -> Subject:
        """Return the same driver on another machine."""
        return replace(self, profile=profile)


class World:
    """A node, its devices, and claims that are prepared on it."""

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.devices = [device["name"] for device in node.wait_published()]
        self.held: list[ClaimRef] = []

    def claim(self, name: str, device: str, *, admin: bool = False) -> ClaimRef:
        """Create a claim that is allocated this device; with ``admin`` any number of claims may have it."""
        result: dict[str, Any] = {
            "request": "r", "driver": self.node.driver, "pool": self.node.name, "device": device
        }  # fmt: skip
        if admin:
            result["adminAccess"] = True
        request = {"name": "r", "exactly": {"deviceClassName": self.node.driver, "adminAccess": admin}}
        made = self.node.api.put(
            "ResourceClaim",
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"devices": {"requests": [request]}},
                "status": {"allocation": {"devices": {"results": [result]}}},
            },
        )
        return ClaimRef("default", name, made["metadata"]["uid"])

    def hold(self, total: int) -> None:
        """Prepare claims with admin access until ``total`` claims are held."""
        missing = [
            self.claim(f"held-{number}", self.devices[number % len(self.devices)], admin=True)
            for number in range(len(self.held), total)
        ]
        for start in range(0, len(missing), _BATCH):
            self.prepare(missing[start : start + _BATCH])
        self.held += missing

    def prepare(self, claims: Sequence[ClaimRef]) -> None:
        """One NodePrepareResources call. Raises PrepareFailed."""
        for answer in self.node.kubelet.prepare(claims, self.node.driver).values():
            if answer.error:
                raise PrepareFailed(answer.error)

    def unprepare(self, claims: Sequence[ClaimRef]) -> None:
        """One NodeUnprepareResources call. Raises PrepareFailed."""
        for error in self.node.kubelet.unprepare(claims, self.node.driver).values():
            if error:
                raise PrepareFailed(error)

    @property
    def pid(self) -> int:
        """The driver's process."""
        assert self.node.process is not None  # noqa: S101 - started by `world`
        return self.node.process.pid

    def cpu_seconds(self) -> float:
        """Return what the driver's process has used so far, user and system."""
        return cpu_seconds(self.pid)


@contextmanager
def node_of(subject: Subject) -> Iterator[SimulatedNode]:
    """Run a node without the driver in a folder of its own, and remove both."""
    root, memory = (Path(tempfile.mkdtemp(prefix="dra-bench", dir=place)) for place in (None, _TMPFS))
    node = SimulatedNode(root, module=subject.module, driver=subject.driver, profile=subject.profile)
    node.cdi = memory / "cdi"
    try:
        with node:
            yield node
    finally:
        for folder in (root, memory):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def world(subject: Subject) -> Iterator[World]:
    """Run a node with the driver, everything published."""
    with node_of(subject) as node:
        node.start_driver("-v=0")
        yield World(node)
