"""From container edits to the JSON of a CDI specification, with the lowest version that its fields allow.

Readers refuse unknown fields and versions, so the lowest version is the one that the most runtimes understand:
podman 4.3 (Debian 12) stops at 0.5.0, containerd 1.7.24 at 0.7.0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dra_common.cdi.edits import check_edits
from dra_common.cdi.names import check_class, check_device, check_vendor
from dra_common.errors import SpecInvalid
from dra_common.model import ContainerEdits, DeviceNode, Hook, Mount

_NOT_IN_YAML = re.compile("[\\x7f-\\x9f\\u2028\\u2029\\ufeff\\ufffe\\uffff]")
"""Readers take our JSON for YAML, which does not allow these, or takes them for the end of a line. Beyond 16 bits it is
the other way round: YAML knows no surrogate pairs."""

_BASELINE = (0, 3, 0)
_MOUNT_TYPE = (0, 4, 0)
_HOST_PATH_OR_DIGIT = (0, 5, 0)
_DOTTED_CLASS = (0, 6, 0)


def encode_spec(vendor: str, class_name: str, devices: Mapping[str, ContainerEdits], *, file: str) -> bytes:
    """Return the bytes of one specification; the same devices give the same bytes.

    Args:
        vendor: the first part of the kind, for example ``intel.com``.
        class_name: the second part, for example ``gpu``.
        devices: device name -> edits; at least one, none of them empty.
        file: the file's name, for messages only.

    Raises SpecInvalid.
    """
    check_vendor(vendor)
    check_class(class_name)
    if not devices:
        msg = f"CDI file {file}: has no device"
        raise SpecInvalid(msg, cure="a specification without devices is not valid: remove the file instead")
    for name, edits in devices.items():
        check_edits(edits, file, check_device(name, file))
    spec = {
        "cdiVersion": minimum_version(class_name, devices),
        "kind": f"{vendor}/{class_name}",
        "devices": [{"name": name, "containerEdits": _edits(devices[name])} for name in sorted(devices)],
    }
    return (_NOT_IN_YAML.sub(_escaped, json.dumps(spec, ensure_ascii=False)) + "\n").encode()


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def minimum_version(class_name: str, devices: Mapping[str, ContainerEdits]) -> str:
    """Return the lowest CDI version that has every field in use (CDI specification, "Released versions")."""
    needed = max(_needed(class_name, devices))
    return ".".join(map(str, needed))


def _needed(class_name: str, devices: Mapping[str, ContainerEdits]) -> Iterator[tuple[int, int, int]]:
    yield _BASELINE
    if "." in class_name:
        yield _DOTTED_CLASS
    for name, edits in devices.items():
        if name[0].isdigit() or any("hostPath" in _node(node) for node in edits.device_nodes):
            yield _HOST_PATH_OR_DIGIT
        if any(mount.type for mount in edits.mounts):
            yield _MOUNT_TYPE


def _edits(edits: ContainerEdits) -> dict[str, Any]:
    return _present(
        env=list(edits.env),
        deviceNodes=[_node(node) for node in edits.device_nodes],
        mounts=[_mount(mount) for mount in edits.mounts],
        hooks=[_hook(hook) for hook in edits.hooks],
    )


def _node(node: DeviceNode) -> dict[str, Any]:
    # A host path that says the same as the path would only raise the version.
    host_path = node.host_path if node.host_path != node.path else None
    return _present(path=node.path, hostPath=host_path, type=node.type, permissions=node.permissions)


def _mount(mount: Mount) -> dict[str, Any]:
    return _present(
        hostPath=mount.host_path,
        containerPath=mount.container_path,
        type=mount.type,
        options=list(mount.options),
    )


def _hook(hook: Hook) -> dict[str, Any]:
    return _present(hookName=hook.name, path=hook.path, args=list(hook.args), env=list(hook.env))


def _present(**fields: object) -> dict[str, Any]:
    """Leave out what is not set: an empty list or text is never written."""
    return {name: value for name, value in fields.items() if value}
