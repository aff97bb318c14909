"""``cleanup``: the driver leaves this node for good."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dra_common.cli import options
from dra_common.definition import Definition
from dra_common.settings import Settings

_DEFAULT = Settings(node_name="")


def register(cli: typer.Typer, definition: Definition) -> None:
    """Add the command to ``cli``."""

    @cli.command()
    def cleanup(  # noqa: PLR0913 - one parameter for each flag
        *,
        node_name: options.NodeName,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", "-n", help="Say what would be removed, change nothing.")
        ] = False,
        kubeconfig: options.Kubeconfig = "",
        kubelet_plugins_dir: options.PluginsDir = _DEFAULT.kubelet_plugins_dir,
        kubelet_registry_dir: options.RegistryDir = _DEFAULT.kubelet_registry_dir,
        cdi_root: options.CdiRoot = _DEFAULT.cdi_root,
        cdi_dynamic_root: options.CdiDynamicRoot = _DEFAULT.cdi_dynamic_root,
        simulated_root: Annotated[
            str,
            typer.Option(envvar="SIMULATED_ROOT", help="A simulated machine that is to be removed, too."),
        ] = "",
    ) -> None:
        """Remove everything that this driver has on this node, and its ResourceSlices; for an uninstall.

        Refused, with nothing removed, while the driver runs or a claim has devices. It can be run again at any time.
        """
        from dra_common.cleanup import Cleanup  # noqa: PLC0415 - loads grpc
        from dra_common.cluster import connect  # noqa: PLC0415 - loads kubernetes

        settings = Settings(
            node_name=node_name,
            kubelet_plugins_dir=kubelet_plugins_dir,
            kubelet_registry_dir=kubelet_registry_dir,
            cdi_root=cdi_root,
            cdi_dynamic_root=cdi_dynamic_root,
            kubeconfig=Path(kubeconfig) if kubeconfig else None,
        )
        settings.check()
        api = connect(kubeconfig or None)
        try:
            machine = Path(simulated_root) if simulated_root else None
            work = Cleanup(definition.driver, settings, api, machine)
            if dry_run:
                for name in work.plan():
                    typer.echo(f"would remove {name}")
            else:
                work.run(lambda name: typer.echo(f"removed {name}"))
                typer.echo(f"nothing of {definition.driver.name} is left on node {node_name}")
        finally:
            api.close()
