"""The table of a chart's values: comments and defaults of values.yaml, types of values.schema.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docs_markdown import table
from dra_common.policy import PolicyKind, schema

CHARTS = Path(__file__).resolve().parent.parent / "deployments"

_KEY = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z]+):")


@dataclass(frozen=True)
class Value:
    """One value that a user may set."""

    path: tuple[str, ...]
    meaning: str
    default: Any
    schema: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As ``--set`` calls it."""
        return ".".join(self.path)


def values(chart: Path) -> list[Value]:
    """Return every value of a chart that has a comment, in order."""
    text = (chart / "values.yaml").read_text()
    defaults, schema = yaml.safe_load(text), json.loads((chart / "values.schema.json").read_text())
    return [
        Value(path, meaning, _default(defaults, path), _schema(schema, path))
        for path, meaning in _commented(text)
    ]


def values_table(driver: str) -> str:
    """Return the table of a driver's chart."""
    rows = [
        (f"`{value.name}`", _kind(value.schema), f"`{_compact(value.default)}`", value.meaning)
        for value in values(CHARTS / driver / "chart")
    ]
    return table(("value", "type", "default", "meaning"), rows)


def with_config(page: str, kind: PolicyKind) -> str:
    """Return the schema of a chart's values with what the driver's configuration file may hold."""
    head, last, _ = page.partition(_CONFIG)
    if not last:
        raise ValueError(f"the schema has no last definition {_CONFIG.strip()}")
    text = json.dumps(_value_schema(schema(kind)), indent=2).replace("\n", "\n    ")
    return f"{head}{last}{text}\n  }}\n}}\n"


_CONFIG = '    "driverConfig": '
"""The last definition of a chart's schema; what follows is generated."""


def _value_schema(file: Mapping[str, Any]) -> Mapping[str, Any]:
    """As a value it has no envelope; Helm reads draft 7."""
    text = json.dumps(file).replace('"#/$defs/', '"#/definitions/driverConfig/definitions/')
    found: dict[str, Any] = json.loads(text)
    found["definitions"] = found.pop("$defs")
    for name in found.pop("required"):
        del found["properties"][name]
    return found


def _commented(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    comment: list[str] = []
    path: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").strip())
            continue
        if match := _KEY.match(line):
            path[len(match["indent"]) // 2 :] = [match["key"]]
            if comment:
                yield tuple(path), " ".join(comment)
        comment = []


def _default(defaults: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - YAML
    for key in path:
        defaults = defaults[key]
    return defaults


def _schema(schema: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    here = schema
    for key in path:
        here = _resolved(schema, here["properties"][key])
    return here


def _resolved(schema: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    if "anyOf" in part:  # empty, or what the other one says
        part = next(each for each in part["anyOf"] if "$ref" in each)
    if reference := part.get("$ref"):
        found: Mapping[str, Any] = schema["definitions"][reference.rpartition("/")[2]]
        return found
    return part


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "minimum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    names = {"object": "map", "array": "list", "string": "text", "boolean": "true, false"}
    return names[schema["type"]]


def _compact(value: Any) -> str:  # noqa: ANN401 - YAML
    return json.dumps(value, separators=(", ", ": "))
