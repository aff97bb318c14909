"""What an operator decides for a driver in its configuration file: the models of it, and how layers become one.

Pure. From the weakest layer to the strongest: the defaults, the file, every section of the file whose names match this
node in the order in which they stand there, and the flags that were given. A layer says only what it names: nested
settings are merged field by field, rules for devices are read one after the other.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model
from pydantic.alias_generators import to_camel

from dra_common.model import TaintEffect

_NODES = (
    "What differs on some nodes. Each section that names a node is read for it, in the order of the file, after all "
    "that stands above."
)

P = TypeVar("P", bound="PolicyModel")

_LONGEST = 256
"""Characters of a pattern: no name that it could match is longer."""


def _several(value: object) -> object:
    """Take one text for a list of one."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Pattern = Annotated[str, Field(min_length=1, max_length=_LONGEST)]
Patterns = Annotated[
    tuple[Pattern, ...],
    BeforeValidator(_several),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": _LONGEST},
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "string", "minLength": 1, "maxLength": _LONGEST},
                },
            ]
        }
    ),
]
"""One or several shell patterns (``*``, ``?``, ``[abc]``), of which one has to match; case counts."""


def _documented(found: dict[str, Any], model: type[BaseModel]) -> None:
    """Give a JSON schema the words of the docstrings, each field its own, in place of made-up titles."""
    found["description"] = " ".join(_parted(model)[0].split())
    told = {name: text for base in reversed(model.__mro__) for name, text in _described(base).items()}
    for name, field in model.model_fields.items():
        part = found["properties"][field.alias or name]
        part.pop("title", None)
        if description := field.description or told.get(name):
            part["description"] = description
    required = found.get("required", ())
    found["properties"] = dict(sorted(found["properties"].items(), key=lambda item: item[0] not in required))


def _described(model: type) -> dict[str, str]:
    parts = re.split(r"^(\w+): ", inspect.cleandoc(_parted(model)[1].lstrip("\n")), flags=re.MULTILINE)[1:]
    texts = (" ".join(text.split()) for text in parts[1::2])
    return {name: text[:1].upper() + text[1:] for name, text in zip(parts[::2], texts, strict=True)}


def _parted(model: type) -> tuple[str, str]:
    text, _, fields = inspect.cleandoc(vars(model).get("__doc__") or "").partition("Args:")
    return text, fields


class PolicyModel(BaseModel):
    """Base of everything in a configuration file: strict, immutable, ``camelCase`` in the file.

    What ``Args:`` of its docstring says of a field is in the JSON schema, too.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        json_schema_extra=_documented,
    )


class DriverPolicy(PolicyModel):
    """Base of what an operator decides for one driver: the top of its file. Every field has a default."""


class DevicePolicy(PolicyModel):
    """What an operator decides for one device; a driver's own adds fields, each with a default.

    Args:
        publish: whether the device is offered. One that a claim holds stays published until it is given back, with
            the taint ``<driver>/denied``.
    """

    publish: bool = True


class HealthPolicy(PolicyModel):
    """Base of what becomes of a device that is unhealthy; a driver's own says what its taint is called.

    Args:
        effect: of the taint.
    """

    effect: Literal["NoExecute", "NoSchedule", "none"] | None = None

    def effect_or(self, default: TaintEffect | None) -> TaintEffect | None:
        """Return the effect that is said, ``default`` if none is said; None = no taint."""
        if self.effect is None:
            return default
        return None if self.effect == "none" else TaintEffect(self.effect)


@dataclass(frozen=True, slots=True)
class Joined:
    """Marks a field, a tuple, whose entries in a later layer follow those of the earlier ones."""


@dataclass(frozen=True, slots=True)
class Flag:
    """Marks a field of a :class:`DriverPolicy` that has a flag and an environment variable, too, which win.

    Args:
        names: as typer takes them, ``("--manage-binding/--no-manage-binding", "-b")``.
        envvar: the variable, ``MANAGE_BINDING``.
        help: what ``--help`` says.
    """

    names: tuple[str, ...]
    envvar: str
    help: str


@dataclass(frozen=True, slots=True)
class PolicyKind:
    """What a driver's configuration file is: how it is named in it, and what it decodes to."""

    api_version: str
    kind: str
    model: type[DriverPolicy]


def matches(patterns: Iterable[str], text: str) -> bool:
    """Whether one of the shell patterns fits the whole text."""
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def overlay(before: P, after: PolicyModel) -> P:
    """Return ``before`` with everything that ``after`` was explicitly given; what else ``after`` has is left out."""
    fields = type(before).model_fields
    given = after.model_fields_set & fields.keys()
    update = {name: _laid_over(before, after, name) for name in fields if name in given}
    return before.model_copy(update=update)


def laid_over(policy: P, layers: Iterable[PolicyModel]) -> P:
    """Return ``policy`` with each of the layers over it, one after the other."""
    for layer in layers:
        policy = overlay(policy, layer)
    return policy


def effective(
    kind: PolicyKind, file: DriverPolicy | None, node: str, flags: Mapping[str, object]
) -> DriverPolicy:
    """Return what holds on one node: defaults, file, its sections for this node, flags.

    ``flags`` has the fields that were given, by their names in Python. Raises pydantic's ValidationError for a flag's
    value that is not allowed.
    """
    layers = [file, *sections(file, node)] if file else []
    return laid_over(kind.model(), [*layers, kind.model.model_validate(dict(flags), by_name=True)])


def sections(file: DriverPolicy, node: str) -> tuple[DriverPolicy, ...]:
    """Return the sections of a file that are about this node."""
    return tuple(section for section in getattr(file, "nodes", ()) if matches(section.match, node))


def _only(text: str) -> Any:  # noqa: ANN401 - a type that is made here
    return Literal[text]


def _section_doc(kind: PolicyKind) -> str:
    _, args, fields = inspect.cleandoc(kind.model.__doc__ or "").partition("Args:")
    return f"What differs on some nodes.\n\n{args}{fields}"


@cache
def file_model(kind: PolicyKind) -> type[DriverPolicy]:
    """Return the model of the whole file: envelope, the driver's policy, and ``nodes``, sections with a ``match``."""
    section = create_model(
        f"{kind.kind}Node",
        __base__=kind.model,
        __doc__=_section_doc(kind),
        match=(Patterns, Field(description="Names of nodes: one pattern or a list of them.")),
    )
    return create_model(
        kind.kind,
        __base__=kind.model,
        __doc__=kind.model.__doc__,
        api_version=(_only(kind.api_version), Field(description="Which schema the file has.")),
        kind=(_only(kind.kind), Field(description="What the file is.")),
        nodes=(tuple[section, ...], Field(default=(), description=_NODES)),  # type: ignore[valid-type]
    )


def schema(kind: PolicyKind) -> dict[str, Any]:
    """Return the JSON schema (2020-12) of the file."""
    return file_model(kind).model_json_schema(by_alias=True)


def changes(before: DriverPolicy, after: DriverPolicy) -> tuple[str, ...]:
    """Name the top-level fields in which two policies of one driver differ, as the file calls them."""
    return tuple(
        field.alias or name
        for name, field in type(after).model_fields.items()
        if getattr(before, name) != getattr(after, name)
    )


def _laid_over(before: PolicyModel, after: PolicyModel, name: str) -> Any:  # noqa: ANN401 - a field's value
    old, new = getattr(before, name), getattr(after, name)
    if any(isinstance(mark, Joined) for mark in type(before).model_fields[name].metadata):
        return (*old, *new)
    if isinstance(old, PolicyModel) and isinstance(new, PolicyModel):
        return overlay(old, new)
    return new
