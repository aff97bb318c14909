"""What is inside a GPU, as far as its kernel driver tells: tiles, Xe cores, execution units, firmware, versions.

Only xe tells of cores and firmware, and only to who opens a node, which wakes a GPU that sleeps. They cannot change
while it is bound, so each is asked once. Mainline i915 tells nothing of the kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from dra_common.errors import HostError
from dra_common.pci import Facts
from dra_common.pci.version import driver_version
from dra_common.ports import DeviceQuery, Host

from gpu_driver.device import DRM_DRIVERS, Gpu
from gpu_driver.queries import Cores, XeGtTopology, XeGucVersion, guc_submission, topology

_TILE = re.compile(r"tile[0-9]{1,3}", re.ASCII)

T = TypeVar("T")
Answers = tuple[Cores | None, str]
"""Cores, and the version of the GuC's submission interface."""


@dataclass(frozen=True, slots=True)
class _Key:
    """What has to be the same for an answer to be still true."""

    boot: str
    bdf: str
    device_id: str
    nodes: tuple[str, str]


class Insides:
    """Remembers what GPUs were asked, for as long as they stay bound."""

    def __init__(self) -> None:
        self._known: Mapping[_Key, Answers] = {}

    def look(self, host: Host) -> Inside:
        """Begin one look at all GPUs of a machine."""
        return Inside(host, self)

    def remember(self, known: Mapping[_Key, Answers]) -> None:
        """Take what the latest look found, and forget all others: they are gone, or bound elsewhere."""
        self._known = known

    def recall(self, key: _Key) -> Answers | None:
        """Return what was answered before."""
        return self._known.get(key)


class Inside:
    """One look: versions of kernel drivers are read once for all GPUs."""

    def __init__(self, host: Host, insides: Insides) -> None:
        self._host, self._insides = host, insides
        self._boot = _boot(host)
        self._versions: dict[str, str] = {}
        self._seen: dict[_Key, Answers] = {}

    def add(self, gpu: Gpu, facts: Facts) -> Gpu:
        """Return the GPU with all that its DRM driver tells of its inside. Never raises for what a machine may hold."""
        if gpu.driver not in DRM_DRIVERS:
            return gpu
        if gpu.driver not in self._versions:
            self._versions[gpu.driver] = driver_version(self._host, gpu.driver)
        gpu = replace(gpu, driver_version=self._versions[gpu.driver])
        if gpu.driver != "xe":
            return gpu
        tiles = sum(_TILE.fullmatch(entry) is not None for entry in facts.entries)
        cores, firmware = self._asked(gpu, facts)
        return replace(gpu, tiles=tiles or None, cores=cores, guc_submission=firmware)

    def end(self) -> None:
        """Keep the answers of this look for the next."""
        self._insides.remember(self._seen)

    def _asked(self, gpu: Gpu, facts: Facts) -> Answers:
        node = gpu.render or gpu.card
        if not node:
            return None, ""
        key = _Key(self._boot, gpu.bdf, gpu.device_id, (gpu.card, gpu.render))
        if self._boot and (known := self._insides.recall(key)):
            self._seen[key] = known
            return known
        cores = self._ask(node, XeGtTopology(), topology, facts)
        firmware = self._ask(node, XeGucVersion(), guc_submission, facts)
        if cores and firmware:
            self._seen[key] = cores, firmware
        return cores, firmware or ""

    def _ask(
        self, node: str, query: DeviceQuery, understand: Callable[[bytes], T | None], facts: Facts
    ) -> T | None:
        """Ask one question. A kernel that does not know it (EINVAL), or does not let us ask, is no problem to tell."""
        try:
            blob = self._host.query(f"dri/{node}", query)
        except HostError:
            return None
        try:
            return understand(blob)
        except HostError as error:
            facts.note(error.message)
            return None


def _boot(host: Host) -> str:
    """Return the boot id; empty = unknown, and then nothing is remembered."""
    try:
        return host.boot_id()
    except HostError:
        return ""
