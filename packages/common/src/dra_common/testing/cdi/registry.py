"""All devices that a runtime knows from its specification folders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dra_common.testing.cdi.schema import VERSIONS, BadSpec, check_spec


class Unresolvable(LookupError):
    """Ids that a runtime could not inject. ``ids`` are they; the message also says which files were skipped and why."""

    def __init__(self, ids: Sequence[str], reasons: Sequence[str]) -> None:
        because = f" ({'; '.join(reasons)})" if reasons else ""
        super().__init__(f"unresolvable CDI devices {', '.join(ids)}{because}")
        self.ids = tuple(ids)
        self.reasons = tuple(reasons)


@dataclass(frozen=True)
class Entry:
    """One device: the file that defines it, edits of the whole file, edits of the device."""

    file: Path
    shared: Mapping[str, Any]
    edits: Mapping[str, Any]


@dataclass
class Registry:
    """Devices by id, and why others are missing: id -> reason, file -> reason."""

    devices: dict[str, Entry] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)
    skipped: dict[Path, str] = field(default_factory=dict)

    def find(self, ids: Sequence[str]) -> list[Entry]:
        """Return the entries of ``ids`` in order. Raises Unresolvable for all that are missing."""
        missing = [name for name in ids if name not in self.devices]
        if missing:
            conflicts = [self.conflicts[name] for name in missing if name in self.conflicts]
            skipped = [f"{file}: {reason}" for file, reason in self.skipped.items()]
            raise Unresolvable(missing, conflicts + skipped)
        return [self.devices[name] for name in ids]


def load(folders: Sequence[Path], ceiling: str) -> Registry:
    """Read all folders; a later folder has priority. ``ceiling`` is the highest version the runtime knows."""
    registry = Registry()
    for folder in folders:
        _load_folder(folder, ceiling, registry)
    return registry


def _load_folder(folder: Path, ceiling: str, registry: Registry) -> None:
    here: dict[str, Entry] = {}
    twice: dict[str, str] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        for name, entry in _load_file(file, ceiling, registry):
            if name in here:
                twice[name] = (
                    f"{name} is in {here[name].file} and in {entry.file}, which have the same priority"
                )
            here[name] = entry
    for name in here:
        # A definition of lower priority is hidden by a conflict too.
        registry.devices.pop(name, None)
        registry.conflicts.pop(name, None)
    registry.conflicts.update(twice)
    registry.devices.update({name: entry for name, entry in here.items() if name not in twice})


def _load_file(file: Path, ceiling: str, registry: Registry) -> Iterator[tuple[str, Entry]]:
    if file.suffix not in {".json", ".yaml"}:
        return
    try:
        spec = _check_ceiling(check_spec(_parse(file)), ceiling)
    except BadSpec as error:
        registry.skipped[file] = str(error)
        return
    for device in spec["devices"]:
        yield (
            f"{spec['kind']}={device['name']}",
            Entry(file, spec.get("containerEdits", {}), device["containerEdits"]),
        )


def _check_ceiling(spec: Mapping[str, Any], ceiling: str) -> Mapping[str, Any]:
    if VERSIONS.index(spec["cdiVersion"].removeprefix("v")) > VERSIONS.index(ceiling):
        raise BadSpec(f"cdiVersion {spec['cdiVersion']} is newer than this runtime's {ceiling}")
    return spec


def _parse(file: Path) -> object:
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadSpec(f"does not parse: {error}") from error
