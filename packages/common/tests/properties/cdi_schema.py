"""The rules of a CDI specification as JSON Schema, written from the specification 1.1.0, for an independent validator.

It shares nothing with what writes the files, nor with the resolver of ``dra_common.testing.cdi``: three that agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

Schema = Mapping[str, Any]


def _object(required: tuple[str, ...] = (), **fields: Schema) -> Schema:
    return {
        "type": "object",
        "properties": fields,
        "required": list(required),
        "additionalProperties": False,
        "minProperties": 1,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


_TEXT: Schema = {"type": "string", "minLength": 1, "pattern": r"^[^\0]*$"}
_PATH: Schema = {"type": "string", "pattern": r"^/[^\0]*$"}
_VARIABLE: Schema = {"type": "string", "pattern": r"^[^=\0][^\0]*=[^\0]*$|^[^=\0]=[^\0]*$"}
_STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_NODE = _object(
    ("path",),
    path=_PATH,
    hostPath=_PATH,
    type={"enum": ["b", "c", "u", "p"]},
    permissions={"type": "string", "pattern": "^(none|[rwm]{1,3})$"},
)
_MOUNT = _object(
    ("hostPath", "containerPath"), hostPath=_PATH, containerPath=_PATH, type=_TEXT, options=_list(_TEXT)
)
_HOOK = _object(
    ("hookName", "path"),
    hookName={"enum": list(_STAGES)},
    path=_PATH,
    args=_list({"type": "string"}),
    env=_list(_VARIABLE),
)
_EDITS = _object(env=_list(_VARIABLE), deviceNodes=_list(_NODE), mounts=_list(_MOUNT), hooks=_list(_HOOK))
_PART = r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?"
_DEVICE = _object(
    ("name", "containerEdits"),
    name={"type": "string", "pattern": r"^[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$"},
    containerEdits=_EDITS,
)
SCHEMA = _object(
    ("cdiVersion", "kind", "devices"),
    cdiVersion={"enum": ["0.3.0", "0.4.0", "0.5.0", "0.6.0"]},
    kind={"type": "string", "pattern": f"^{_PART}/{_PART}$"},
    devices=_list(_DEVICE),
)
_VALIDATOR = Draft202012Validator(SCHEMA)


def errors(spec: object) -> list[str]:
    """Return what the validator finds wrong."""
    return [f"{error.json_path}: {error.message}" for error in _VALIDATOR.iter_errors(spec)]


def lowest_version(spec: Mapping[str, Any]) -> str:
    """Return the version that a reader requires for the fields of a valid specification."""
    return max(_needs(spec))


def _needs(spec: Mapping[str, Any]) -> Iterator[str]:
    yield "0.3.0"
    if "." in spec["kind"].split("/")[1]:
        yield "0.6.0"
    for device in spec["devices"]:
        edits = device["containerEdits"]
        if device["name"][:1].isdigit() or any("hostPath" in node for node in edits.get("deviceNodes", ())):
            yield "0.5.0"
        if any("type" in mount for mount in edits.get("mounts", ())):
            yield "0.4.0"
