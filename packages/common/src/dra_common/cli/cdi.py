"""``cdi generate``: devices for docker and podman users, without Kubernetes."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from dra_common.cdi import qualified_name, render_static, write_static
from dra_common.cli import options
from dra_common.cli.run import host_settings
from dra_common.definition import Definition
from dra_common.hosts import open_host
from dra_common.model import ContainerEdits
from dra_common.ports import Host
from dra_common.settings import HostSettings, Settings

_DEFAULT = HostSettings()
_CDI_ROOT = Settings(node_name="").cdi_root


def register(cli: typer.Typer, definition: Definition) -> None:
    """Add the group to ``cli``."""
    group = typer.Typer(
        help="Container Device Interface files, for use without Kubernetes.", no_args_is_help=True
    )
    cli.add_typer(group, name="cdi")

    @group.callback()
    def cdi() -> None:
        """Container Device Interface files, for use without Kubernetes."""

    @group.command()
    def generate(  # noqa: PLR0913 - one parameter for each flag
        *,
        cdi_root: options.CdiRoot = _CDI_ROOT,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", "-n", help="Print the files, write nothing.")
        ] = False,
        replace: Annotated[
            bool, typer.Option(help="Remove a YAML file of the same kind, which would be in conflict.")
        ] = False,
        sysfs_root: options.SysfsRoot = _DEFAULT.sysfs_root,
        devfs_root: options.DevfsRoot = _DEFAULT.devfs_root,
        procfs_root: options.ProcfsRoot = _DEFAULT.procfs_root,
        cdi_devfs_root: options.CdiDevfsRoot = "",
        simulated_root: options.SimulatedRoot = "",
    ) -> None:
        """Write one CDI file for each kind of device of this node; run it again when devices change.

        Then `docker run --device <id>` or `podman run --device <id>` with one of the ids that are printed.
        """
        settings = host_settings(sysfs_root, devfs_root, procfs_root, cdi_devfs_root, simulated_root)
        kinds = _kinds(definition, open_host(settings))
        if not kinds:
            typer.echo("no devices on this node: nothing to generate", err=True)
        for cdi_class, devices in kinds.items():
            vendor = definition.driver.cdi_vendor
            if dry_run:
                typer.echo(render_static(vendor, cdi_class, devices), nl=False)
                continue
            path = write_static(cdi_root, vendor, cdi_class, devices, replace=replace)
            typer.echo(f"{path}:")
            for name in devices:
                typer.echo(f"  {qualified_name(vendor, cdi_class, name)}")


def _kinds(definition: Definition, host: Host) -> dict[str, dict[str, ContainerEdits]]:
    driver: Any = definition.driver
    found = driver.discover(host)
    for problem in found.problems:
        print(f"{definition.program}: warning: {problem}", file=sys.stderr)  # noqa: T201
    kinds: dict[str, dict[str, ContainerEdits]] = {}
    for name, hardware in found.hardware.items():
        for cdi_class, edits in driver.static_edits(hardware, host.dev_root).items():
            if edits:
                kinds.setdefault(cdi_class, {})[name] = edits
    return kinds
