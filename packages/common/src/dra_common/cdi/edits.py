"""What container edits may say. A runtime skips a whole file with one bad field, and tells nobody: we refuse first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from dra_common.errors import SpecInvalid
from dra_common.model import ContainerEdits, DeviceNode, Hook, Mount

_HOOKS = frozenset(
    {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}
)
_NODE_TYPES = frozenset({None, "b", "c"})

_ABSOLUTE = "must be an absolute path without '..' and without control characters"
_ENV = "must be NAME=value, with a name, in UTF-8 and without NUL"
_TEXT = "must be UTF-8 text without NUL, not empty"

Broken: TypeAlias = Iterator[tuple[str, object, str]]
"""Field as in the JSON, its value, the rule that it breaks."""


def check_edits(edits: ContainerEdits, file: str, device: str) -> None:
    """Refuse edits that CDI forbids. Raises SpecInvalid, naming the file, the device and the field."""
    for field, value, rule in _broken(edits):
        msg = f"CDI file {file}: device {device}: {field} {value!r}: {rule}"
        raise SpecInvalid(msg)


def _broken(edits: ContainerEdits) -> Broken:
    if not edits:
        yield "containerEdits", {}, "must not be empty: a device that changes nothing gets no CDI id"
    yield from _broken_env("env", edits.env)
    for index, node in enumerate(edits.device_nodes):
        yield from _broken_node(f"deviceNodes[{index}]", node)
    for index, mount in enumerate(edits.mounts):
        yield from _broken_mount(f"mounts[{index}]", mount)
    for index, hook in enumerate(edits.hooks):
        yield from _broken_hook(f"hooks[{index}]", hook)


def _broken_env(field: str, entries: tuple[str, ...]) -> Broken:
    for index, entry in enumerate(entries):
        if entry.find("=") < 1 or not _encodable(entry):
            yield f"{field}[{index}]", entry, _ENV


def _broken_node(field: str, node: DeviceNode) -> Broken:
    if not _absolute(node.path):
        yield f"{field}.path", node.path, _ABSOLUTE
    if node.host_path is not None and not _absolute(node.host_path):
        yield f"{field}.hostPath", node.host_path, _ABSOLUTE
    if node.type not in _NODE_TYPES:
        yield f"{field}.type", node.type, "must be 'c' (character) or 'b' (block)"
    if node.permissions is not None and not _permissions(node.permissions):
        yield f"{field}.permissions", node.permissions, "must be 'none' or some of 'r', 'w', 'm', each once"


def _broken_mount(field: str, mount: Mount) -> Broken:
    if not _absolute(mount.host_path):
        yield f"{field}.hostPath", mount.host_path, _ABSOLUTE
    if not _absolute(mount.container_path):
        yield f"{field}.containerPath", mount.container_path, _ABSOLUTE
    if mount.type is not None and not _text(mount.type):
        yield f"{field}.type", mount.type, _TEXT
    for index, option in enumerate(mount.options):
        if not _text(option):
            yield f"{field}.options[{index}]", option, _TEXT


def _broken_hook(field: str, hook: Hook) -> Broken:
    if hook.name not in _HOOKS:
        yield f"{field}.hookName", hook.name, f"must be one of {', '.join(sorted(_HOOKS))}"
    if not _absolute(hook.path):
        yield f"{field}.path", hook.path, _ABSOLUTE
    for index, argument in enumerate(hook.args):
        if not _encodable(argument):
            yield f"{field}.args[{index}]", argument, "must be UTF-8 text without NUL"
    yield from _broken_env(f"{field}.env", hook.env)


def _absolute(path: str) -> bool:
    return path.startswith("/") and path.isprintable() and ".." not in path.split("/")


def _permissions(text: str) -> bool:
    return text == "none" or (text != "" and set(text) <= set("rwm") and len(set(text)) == len(text))


def _text(text: str) -> bool:
    return text != "" and _encodable(text)


def _encodable(text: str) -> bool:
    """Whether a file can say it: names that came from the file system may hold bytes that are not UTF-8."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)
