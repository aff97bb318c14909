"""``version``."""

from __future__ import annotations

import platform

import typer

from dra_common.definition import Definition
from dra_common.versions import installed


def register(cli: typer.Typer, definition: Definition) -> None:
    """Add the command to ``cli``."""

    @cli.command()
    def version() -> None:
        """Print the versions of this driver, of dra-common and of Python."""
        own, common = installed(definition.distribution), installed("dra-common")
        typer.echo(f"{definition.program} {own} (dra-common {common}, Python {platform.python_version()})")
