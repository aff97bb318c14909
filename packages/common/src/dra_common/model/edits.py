"""What a container gets: the part of CDI ``containerEdits`` that our drivers use (CDI specification, 0.5.0 and up)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node. ``host_path`` is the path on the host when it differs from ``path`` in the container.

    Type and numbers are left to the runtime, which looks at the host's node when the container starts.
    """

    path: str
    host_path: str | None = None
    type: Literal["c", "b"] | None = None
    permissions: str | None = None


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
