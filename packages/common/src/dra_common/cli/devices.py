"""``devices``: what is on this node."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import typer

from dra_common.cli import devices_cordon, options
from dra_common.cli.policies import Given, with_policy
from dra_common.cli.run import host_settings
from dra_common.cordons import FileCordons
from dra_common.definition import Definition
from dra_common.driver import Published
from dra_common.errors import StateError
from dra_common.hosts import open_host
from dra_common.inventory import Known, cordoned_taint, cordons_of_wholes, with_taints
from dra_common.model import Device, Version
from dra_common.settings import HostSettings, Settings
from dra_common.stores import cordons_folder, modes_seen
from dra_common.tables import print_table

_DEFAULT = Settings(node_name="", host=HostSettings())


def register(cli: typer.Typer, definition: Definition) -> None:
    """Add the command and its group to ``cli``."""
    group = typer.Typer(invoke_without_command=True)
    cli.add_typer(group, name="devices")

    def devices(  # noqa: PLR0913 - one parameter for each flag
        context: typer.Context,
        *,
        as_json: options.Json = False,
        node_name: options.NodeName = "",
        kubelet_plugins_dir: options.PluginsDir = _DEFAULT.kubelet_plugins_dir,
        sysfs_root: options.SysfsRoot = _DEFAULT.host.sysfs_root,
        devfs_root: options.DevfsRoot = _DEFAULT.host.devfs_root,
        procfs_root: options.ProcfsRoot = _DEFAULT.host.procfs_root,
        simulated_root: options.SimulatedRoot = "",
        policy: Given,
    ) -> None:
        """List the devices of this node, with everything that is known of them."""
        if context.invoked_subcommand:
            return
        driver = definition.driver
        policy.configure(definition, node_name)
        host = open_host(host_settings(sysfs_root, devfs_root, procfs_root, "", simulated_root))
        found = driver.discover(host)
        data = kubelet_plugins_dir / driver.name
        cordons, unknown = _cordons(cordons_folder(data))
        offer = driver.publish(found.hardware, modes_seen(data, host))
        for problem in (*found.problems, *offer.problems, *unknown):
            print(f"{definition.program}: warning: {problem}", file=sys.stderr)  # noqa: T201
        published = _marked(driver.name, offer, cordons)
        if as_json:
            typer.echo(
                json.dumps(
                    [
                        {**_as_json(published[name]), "hardware": driver.describe(hardware)}
                        for name, hardware in found.hardware.items()
                        if name in published
                    ],
                    indent=2,
                )
            )
        else:
            _table(tuple(published.values()))

    group.callback()(with_policy(definition, devices))
    devices_cordon.register(group, definition)


def _cordons(folder: Path) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Return the cordons, or why they are not known: devices can be listed without the rights of the driver."""
    try:
        return FileCordons(folder).all(), ()
    except StateError as error:
        return {}, (f"which devices are cordoned is not known: {error}",)


def _marked(driver: str, published: Published, cordons: Mapping[str, str]) -> Mapping[str, Device]:
    """Return the devices by name, with the taints of those that an operator took out of use in one way or the other."""
    own = {name: (cordoned_taint(driver, reason),) for name, reason in cordons.items()}
    cordoned = cordons_of_wholes(driver, own, published.parts)
    known = Known(published.devices, denied=published.denied)
    return {device.name: device for device in with_taints(driver, known, cordoned)}


def _as_json(device: Device) -> dict[str, object]:
    return {
        "name": device.name,
        "attributes": {
            name: value.value if isinstance(value, Version) else value
            for name, value in device.attributes.items()
        },
        "capacity": {name: str(capacity.value) for name, capacity in device.capacity.items()},
        "taints": [f"{taint.key}={taint.value}:{taint.effect}" for taint in device.taints],
    }


def _table(devices: tuple[Device, ...]) -> None:
    if not devices:
        typer.echo("no devices on this node")
        return
    header = ("DEVICE", "MODEL", "FAMILY", "TYPE", "DRIVER", "CAPACITY", "TAINTS")
    print_table(header, (_row(device) for device in devices))


def _row(device: Device) -> list[str]:
    shown = [str(device.attributes.get(name, "")) for name in ("model", "family", "type", "driver")]
    capacity = ", ".join(f"{name} {amount.value}" for name, amount in device.capacity.items())
    return [device.name, *shown, capacity, ", ".join(taint.key for taint in device.taints)]
