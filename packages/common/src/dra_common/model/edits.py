"""What a container gets: the part of CDI ``containerEdits`` that our drivers use (CDI specification, 0.5.0 and up)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node. ``host_path`` is the path on the host when it differs from ``path`` in the container.

    Type and numbers are left to the runtime, which looks at the host's node when the container starts.
    """

    path: str
    host_path: str | None = None
    type: Literal["c", "b"] | None = None
    permissions: str | None = None

    @classmethod
    def below_dev(cls, name: str, dev_root: str, alias: str = "") -> DeviceNode:
        """Return a character device by its name below ``/dev``; ``alias`` is what the container calls it instead."""
        return cls(f"/dev/{alias or name}", host_path=f"{dev_root.rstrip('/')}/{name}", type="c")


@dataclass(frozen=True, slots=True)
class Mount:
    """A bind mount."""

    host_path: str
    container_path: str
    type: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MountedFile:
    """A file of ours that a container sees at ``container_path``, read-only; ``name`` is unique in its claim."""

    name: str
    container_path: str
    content: str


@dataclass(frozen=True, slots=True)
class Hook:
    """An OCI hook; ``name`` is the lifecycle point, ``path`` absolute on the host."""

    name: Literal["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerEdits:
    """The edits of one CDI device. ``env`` entries are ``NAME=value``.

    ``files`` are no edits by themselves: whoever writes the specification makes them, and mounts of them.
    """

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[Mount, ...] = ()
    hooks: tuple[Hook, ...] = ()
    files: tuple[MountedFile, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to edit: CDI forbids devices with empty edits."""
        return bool(self.env or self.device_nodes or self.mounts or self.hooks)

    def __add__(self, other: ContainerEdits) -> ContainerEdits:
        """Return both, the other's after ours."""
        return ContainerEdits(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )


Edits: TypeAlias = Mapping[str, ContainerEdits]
"""CDI class (``gpu``, ``gpu-mei``) -> edits. An empty mapping gives no CDI id."""


@dataclass(frozen=True, slots=True)
class ClaimEdits:
    """What containers get once of a claim, beside what each of its devices gives them.

    Args:
        every: for every container that uses anything of the claim.
        requests: request, without subrequest -> for a container that uses it.
        whole: for a container that names no request, and so uses the whole claim; its variables win over those of
            ``requests``.
    """

    every: Edits = field(default_factory=dict)
    requests: Mapping[str, Edits] = field(default_factory=dict)
    whole: Edits = field(default_factory=dict)
