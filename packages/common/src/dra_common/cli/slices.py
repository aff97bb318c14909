"""``slices``: exactly what would be published."""

from __future__ import annotations

import json
import re
import socket
import sys
from typing import Annotated, Any

import typer

from dra_common.cli import options
from dra_common.cli.policies import Given, with_policy
from dra_common.cli.run import host_settings
from dra_common.definition import Definition
from dra_common.errors import SettingsError
from dra_common.hosts import open_host
from dra_common.model import Snapshot
from dra_common.settings import HostSettings

_DEFAULT = HostSettings()
_VERSION = re.compile(r"v?(\d+)\.(\d+)(\..*)?")
_OLDEST = (1, 34)
_PREVIEW_UID = "00000000-0000-0000-0000-000000000000"


def register(cli: typer.Typer, definition: Definition) -> None:
    """Add the command to ``cli``."""

    def slices(  # noqa: PLR0913 - one parameter for each flag
        *,
        node_name: options.NodeName = "",
        kubernetes: Annotated[
            str, typer.Option(help="Version of the API server: what it cannot express is left out.")
        ] = "1.37",
        server_features_off: options.ServerFeaturesOff = "",
        sysfs_root: options.SysfsRoot = _DEFAULT.sysfs_root,
        devfs_root: options.DevfsRoot = _DEFAULT.devfs_root,
        procfs_root: options.ProcfsRoot = _DEFAULT.procfs_root,
        simulated_root: options.SimulatedRoot = "",
        policy: Given,
    ) -> None:
        """Print the ResourceSlices that would be published, as one JSON list object.

        The owner's UID is the Node's, which only the API server knows: here it is all zeros.
        """
        from dra_common.publisher import Owner, plan_sync  # noqa: PLC0415 - only this command needs it
        from dra_common.slices import ServerFeatures, parse_features, to_slices  # noqa: PLC0415

        driver = definition.driver
        policy.configure(definition, node_name)
        found = driver.discover(
            open_host(host_settings(sysfs_root, devfs_root, procfs_root, "", simulated_root))
        )
        published = driver.publish(found.hardware)
        offered = tuple(each for each in published.devices if each.name not in published.denied)
        snapshot = Snapshot(1, offered, published.counter_sets)
        off = parse_features(server_features_off, "--server-features-off (SERVER_FEATURES_OFF)")
        features = ServerFeatures.of(_version(kubernetes)).without(*off)
        made = to_slices(snapshot, driver=driver.name, features=features)
        for line in (*found.problems, *published.problems, *made.withdrawn):
            print(f"{definition.program}: warning: {line}", file=sys.stderr)  # noqa: T201
        owner = Owner(driver.name, node_name or socket.gethostname(), _PREVIEW_UID)
        items: list[dict[str, Any]] = list(plan_sync(made.contents, (), owner).creates)
        typer.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))

    cli.command()(with_policy(definition, slices))


def _version(text: str) -> tuple[int, int]:
    match = _VERSION.fullmatch(text)
    if not match or (found := (int(match[1]), int(match[2]))) < _OLDEST:
        msg = f"--kubernetes {text!r} is not a version with resource.k8s.io/v1"
        raise SettingsError(msg, cure="allowed: 1.34 and newer, written as 1.37")
    return found
