"""From CDI ids to the edits of one container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dra_common.testing.cdi.registry import load
from dra_common.testing.cdi.schema import VERSIONS


@dataclass
class ResolvedEdits:
    """What one container gets, merged as a runtime merges it. Entries have the JSON fields of CDI.

    Args:
        env: variables by name.
        device_nodes: by path in the container, in the order of first mention.
        mounts: by path in the container; parents stand before what is below them.
        hooks: in the order in which they run.
        additional_gids: without 0.
        net_devices: moved into the container.
        intel_rdt: the last one wins.
        files: the specification files that were used.
    """

    env: dict[str, str] = field(default_factory=dict)
    device_nodes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    mounts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    hooks: list[Mapping[str, Any]] = field(default_factory=list)
    additional_gids: list[int] = field(default_factory=list)
    net_devices: list[Mapping[str, Any]] = field(default_factory=list)
    intel_rdt: Mapping[str, Any] | None = None
    files: list[Path] = field(default_factory=list)

    def merge(self, edits: Mapping[str, Any]) -> None:
        """Apply one set of edits after those that are in already."""
        self.env.update(entry.split("=", 1) for entry in edits.get("env", []))
        self.device_nodes.update((node["path"], node) for node in edits.get("deviceNodes", []))
        for mount in edits.get("mounts", []):
            # A mount that replaces another takes its place at the end, as the runtimes do it.
            self.mounts.pop(mount["containerPath"], None)
            self.mounts[mount["containerPath"]] = mount
        self.hooks.extend(edits.get("hooks", []))
        self.additional_gids.extend(gid for gid in edits.get("additionalGids", []) if gid != 0)
        self.net_devices.extend(edits.get("netDevices", []))
        self.intel_rdt = edits.get("intelRdt", self.intel_rdt)


def resolve(ids: Sequence[str], folders: Sequence[Path], *, ceiling: str = VERSIONS[-1]) -> ResolvedEdits:
    """Return what a container with these CDI ids gets.

    Args:
        ids: ``vendor/class=device``; one that is named twice counts once.
        folders: specification folders in rising priority (``/etc/cdi``, ``/var/run/cdi``); missing ones are empty.
        ceiling: the highest CDI version that the runtime knows, for example ``0.5.0`` for podman 4.3.

    Raises Unresolvable.
    """
    entries = load(folders, ceiling).find(list(dict.fromkeys(ids)))
    result = ResolvedEdits()
    for entry in entries:
        if entry.file not in result.files:
            result.files.append(entry.file)
            result.merge(entry.shared)
        result.merge(entry.edits)
    ordered = sorted(result.mounts.items(), key=lambda item: item[0].rstrip("/").count("/"))
    result.mounts = dict(ordered)
    return result
