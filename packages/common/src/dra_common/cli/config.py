"""``config``: the driver's configuration file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dra_common.cli import options
from dra_common.definition import Definition
from dra_common.policy import DriverPolicy, PolicyKind, effective, overlay, schema, sections


def register(cli: typer.Typer, definition: Definition) -> None:
    """Add the group to ``cli``, if the driver has a configuration file."""
    kind = definition.driver.policy_kind
    if kind is None:
        return
    group = typer.Typer(help="The driver's configuration file.", no_args_is_help=True)
    cli.add_typer(group, name="config")

    @group.callback()
    def config() -> None:
        """The driver's configuration file."""

    @group.command()
    def check(
        file: Annotated[
            Path, typer.Argument(metavar="FILE", help="The configuration file.", show_default=False)
        ],
        *,
        node_name: options.NodeName = "",
        as_json: options.Json = False,
    ) -> None:
        """Say whether `run` would take the file, and what it comes to on a node.

        Needs no cluster and no devices. With `--json`, only what is in use on the node named by `--node-name` is
        printed, flags left aside.
        """
        from dra_common.policy_file import read_policy  # noqa: PLC0415 - loads YAML

        read = read_policy(file, kind)
        if as_json:
            typer.echo(json.dumps(_in_use(kind, read, node_name), indent=2))
            return
        for line in _told(kind, read, file, node_name):
            typer.echo(line)

    @group.command(name="schema")
    def show_schema() -> None:
        """Print the JSON schema of the file, for editors and other tools."""
        typer.echo(json.dumps(schema(kind), indent=2))


def _told(kind: PolicyKind, read: DriverPolicy, file: Path, node: str) -> list[str]:
    values = [f"{name}: {json.dumps(value)}" for name, value in _in_use(kind, read, node).items()]
    return [f"{file} is good", f"{_where(read, node)}:", *values]


def _where(read: DriverPolicy, node: str) -> str:
    every, mine = getattr(read, "nodes", ()), sections(read, node)
    if not every:
        return "on every node"
    if not node:
        return "on a node that no section of nodes is for"
    numbers = [str(number) for number, each in enumerate(every, 1) if any(each is one for one in mine)]
    found = f"sections {', '.join(numbers)}" if numbers else "no section"
    return f"on node {node}, with {found} of {len(every)} of nodes"


def _in_use(kind: PolicyKind, read: DriverPolicy, node: str) -> dict[str, object]:
    """What holds on the node, as the file would say it."""
    policy = effective(kind, read, node, {}) if node else overlay(kind.model(), read)
    return policy.model_dump(mode="json", by_alias=True, exclude_none=True)
