"""Opaque configuration of a claim: strict decoding, precedence, and who may set what (KEP-4381).

For each device: the kind's defaults, then the DeviceClass's entries, then the claim's, field by field; the later wins.
Fields marked :class:`~dra_common.driver.AdminOnly` are accepted from the DeviceClass only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from dra_common.driver import AdminOnly, ConfigKind, OpaqueParameters, Wanted
from dra_common.errors import ConfigError
from dra_common.model import Allocated, Claim, OpaqueConfig

_ENVELOPE = ("apiVersion", "kind")


def configure(claim: Claim, kinds: Sequence[ConfigKind]) -> tuple[Wanted, ...]:
    """Give every allocation result its configuration. Raises ConfigError naming claim, source, kind and field."""
    decoded = [(entry, *_decode(entry, kinds, claim)) for entry in claim.configs]
    return tuple(_wanted(result, decoded, kinds, claim) for result in claim.results)


def _wanted(
    result: Allocated,
    decoded: Iterable[tuple[OpaqueConfig, ConfigKind, OpaqueParameters]],
    kinds: Sequence[ConfigKind],
    claim: Claim,
) -> Wanted:
    fields: dict[str, dict[str, Any]] = {kind.kind: {} for kind in kinds}
    models = {kind.kind: kind.model for kind in kinds}
    for entry, kind, parameters in decoded:
        if entry.covers(result):
            models[kind.kind] = kind.model
            fields[kind.kind].update(
                {name: getattr(parameters, name) for name in parameters.model_fields_set}
            )
    merged = {name: model.model_construct(**fields[name]) for name, model in models.items()}
    return Wanted(result, merged, claim.classes.get(result.request, ""))


def _decode(
    entry: OpaqueConfig, kinds: Sequence[ConfigKind], claim: Claim
) -> tuple[ConfigKind, OpaqueParameters]:
    kind = _kind(entry, kinds, claim)
    body = {name: value for name, value in entry.parameters.items() if name not in _ENVELOPE}
    try:
        # As JSON, which it is: strict otherwise means Python's types, and no list would ever be a tuple.
        parameters = kind.model.model_validate_json(json.dumps(body))
    except ValidationError as error:
        raise ConfigError(_explain(error, entry, kind, claim), cure=_allowed(kind)) from error
    _refuse_admin_fields(parameters, entry, kind, claim)
    return kind, parameters


def _kind(entry: OpaqueConfig, kinds: Sequence[ConfigKind], claim: Claim) -> ConfigKind:
    asked = tuple(entry.parameters.get(name) for name in _ENVELOPE)
    for kind in kinds:
        if asked == (kind.api_version, kind.kind):
            return kind
    known = ", ".join(f"{kind.kind} ({kind.api_version})" for kind in kinds)
    msg = f"{_where(entry, claim)}: unknown opaque kind {asked[1]!r} of apiVersion {asked[0]!r}"
    raise ConfigError(
        msg, cure=f"known kinds: {known}" if known else "this driver takes no opaque configuration"
    )


def _refuse_admin_fields(
    parameters: OpaqueParameters, entry: OpaqueConfig, kind: ConfigKind, claim: Claim
) -> None:
    if entry.source == "FromClass":
        return
    for name in sorted(parameters.model_fields_set):
        field = kind.model.model_fields[name]
        if any(isinstance(mark, AdminOnly) for mark in field.metadata):
            msg = f"{_where(entry, claim)}: {kind.kind} field {field.alias or name} may be set in the DeviceClass only"
            raise ConfigError(
                msg, cure="remove it from the claim, or ask an administrator for a DeviceClass with it"
            )


def _explain(error: ValidationError, entry: OpaqueConfig, kind: ConfigKind, claim: Claim) -> str:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "(whole)"
    reason = "unknown field" if first["type"] == "extra_forbidden" else first["msg"]
    return f"{_where(entry, claim)}: {kind.kind} field {field}: {reason}"


def _where(entry: OpaqueConfig, claim: Claim) -> str:
    source = "DeviceClass" if entry.source == "FromClass" else "claim"
    requests = f" for request {', '.join(entry.requests)}" if entry.requests else ""
    return f"claim {claim.ref}: opaque configuration of the {source}{requests}"


def _allowed(kind: ConfigKind) -> str:
    fields = ", ".join(sorted(field.alias or name for name, field in kind.model.model_fields.items()))
    return f"{kind.kind} has the fields {fields}" if fields else f"{kind.kind} has no fields"
