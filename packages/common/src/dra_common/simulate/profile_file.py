"""Reading profiles: YAML with line numbers in its errors, ``repeat``, and the check of ``details``.

Numbers with ``0x`` stay text (they are ids), ``0000:03:00.0`` stays text (YAML 1.1 would make it a number), a key may
not come twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dra_common.errors import SettingsError
from dra_common.simulate.profile import FunctionSpec, Profile

Details = Mapping[str, type[BaseModel]]
"""Key below ``details`` -> model."""

_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_LIMIT = 4096


class _Loader(yaml.SafeLoader):
    """YAML whose plain scalars are null, true, false, decimal integers, or text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own shape


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(rf"^{_INT.pattern}$"), list("-0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""])


class _Counter(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    start: int | str = 0
    step: int = 1

    def at(self, index: int) -> int:
        return int(str(self.start), 0) + self.step * index


class _Repeat(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    count: int = Field(ge=0, le=_LIMIT)
    counters: dict[str, _Counter] = {}

    def values(self, index: int) -> dict[str, int]:
        return {"i": index, **{name: counter.at(index) for name, counter in self.counters.items()}}


def load_profile(file: Traversable, details: Details) -> Profile:
    """Read and check a profile. Raises SettingsError naming the file, the line, the field and what is wrong."""
    node = _compose(file)
    try:
        raw = _construct(file, node)
    except RecursionError:
        raise SettingsError(f"profile {file}: an anchor contains itself") from None
    if not isinstance(raw, dict):
        raise SettingsError(f"profile {file}: line 1: not a mapping", cure="begin with `name: …`")
    functions, origins = _expand(file, node, raw)
    try:
        profile = Profile.model_validate_json(json.dumps({**raw, "functions": functions}))
    except ValidationError as error:
        raise _explain(file, node, error, origins) from None
    _check_details(file, node, profile, details, origins)
    return profile


def parse_details(spec: FunctionSpec, models: Details) -> dict[str, BaseModel]:
    """Decode ``details`` of a function. Raises ValidationError, KeyError (a key that no model is for)."""
    return {key: _parse(models[key], raw) for key, raw in spec.details.items()}


def _parse(model: type[BaseModel], raw: Mapping[str, Any]) -> BaseModel:
    # By way of JSON: a strict model then still takes a list for a tuple.
    return model.model_validate_json(json.dumps(raw))


def _compose(file: Traversable) -> yaml.Node:
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise SettingsError(f"profile {file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"profile {file}: not UTF-8 text at byte {error.start}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"profile {file}: line {line}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"profile {file}: not YAML: {error}") from None
    if node is None:
        raise SettingsError(f"profile {file}: is empty", cure="begin with `name: …`")
    return node


def _construct(file: Traversable, node: yaml.Node) -> object:
    for where, key in _doubles(node):
        raise SettingsError(f"profile {file}: line {where}: {key} is there twice")
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"profile {file}: line {line}: {error.problem}") from None
    finally:
        loader.dispose()


def _doubles(node: yaml.Node) -> Iterator[tuple[int, str]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield key.start_mark.line + 1, name
            seen.add(name)
            yield from _doubles(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _doubles(item)


# --------------------------------------------------------------------------- repeat


def _expand(file: Traversable, node: yaml.Node, raw: Mapping[str, Any]) -> tuple[list[object], list[int]]:
    """Return all functions, and for each the index of the item in the file it comes from."""
    functions: list[object] = []
    origins: list[int] = []
    items = raw.get("functions", [])
    for index, item in enumerate(items if isinstance(items, list) else []):
        copies = _copies(file, node, index, item)
        functions += copies
        origins += [index] * len(copies)
    return functions if isinstance(items, list) else items, origins


def _copies(file: Traversable, node: yaml.Node, index: int, item: object) -> list[object]:
    if not isinstance(item, dict) or "repeat" not in item:
        return [item]
    rest = {key: value for key, value in item.items() if key != "repeat"}
    try:
        repeat = _Repeat.model_validate(item["repeat"])
        return [_fill(rest, repeat.values(number)) for number in range(repeat.count)]
    except ValidationError as error:
        raise _explain(file, node, error, [], ("functions", index, "repeat")) from None
    except (KeyError, IndexError, ValueError) as error:
        line = _line(node, ("functions", index, "repeat"))
        why = f"unknown counter {error}" if isinstance(error, KeyError) else str(error)
        raise SettingsError(f"profile {file}: line {line}: functions.{index}.repeat: {why}") from None


def _fill(value: object, numbers: Mapping[str, int]) -> object:
    if isinstance(value, dict):
        return {key: _fill(item, numbers) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, numbers) for item in value]
    if isinstance(value, str) and "{" in value:
        text = value.format(**numbers)
        return int(text) if _INT.fullmatch(text) else text
    return value


# --------------------------------------------------------------------------- errors


def _check_details(
    file: Traversable, node: yaml.Node, profile: Profile, models: Details, origins: Sequence[int]
) -> None:
    for index, spec in enumerate(profile.functions):
        for key, raw in spec.details.items():
            where = ("functions", origins[index], "details", key)
            if key not in models:
                known = ", ".join(sorted(models)) or "none"
                message = f"profile {file}: line {_line(node, where)}: {spec.bdf}: details.{key} is not known"
                raise SettingsError(message, cure=f"known here: {known}")
            try:
                _parse(models[key], raw)
            except ValidationError as error:
                raise _explain(file, node, error, [], where) from None


def _explain(
    file: Traversable,
    node: yaml.Node,
    error: ValidationError,
    origins: Sequence[int],
    prefix: tuple[str | int, ...] = (),
) -> SettingsError:
    first = error.errors(include_url=False)[0]
    place = [*prefix, *first["loc"]]
    if place[:1] == ["functions"] and len(place) > 1 and isinstance(place[1], int) and origins:
        place[1] = origins[place[1]]
    name = ".".join(map(str, place)) or "profile"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    why = str(first["msg"]).removeprefix("Value error, ")
    got = first["input"]
    shown = f", not {got!r}" if isinstance(got, str | int | float | bool) else ""
    return SettingsError(f"profile {file}: line {_line(node, place)}: {name}: {why}{shown}{more}")


def _line(node: yaml.Node, place: Sequence[str | int]) -> int:
    """Return the line of the innermost part of ``place`` that is in the file."""
    line = node.start_mark.line
    for step in place:
        found = _child(node, step)
        if found is None:
            break
        line, node = found
    return line + 1


def _child(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key.start_mark.line, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item = node.value[step]
        return item.start_mark.line, item
    return None
