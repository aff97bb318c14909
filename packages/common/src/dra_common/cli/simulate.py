"""``simulate``: a machine without hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dra_common.definition import Definition
from dra_common.errors import SettingsError


def register(cli: typer.Typer, definition: Definition) -> None:
    """Add the command to ``cli``."""

    @cli.command()
    def simulate(
        *,
        profile: Annotated[str, typer.Option(help="Name of a machine, or path of a YAML file.")] = "",
        root: Annotated[
            str, typer.Option(help="Folder to write it to: sys, dev, proc and control.sock.")
        ] = "",
        once: Annotated[bool, typer.Option("--once", help="Write the tree only and end.")] = False,
        list_profiles: Annotated[bool, typer.Option("--list", help="Name the machines there are.")] = False,
        device_nodes: Annotated[
            bool,
            typer.Option(
                "--device-nodes", help="Make real character devices, which no driver serves; needs root."
            ),
        ] = False,
    ) -> None:
        """Write the sysfs of a made-up machine to a folder, then stay and be the kernel behind it.

        Other commands use it with --simulated-root; what they write there is answered as a kernel would answer.
        """
        from dra_common import simulate as simulated  # noqa: PLC0415 - loads YAML

        simulation = definition.simulation()
        if list_profiles:
            for name, description in simulated.list_profiles(simulation):
                typer.echo(f"{name:<20} {' '.join(description.split())}")
            return
        folder = Path(_given(root, "--root", "the folder to write to"))
        machine = simulated.find_profile(simulation, _given(profile, "--profile", "see --list"))
        if once:
            simulated.write_tree(simulation, machine, folder, device_nodes=device_nodes)
            typer.echo(f"{machine.name} is written to {folder}")
        else:
            say = (
                f"{machine.name} runs in {folder}; use it with --simulated-root {folder}, end it with Ctrl-C"
            )
            simulated.serve(
                simulation, machine, folder, device_nodes=device_nodes, ready=lambda: typer.echo(say)
            )


def _given(value: str, option: str, what: str) -> str:
    if not value:
        msg = f"{option} is missing"
        raise SettingsError(msg, cure=what)
    return value
