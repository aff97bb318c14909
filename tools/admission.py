"""Admission policies made from a driver's opaque kinds: what of a claim's configuration CEL can check.

The driver decodes the configuration of every claim itself, strictly; these policies say the same earlier, when somebody
creates the claim, its template or its class. They see the parameters as they are in the object, so whatever an
expression asks for is asked for its existence and type first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from dra_common.driver import AdminOnly, ConfigKind

CONFIGS = """\
request.resource.resource == "deviceclasses" ? dyn(object).spec.?config.orValue([]) :
request.resource.resource == "resourceclaimtemplates" ? dyn(object).spec.spec.?devices.?config.orValue([]) :
dyn(object).spec.?devices.?config.orValue([])"""
"""Where the three kinds of objects have configuration; ``dyn``, since no one schema has all three places."""

CHANGED = 'request.operation == "CREATE" || dyn(object).spec != dyn(oldObject).spec'
"""Of an update only a new spec counts: a finalizer must come off an object that was made before the policy."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One validation: a CEL expression that is true of what is allowed, and the CEL expression of its message."""

    expression: str
    message: str


def ours(driver: str) -> str:
    """Return the expression of the parameters that are for this driver; it needs the variable ``configs``."""
    mine = f"has(c.opaque) && c.opaque.driver == {json.dumps(driver)}"
    return f"variables.configs.filter(c, {mine}).map(c, c.opaque.parameters)"


def of_kind(kind: ConfigKind) -> str:
    """Return the expression of the parameters of one kind; it needs the variable ``parameters``."""
    return f"variables.parameters.filter(p, {_is(kind)})"


def rules(driver: str, kinds: Sequence[ConfigKind]) -> list[Rule]:
    """Return the rules of all kinds, in the order in which the API server tells the first that is broken."""
    known = ", ".join(f"{kind.kind} ({kind.api_version})" for kind in kinds)
    said = f"opaque configuration for {driver} must be one of: {known}"
    expression = f"variables.parameters.all(p, {' || '.join(f'({_is(kind)})' for kind in kinds)})"
    return [Rule(expression, _text(said)), *(rule for kind in kinds for rule in _of(kind))]


def variable(kind: ConfigKind) -> str:
    """Return the name of the variable with the parameters of one kind: ``gpuConfig``."""
    return kind.kind[0].lower() + kind.kind[1:]


def _is(kind: ConfigKind) -> str:
    version, name = json.dumps(kind.api_version), json.dumps(kind.kind)
    return f'p.?apiVersion.orValue("") == {version} && p.?kind.orValue("") == {name}'


def _of(kind: ConfigKind) -> Iterator[Rule]:
    schema = kind.model.model_json_schema(by_alias=True)
    here, fields = f"variables.{variable(kind)}", schema.get("properties", {})
    allowed = json.dumps(["apiVersion", "kind", *fields])
    unknown = f"{here}.filter(p, !p.all(k, k in {allowed}))[0].filter(k, !(k in {allowed}))[0]"
    listed = ", ".join(sorted(fields)) or "none"
    yield Rule(
        f"{here}.all(p, p.all(k, k in {allowed}))",
        f"{_text(f'{kind.kind} has no field ')} + {unknown} + {_text(f'; it has the fields {listed}')}",
    )
    for name, given in fields.items():
        field = _resolved(given, schema)
        check, words = _check(f"p.{name}", field, schema), _words(field, schema)
        yield Rule(
            f"{here}.all(p, !has(p.{name}) || {check})", _text(f"{kind.kind} field {name} must be {words}")
        )
    yield from _admin(kind)


def _admin(kind: ConfigKind) -> Iterator[Rule]:
    names = [
        field.alias or name
        for name, field in kind.model.model_fields.items()
        if any(isinstance(mark, AdminOnly) for mark in field.metadata)
    ]
    for name in names:
        yield Rule(
            f'request.resource.resource == "deviceclasses" || variables.{variable(kind)}.all(p, !has(p.{name}))',
            _text(f"{kind.kind} field {name} may be set in the DeviceClass only"),
        )


# --------------------------------------------------------------------------- a field's schema as CEL


def _check(value: str, field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return the expression that is true of an allowed value. Raises ValueError for what CEL is not taught here."""
    if "anyOf" in field:
        each = (_check(value, _resolved(part, schema), schema) for part in field["anyOf"])
        return f"({' || '.join(each)})"
    if "const" in field or "enum" in field:
        return f"{value} in {json.dumps(field.get('enum', [field.get('const')]))}"
    if field["type"] not in _TYPES:
        raise ValueError(f"no expression for {field}")
    return _TYPES[field["type"]](value, field, schema)


def _null(value: str, _field: Mapping[str, Any], _schema: Mapping[str, Any]) -> str:
    return f"{value} == null"


def _boolean(value: str, _field: Mapping[str, Any], _schema: Mapping[str, Any]) -> str:
    return f"type({value}) == bool"


def _integer(value: str, field: Mapping[str, Any], _schema: Mapping[str, Any]) -> str:
    signs = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    limits = [f"{value} {sign} {field[name]}" for name, sign in signs.items() if name in field]
    return _all(f"type({value}) == int", *limits)


def _string(value: str, field: Mapping[str, Any], _schema: Mapping[str, Any]) -> str:
    limits = [
        f"size({value}) {sign} {field[name]}"
        for name, sign in (("minLength", ">="), ("maxLength", "<="))
        if name in field
    ]
    if "pattern" in field:
        limits.append(f"{value}.matches({json.dumps(field['pattern'])})")
    return _all(f"type({value}) == string", *limits)


def _array(value: str, field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    limits = [
        f"size({value}) {sign} {field[name]}"
        for name, sign in (("minItems", ">="), ("maxItems", "<="))
        if name in field
    ]
    item = _check("i", _resolved(field["items"], schema), schema)
    return _all(f"type({value}) == list", *limits, f"{value}.all(i, {item})")


_TYPES = {"null": _null, "boolean": _boolean, "integer": _integer, "string": _string, "array": _array}


def _all(*parts: str) -> str:
    return f"({' && '.join(parts)})" if len(parts) > 1 else parts[0]


def _resolved(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if reference := field.get("$ref"):
        found: Mapping[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
        return found
    return field


def _words(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return what is allowed, for people."""
    if "anyOf" in field:
        parts = [_resolved(part, schema) for part in field["anyOf"]]
        return " or ".join(_words(part, schema) for part in parts if part.get("type") != "null")
    if "const" in field or "enum" in field:
        return " or ".join(map(str, field.get("enum", [field.get("const")])))
    if field["type"] == "array":
        return f"a list of {_words(_resolved(field['items'], schema), schema)}"
    return {"boolean": "true or false", "integer": "a whole number", "string": "text"}[
        field["type"]
    ] + _limits(field)


def _limits(field: Mapping[str, Any]) -> str:
    signs = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than"}
    signs |= {"minLength": "characters: at least", "maxLength": "characters: at most", "pattern": "like"}
    told = [f"{word} {field[name]}" for name, word in signs.items() if name in field]
    return f" ({', '.join(told)})" if told else ""


def _text(words: str) -> str:
    """Return CEL's string of these words."""
    return json.dumps(words)


# --------------------------------------------------------------------------- the chart's template

_TEMPLATE = """\
{{{{- /* Generated by tools/generate_docs.py from the kinds that the driver reads. */}}}}
# What is wrong with the configuration of a claim is said when it is created. The driver checks it again, in full: where
# an expression fails, the object is let through.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{{{ include "driver.clusterName" . }}}}-claims
  labels:
    {{{{- include "driver.labels" . | nindent 4 }}}}
spec:
{spec}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{{{ include "driver.clusterName" . }}}}-claims
  labels:
    {{{{- include "driver.labels" . | nindent 4 }}}}
spec:
  policyName: {{{{ include "driver.clusterName" . }}}}-claims
  validationActions: [Deny]
"""


class _Dumper(yaml.SafeDumper):
    """Long texts are folded, lists are not in their key's column."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Indent lists, too."""
        super().increase_indent(flow, indentless=False)


def _folded(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = len(text) <= _SHORT and '"' not in text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else ">")


_SHORT = 60
_Dumper.add_representer(str, _folded)


def template(driver: str, kinds: Sequence[ConfigKind]) -> str:
    """Return the chart's template of the policy and its binding."""
    text = yaml.dump(spec(driver, kinds), Dumper=_Dumper, sort_keys=False, width=118)
    return _TEMPLATE.format(spec="\n".join(f"  {line}" for line in text.splitlines()))


def spec(driver: str, kinds: Sequence[ConfigKind]) -> dict[str, Any]:
    """Return the policy's ``spec``."""
    of_kinds = [{"name": variable(kind), "expression": of_kind(kind)} for kind in kinds]
    return {
        "failurePolicy": "Ignore",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["resource.k8s.io"],
                    "apiVersions": ["v1", "v1beta2", "v1beta1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["deviceclasses", "resourceclaims", "resourceclaimtemplates"],
                }
            ]
        },
        "matchConditions": [{"name": "is-new", "expression": CHANGED}],
        "variables": [
            {"name": "configs", "expression": " ".join(CONFIGS.split())},
            {"name": "parameters", "expression": ours(driver)},
            *of_kinds,
        ],
        "validations": [
            {"expression": rule.expression, "messageExpression": rule.message, "reason": "Invalid"}
            for rule in rules(driver, kinds)
        ],
    }
