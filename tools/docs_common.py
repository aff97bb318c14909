"""The generated parts of docs/ that come from dra-common: what is the same for every driver."""

from __future__ import annotations

import errno
import inspect
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import dra_common.errors
import dra_common.ports
import dra_common.testing
from docs_markdown import arguments, block, code, literal, paragraphs, rst_table, sentence, table
from dra_common import app, garbage, lifecycle
from dra_common.cli import compatibility, create
from dra_common.definition import Definition
from dra_common.driver import AdminOnly, ConfigKind, Driver
from dra_common.model import Phase
from dra_common.policy import PolicyKind, schema
from dra_common.simulate import control, profile
from dra_common.simulate.table import ROWS, Row, Step
from dra_common.telemetry import PROCESS_ROWS, Reason, rows
from dra_common.testing.knobs import KnobDriver
from pydantic import BaseModel
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

ROOT = Path(__file__).resolve().parent.parent


# --------------------------------------------------------------------------- the command line


def commands(definition: Definition) -> str:
    """Return a chapter for each command, with a table of its options."""
    top = get_command(create(definition))
    return "\n\n".join(_command(name, command) for name, command in _leaves(definition.program, top))


def ignored_options() -> str:
    """Return the options that are accepted without effect, with their variables."""
    rows = [
        (code(name), code(compatibility.variable(name)), why) for name, why in compatibility.IGNORED.items()
    ]
    return table(("option", "variable", "why it has no effect"), rows)


def _leaves(name: str, command: object) -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    if isinstance(command, TyperGroup):
        if command.invoke_without_command:
            yield name, command
        for part, below in command.commands.items():
            yield from _leaves(f"{name} {part}", below)
    elif isinstance(command, TyperCommand):
        yield name, command


def _command(name: str, command: TyperCommand | TyperGroup) -> str:
    text = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    arguments = [each for each in command.params if isinstance(each, TyperArgument)]
    rows = [(code(each.metavar or ""), "", "required", each.help or "") for each in arguments]
    rows += [_option(each) for each in command.params if isinstance(each, TyperOption) and not each.hidden]
    options = table(("option", "variable", "default", "meaning"), rows) if rows else "No options."
    return f"### {name}\n\n{text}\n\n{options}"


def _option(option: TyperOption) -> tuple[str, str, str, str]:
    names = ", ".join(map(code, [*option.opts, *option.secondary_opts]))
    variable = option.envvar if isinstance(option.envvar, str) else ""
    default = "required" if option.required else code(_default(option.default))
    return names, code(variable), default, option.help or ""


def _default(value: object) -> str:
    return "" if value is None or value is False else str(value)


# --------------------------------------------------------------------------- errors, layers, flows


def error_tree() -> str:
    """Return the tree of error classes as ``dra_common.errors`` draws it."""
    return block(literal(dra_common.errors, "text"))


def metrics() -> str:
    """Return every metric with its labels."""
    ours = [(row, ("driver", *row.labels)) for row in rows()]
    process = [(row, ()) for row in PROCESS_ROWS]
    lines = [
        (code(row.name), row.kind, ", ".join(map(code, labels)), row.help)
        for row, labels in (*ours, *process)
    ]
    return table(("metric", "type", "labels", "meaning"), lines)


def event_reasons() -> str:
    """Return the reasons of Events with their types."""
    return table(
        ("reason", "type", "meaning"), [(code(each.value), each.type, each.meaning) for each in Reason]
    )


def layers() -> str:
    """Return the layers that import-linter holds, top to bottom."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found = next(contract for contract in contracts if contract["type"] == "layers")
    return block("\n".join(found["layers"]))


def start_and_stop() -> str:
    """Return the order in which ``run`` starts and stops its parts."""
    return block(literal(app, "text"))


def phases() -> str:
    """Return the phases of a claim's record."""
    return block(literal(Phase, "text"))


def steps() -> str:
    """Return the steps of preparing and undoing a claim."""
    return block(literal(lifecycle, "text"))


def garbage_rules() -> str:
    """Return the rules of garbage collection."""
    return block(literal(garbage, "text"))


def ports() -> str:
    """Return the seams between the core and the world."""
    protocols = [member for _, member in inspect.getmembers(dra_common.ports, inspect.isclass)]
    ours = [
        each
        for each in protocols
        if each.__module__ == dra_common.ports.__name__ and getattr(each, "_is_protocol", False)
    ]
    ours.sort(key=lambda each: inspect.getsourcelines(each)[1])
    return table(("port", "what it is"), [(code(each.__name__), sentence(each)) for each in ours])


def fakes() -> str:
    """Return what ``dra_common.testing`` has."""
    return block(literal(dra_common.testing, "text").replace("``", ""))


def driver_protocol() -> str:
    """Return what a driver implements, beside what the example does."""
    rows = [
        (code(name), paragraphs(member), _example(name))
        for name, member in vars(Driver).items()
        if not name.startswith("_") and (callable(member) or isinstance(member, property))
    ]
    return table(("member", "what it is", "the example's"), rows)


_LONGEST = 40
"""Characters of a value that fits into a cell."""


def _example(name: str) -> str:
    member = getattr(KnobDriver, name)
    if callable(member):
        return sentence(member)
    return code(member) if len(repr(member)) < _LONGEST else "one, see its source"


# --------------------------------------------------------------------------- the configuration file


def config_fields(kind: PolicyKind) -> str:
    """Return a table of the fields of each part of a driver's configuration file."""
    whole = schema(kind)
    parts = {"The file": whole, **{f"`{name}`": part for name, part in whole["$defs"].items()}}
    return "\n\n".join(
        f"**{title}**: {part['description']}\n\n{_fields(part, _meanings(part))}"
        for title, part in parts.items()
    )


def _meanings(part: Mapping[str, Any]) -> Mapping[str, str]:
    return {name: field.get("description", "") for name, field in part["properties"].items()}


# --------------------------------------------------------------------------- the configuration of claims


def opaque_fields(kind: ConfigKind) -> str:
    """Return a table of the fields of one opaque kind."""
    properties, told = opaque_schema(kind)["properties"], arguments(kind.model)
    rows = []
    for name, field in kind.model.model_fields.items():
        shown = properties[field.alias or name]
        admin = any(isinstance(mark, AdminOnly) for mark in field.metadata)
        who = "DeviceClass only" if admin else "everybody"
        rows.append(
            (code(field.alias or name), _value(shown), _field_default(name, shown, ()), told[name], who)
        )
    return table((f"field of {code(kind.kind)}", "value", "default", "meaning", "who may set it"), rows)


def opaque_schema(kind: ConfigKind) -> dict[str, Any]:
    """Return the JSON schema (2020-12) of ``parameters`` of one opaque kind."""
    found = kind.model.model_json_schema(by_alias=True)
    head = {"apiVersion": {"const": kind.api_version}, "kind": {"const": kind.kind}}
    told = arguments(kind.model)
    for name, field in kind.model.model_fields.items():
        part = found["properties"][field.alias or name]
        part.pop("title", None)
        part["description"] = told[name]
    body = {"description": sentence(kind.model), "properties": {**head, **found["properties"]}}
    return {**found, **body, "required": list(head)}


# --------------------------------------------------------------------------- the simulated machine


def profile_example() -> str:
    """Return the commented profile of the schema's module."""
    return block(literal(profile, "yaml"), "yaml")


def profile_fields() -> str:
    """Return a table of the fields of each part of a profile."""
    schema = profile.Profile.model_json_schema()
    parts = {"a machine": schema, **{_PARTS[name]: part for name, part in schema["$defs"].items()}}
    order = ("a machine", *_PARTS.values())
    return "\n\n".join(f"**{title}**\n\n{_fields(parts[title])}" for title in order)


def fields(model: type[BaseModel]) -> str:
    """Return a table of the fields of one model, with what its docstring says of them."""
    return _fields(model.model_json_schema(), arguments(model))


_PARTS = {
    "FunctionSpec": "one of `functions`",
    "SriovSpec": "`sriov` of a function",
    "VfSpec": "one of `sriov.vfs`",
    "Bar": "one of `bars`",
}


def _fields(schema: Mapping[str, Any], meanings: Mapping[str, str] | None = None) -> str:
    header = ("field", "value", "default", *(["meaning"] if meanings else []))
    rows = []
    for name, field in schema["properties"].items():
        row = [code(name), _value(field), _field_default(name, field, schema.get("required", ()))]
        rows.append([*row, meanings[name]] if meanings else row)
    return table(header, rows)


def _field_default(name: str, field: Mapping[str, Any], required: Iterable[str]) -> str:
    if name in required:
        return "required"
    default = field.get("default")
    return "" if default is None or default in ({}, []) else code(json.dumps(default))


def _value(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_value(each) for each in field["anyOf"] if each.get("type") != "null")
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return "mapping, see below" if name in _PARTS else f"a `{name}`, see below"
    if allowed := [field["const"]] if "const" in field else field.get("enum"):
        return ", ".join(map(code, allowed))
    if field["type"] == "array":
        return f"list: {_value(field['items'])}"
    if field["type"] == "object":
        inner = field.get("additionalProperties")
        return f"mapping to: {_value(inner)}" if isinstance(inner, dict) else "mapping"
    return _scalar(field)


def _scalar(field: Mapping[str, Any]) -> str:
    if field["type"] == "string" and field.get("pattern") not in (None, r"^[^\n]*$"):
        return f"text like {code(field['pattern'])}"
    limits = [f"{sign} {field[key]}" for key, sign in _LIMITS.items() if key in field]
    kind = {"string": "text", "boolean": "true or false", "integer": "number"}[field["type"]]
    return " ".join([kind, *limits])


_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}


def control_operations() -> str:
    """Return the operations of the control socket."""
    return table(("`op`", "fields", "effect"), rst_table(control))


def kernel_behaviour() -> str:
    """Return what is written and what the kernel says, a row for each story of the table."""
    rows = [(row.name, "; ".join(_told(row)), code(row.source)) for row in ROWS]
    return table(("case", "path ← written → answer", "source"), rows)


def _told(row: Row) -> Iterator[str]:
    """One line for each step; refusals of the same kind in a row are one."""
    for (path, number, _), group in groupby(row.steps, key=_kind):
        steps_of = list(group)
        values = ", ".join(code(_shown(step.value)) for step in steps_of)
        yield f"{code(_short(path))} ← {values} → {errno.errorcode[number] if number else _effects(steps_of[0])}"


def _kind(step: Step) -> tuple[str, int, str]:
    return step.path, step.errno, "" if step.errno else step.value


def _effects(step: Step) -> str:
    found = [f"{code(_short(path))} is {code(text)}" for path, text in step.reads.items() if text]
    found += [f"{code(_short(path))} is empty" for path, text in step.reads.items() if text == ""]
    found += [f"no {code(_short(path))}" for path, text in step.reads.items() if text is None]
    found += [f"{code(_short(path))} leads to {code(to)}" for path, to in step.links.items() if to]
    found += [f"no {code(_short(path))}" for path, to in step.links.items() if not to]
    found += [f"events: {', '.join(step.events)}"] if step.events else []
    return ", ".join(found) or "ok"


def _short(path: str) -> str:
    return path.removeprefix("{pci}/").removeprefix("bus/pci/")


def _shown(value: str) -> str:
    return f"{value[0]}… ({len(value)} bytes)" if len(value) > _LONGEST else json.dumps(value)[1:-1]
