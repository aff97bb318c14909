"""Decoding as the real server does it: unknown fields vanish, wrong types are a 400, empty optional fields vanish."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from dra_common.testing.apiserver.quantity import canonical
from dra_common.testing.apiserver.status import Refusal


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value without structure.

    Args:
        type: ``string``, ``int``, ``bool``, ``quantity``, ``time``; ``any`` is stored untouched.
        pointer: whether the empty value is different from no value, and so is kept.
        default: what stands there if nothing is given.
    """

    type: str
    pointer: bool = False
    default: Any = None


@dataclass(frozen=True, slots=True)
class Record:
    """An object with known fields."""

    fields: Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array."""

    item: Shape


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object with free keys."""

    item: Shape


Shape: TypeAlias = Scalar | Record | ListOf | MapOf

STRING = Scalar("string")
STRING_POINTER = Scalar("string", pointer=True)
INT = Scalar("int")
BOOL = Scalar("bool")
QUANTITY = Scalar("quantity")
TIME = Scalar("time")
ANY = Scalar("any")

_PYTHON = {"string": str, "bool": bool}


def decode(shape: Shape, value: Any, path: str) -> Any:  # noqa: ANN401 (JSON)
    """Return ``value`` as it would be stored. Raises Refusal (400) naming the field."""
    match shape:
        case Scalar():
            return _scalar(shape, value, path)
        case Record(fields):
            return _record(fields, _expect(dict, value, path, "object"), path)
        case ListOf(item):
            entries = _expect(list, value, path, "array")
            return [decode(item, entry, f"{path}[{index}]") for index, entry in enumerate(entries)]
        case MapOf(item):
            entries = _expect(dict, value, path, "object")
            return {key: decode(item, entry, f"{path}[{key}]") for key, entry in entries.items()}


def _record(fields: Mapping[str, Shape], value: dict[str, Any], path: str) -> dict[str, Any]:
    stored = {}
    for name, shape in fields.items():
        if value.get(name) is None:
            if isinstance(shape, Scalar) and shape.default is not None:
                stored[name] = shape.default
            continue
        decoded = decode(shape, value[name], f"{path}.{name}")
        pointer = isinstance(shape, Scalar) and shape.pointer
        if pointer or decoded not in ("", [], {}) or shape is ANY:
            stored[name] = decoded
    return stored


def _scalar(shape: Scalar, value: Any, path: str) -> Any:  # noqa: ANN401 (JSON)
    if shape.type == "any":
        return value
    if shape.type == "int":
        return _integer(value, path)
    if shape.type == "quantity":
        return _quantity(value, path)
    if shape.type == "time":
        return _time(value, path)
    return _expect(_PYTHON[shape.type], value, path, shape.type)


def _expect(python: type, value: Any, path: str, name: str) -> Any:  # noqa: ANN401 (JSON)
    if not isinstance(value, python):
        raise Refusal(
            400, f"json: cannot unmarshal {_json_type(value)} into Go struct field {path} of type {name}"
        )
    return value


def _integer(value: Any, path: str) -> int:  # noqa: ANN401 (JSON)
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise Refusal(
            400, f"json: cannot unmarshal {_json_type(value)} into Go struct field {path} of type int64"
        )
    return value


def _quantity(value: Any, path: str) -> str:  # noqa: ANN401 (JSON)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Refusal(
            400, f"json: cannot unmarshal {_json_type(value)} into Go struct field {path} of type Quantity"
        )
    try:
        return canonical(str(value))
    except ValueError as error:
        raise Refusal(400, f"unable to parse quantity's suffix in {path}: {error}") from error


def _time(value: Any, path: str) -> str:  # noqa: ANN401 (JSON)
    try:
        moment = dt.datetime.fromisoformat(_expect(str, value, path, "Time"))
    except ValueError as error:
        raise Refusal(400, f'parsing time "{value}" in {path}: {error}') from error
    if moment.tzinfo is None:
        raise Refusal(400, f'parsing time "{value}" in {path}: no time zone')
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json_type(value: Any) -> str:  # noqa: ANN401 (JSON)
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
