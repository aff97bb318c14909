"""Whether a document is a CDI specification: its fields, their types, and the version that they need."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")

Check = Callable[[object], bool]


class BadSpec(Exception):
    """Why a file is not a specification that a runtime would load."""


def _text(value: object) -> bool:
    return isinstance(value, str)


def _full(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _variables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item.find("=") > 0 for item in value)


def _annotations(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _permissions(value: object) -> bool:
    return isinstance(value, str) and (value == "none" or not value.strip("rwm"))


def _gids(value: object) -> bool:
    return isinstance(value, list) and all(_number(item) and item >= 0 for item in value)


def _one_of(*words: str) -> Check:
    return lambda value: value in words


_STAGES = _one_of("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

_NODE: Mapping[str, Check] = {
    "path": _full,
    "hostPath": _text,
    "type": _one_of("", "b", "c", "u", "p"),
    "major": _number,
    "minor": _number,
    "fileMode": _number,
    "permissions": _permissions,
    "uid": _number,
    "gid": _number,
}
_NET: Mapping[str, Check] = {"hostInterfaceName": _full, "name": _full}
_MOUNT: Mapping[str, Check] = {"hostPath": _full, "containerPath": _full, "type": _text, "options": _strings}
_HOOK: Mapping[str, Check] = {
    "hookName": _STAGES,
    "path": lambda value: isinstance(value, str) and value.startswith("/"),
    "args": _strings,
    "env": _variables,
    "timeout": _number,
}
_RDT: Mapping[str, Check] = {
    "closID": _text,
    "l3CacheSchema": _text,
    "memBwSchema": _text,
    "schemata": _strings,
    "enableMonitoring": _flag,
}
_LISTS: Mapping[str, tuple[Mapping[str, Check], tuple[str, ...]]] = {
    "deviceNodes": (_NODE, ("path",)),
    "netDevices": (_NET, ("hostInterfaceName", "name")),
    "mounts": (_MOUNT, ("hostPath", "containerPath")),
    "hooks": (_HOOK, ("hookName", "path")),
}
_EDITS = ("env", *_LISTS, "additionalGids", "intelRdt")
_KIND = re.compile(r"[A-Za-z]([\w.-]*[A-Za-z0-9])?/[A-Za-z]([\w.-]*[A-Za-z0-9])?", re.ASCII)
_DEVICE = re.compile(r"[A-Za-z0-9]([\w.:-]*[A-Za-z0-9])?", re.ASCII)


def check_spec(spec: object) -> Mapping[str, Any]:
    """Return ``spec`` if a runtime would load it. Raises BadSpec, naming the place."""
    document = _record(spec, ("cdiVersion", "kind", "annotations", "devices", "containerEdits"), "file")
    if not _KIND.fullmatch(str(document.get("kind", ""))):
        raise BadSpec(f"kind {document.get('kind')!r} is not vendor/class")
    devices = document.get("devices")
    if not isinstance(devices, list) or not devices:
        raise BadSpec("devices must be a list that is not empty")
    if "annotations" in document:
        _value(document["annotations"], _annotations, "annotations")
    _check_edits(document.get("containerEdits", {}), "containerEdits")
    names = [_check_device(device, f"devices[{index}]") for index, device in enumerate(devices)]
    if len(set(names)) != len(names):
        raise BadSpec("two devices have the same name")
    _check_version(document)
    return document


def _check_device(value: object, where: str) -> str:
    device = _record(value, ("name", "annotations", "containerEdits"), where)
    name = device.get("name")
    if not isinstance(name, str) or not _DEVICE.fullmatch(name):
        raise BadSpec(f"{where}.name {name!r} is not a CDI device name")
    if "annotations" in device:
        _value(device["annotations"], _annotations, f"{where}.annotations")
    edits = device.get("containerEdits")
    if not isinstance(edits, dict) or not any(edits.values()):
        raise BadSpec(f"{where} ({name}) has no container edits")
    _check_edits(edits, f"{where}.containerEdits")
    return name


def _check_edits(value: object, where: str) -> None:
    edits = _record(value, _EDITS, where)
    for name, (fields, required) in _LISTS.items():
        for index, item in enumerate(edits.get(name, [])):
            _check_fields(item, fields, required, f"{where}.{name}[{index}]")
    if "env" in edits:
        _value(edits["env"], _variables, f"{where}.env")
    if "additionalGids" in edits:
        _value(edits["additionalGids"], _gids, f"{where}.additionalGids")
    if "intelRdt" in edits:
        _check_fields(edits["intelRdt"], _RDT, (), f"{where}.intelRdt")


def _check_fields(value: object, fields: Mapping[str, Check], required: tuple[str, ...], where: str) -> None:
    record = _record(value, tuple(fields), where)
    for name in required:
        if name not in record:
            raise BadSpec(f"{where}.{name} is missing")
    for name, item in record.items():
        _value(item, fields[name], f"{where}.{name}")


def _record(value: object, fields: tuple[str, ...], where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadSpec(f"{where} must be an object")
    for name in value:
        if name not in fields:
            raise BadSpec(f"{where} has an unknown field {name!r}")
    return value


def _value(value: object, check: Check, where: str) -> None:
    if not check(value):
        raise BadSpec(f"{where} {value!r} is not allowed")


def _check_version(spec: Mapping[str, Any]) -> None:
    declared = str(spec.get("cdiVersion", "")).removeprefix("v")
    if declared not in VERSIONS:
        raise BadSpec(f"cdiVersion {spec.get('cdiVersion')!r} is not known")
    lowest = max(_lowest(spec), key=VERSIONS.index)
    if VERSIONS.index(declared) < VERSIONS.index(lowest):
        raise BadSpec(f"cdiVersion {declared} is too low: its fields need {lowest}")


def _lowest(spec: Mapping[str, Any]) -> Iterator[str]:
    """Every version that some field of the file needs."""
    yield "0.1.0"
    if "." in spec["kind"].partition("/")[2] or spec.get("annotations"):
        yield "0.6.0"
    yield from _edits_need(spec.get("containerEdits", {}))
    for device in spec["devices"]:
        if device["name"][0] in "0123456789":
            yield "0.5.0"
        if device.get("annotations"):
            yield "0.6.0"
        yield from _edits_need(device["containerEdits"])


def _edits_need(edits: Mapping[str, Any]) -> Iterator[str]:
    if any(mount.get("type") for mount in edits.get("mounts", [])):
        yield "0.4.0"
    if any(node.get("hostPath") for node in edits.get("deviceNodes", [])):
        yield "0.5.0"
    if edits.get("additionalGids") or "intelRdt" in edits:
        yield "0.7.0"
    rdt = edits.get("intelRdt", {})
    if edits.get("netDevices") or rdt.get("schemata") or rdt.get("enableMonitoring"):
        yield "1.1.0"
