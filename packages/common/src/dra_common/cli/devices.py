"""``devices``: what is on this node."""

from __future__ import annotations

import json
import sys

import typer

from dra_common.cli import options
from dra_common.cli.run import host_settings
from dra_common.definition import Definition
from dra_common.hosts import open_host
from dra_common.model import Device, Version
from dra_common.settings import HostSettings
from dra_common.tables import print_table

_DEFAULT = HostSettings()


def register(cli: typer.Typer, definition: Definition) -> None:
    """Add the command to ``cli``."""

    @cli.command()
    def devices(
        *,
        as_json: options.Json = False,
        sysfs_root: options.SysfsRoot = _DEFAULT.sysfs_root,
        devfs_root: options.DevfsRoot = _DEFAULT.devfs_root,
        procfs_root: options.ProcfsRoot = _DEFAULT.procfs_root,
        simulated_root: options.SimulatedRoot = "",
    ) -> None:
        """List the devices of this node, with everything that is known of them."""
        driver = definition.driver
        host = open_host(host_settings(sysfs_root, devfs_root, procfs_root, "", simulated_root))
        found = driver.discover(host)
        for problem in found.problems:
            print(f"{definition.program}: warning: {problem}", file=sys.stderr)  # noqa: T201
        published = {device.name: device for device in driver.publish(found.hardware).devices}
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
