"""How the registry says no, and what it says of a deletion."""

from __future__ import annotations

from collections.abc import Sequence

from dra_common.testing.apiserver.resources import Json, Target
from dra_common.testing.apiserver.status import Cause, Refusal


def details_of(target: Target) -> Json:
    """Return what ``Status.details`` says of the object."""
    details = {"name": target.name, "group": target.resource.group, "kind": target.resource.plural}
    return {name: value for name, value in details.items() if value}


def not_found(target: Target) -> Refusal:
    """Return the 404 of an object."""
    return Refusal(404, f'{target.resource.qualified} "{target.name}" not found', details=details_of(target))


def exists(target: Target) -> Refusal:
    """Return the 409 of a second POST."""
    message = f'{target.resource.qualified} "{target.name}" already exists'
    return Refusal(409, message, reason="AlreadyExists", details=details_of(target))


def conflict(target: Target, why: str) -> Refusal:
    """Return the 409 of a stale write."""
    message = f'Operation cannot be fulfilled on {target.resource.qualified} "{target.name}": {why}'
    return Refusal(409, message, details=details_of(target))


def enforce(target: Target, causes: Sequence[Cause]) -> None:
    """Raise the 422 that lists ``causes``, if there are any."""
    if not causes:
        return
    resource = target.resource
    text = str(causes[0]) if len(causes) == 1 else "[" + ", ".join(map(str, causes)) + "]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = {**details_of(target), "kind": resource.kind, "causes": [cause.as_json() for cause in causes]}
    raise Refusal(422, f'{kind} "{target.name}" is invalid: {text}', details=details)


def deleted(target: Target, old: Json) -> Json:
    """Return the Status of a successful DELETE."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {**details_of(target), "uid": old["metadata"]["uid"]},
    }
