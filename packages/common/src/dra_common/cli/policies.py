"""``--config`` and the flags of a driver's own, for every command that goes by the driver's policy."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from dra_common.cli import options
from dra_common.definition import Definition
from dra_common.policy import Flag, PolicyKind
from dra_common.reload import Configuration

_PANEL = "Driver"


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says of the policy: a file, and the fields that were given one by one."""

    file: Path | None = None
    flags: Mapping[str, object] = field(default_factory=dict)

    def configure(self, definition: Definition, node: str) -> None:
        """Give the driver its policy, once. Raises SettingsError."""
        Configuration(definition.driver, self.file, self.flags, node)


def with_policy(definition: Definition, command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with ``--config`` and the driver's flags; it gets them as ``policy``, a :class:`Given`."""
    kind = definition.driver.policy_kind
    more = [_parameter("config", "", options.Config), *_flags(kind)] if kind else []

    def run(**values: Any) -> None:  # noqa: ANN401 - whatever the command takes
        given = {each.name: values.pop(each.name) for each in more}
        file = given.pop("config", "")
        flags = {name: value for name, value in given.items() if value is not None}
        command(policy=Given(Path(file) if file else None, flags), **values)

    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [*(each for each in own if each.name != "policy"), *more]
    run.__doc__, run.__name__ = command.__doc__, command.__name__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # as typer reads it
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def switches(definition: Definition) -> Mapping[str, str]:
    """Return the driver's own switches: each name that turns one on -> the name that turns it off."""
    kind = definition.driver.policy_kind
    found: dict[str, str] = {}
    for _, flag in _marked(kind) if kind else ():
        off = next((name.partition("/")[2] for name in flag.names if "/" in name), "")
        found |= {name.partition("/")[0]: off for name in flag.names} if off else {}
    return found


def _marked(kind: PolicyKind) -> Iterator[tuple[str, Flag]]:
    for name, field_info in kind.model.model_fields.items():
        yield from ((name, mark) for mark in field_info.metadata if isinstance(mark, Flag))


def _flags(kind: PolicyKind) -> Iterator[Parameter]:
    for name, flag in _marked(kind):
        described = kind.model.model_fields[name]
        told = _help(flag, described.default)
        option = typer.Option(*flag.names, envvar=flag.envvar, help=told, rich_help_panel=_PANEL)
        # None: not given, so that the file may decide.
        yield _parameter(name, None, Annotated[described.annotation | None, option])  # type: ignore[operator]


def _help(flag: Flag, default: object) -> str:
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    return f"{flag.help} Without it the file decides, and without that it is {shown or 'empty'}."


def _parameter(name: str, default: object, annotation: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
