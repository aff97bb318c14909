"""``devices cordon`` and ``devices uncordon``: take a device out of use on an operator's word, and put it back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from dra_common.cli import options
from dra_common.cli.run import host_settings
from dra_common.cordons import FileCordons
from dra_common.deadline import Deadline
from dra_common.definition import Definition
from dra_common.driver import Driver
from dra_common.errors import SettingsError
from dra_common.hosts import open_host
from dra_common.settings import Settings
from dra_common.stores import cordons_folder, turn_file
from dra_common.turn import ask

_DEFAULT = Settings(node_name="")
_PATIENCE = 5.0
"""Seconds to wait for a running driver, which looks for questions every second."""

Names = Annotated[list[str], typer.Argument(metavar="DEVICE...", help="Names as `devices` lists them.")]
Reason = Annotated[
    str, typer.Option("--reason", help="Why, in a few words; the taint's value says it as far as it may.")
]


def register(group: typer.Typer, definition: Definition) -> None:
    """Add the commands to the group."""
    driver = definition.driver

    @group.command()
    def cordon(
        names: Names,
        *,
        reason: Reason = "",
        kubelet_plugins_dir: options.PluginsDir = _DEFAULT.kubelet_plugins_dir,
        sysfs_root: options.SysfsRoot = _DEFAULT.host.sysfs_root,
        devfs_root: options.DevfsRoot = _DEFAULT.host.devfs_root,
        procfs_root: options.ProcfsRoot = _DEFAULT.host.procfs_root,
        simulated_root: options.SimulatedRoot = "",
    ) -> None:
        """Let no new claim have these devices, until `devices uncordon`; what runs on them goes on.

        The taint `<driver>/cordoned` (NoSchedule) says so. It survives restarts and updates of the driver.
        """
        data = _data(kubelet_plugins_dir, driver)
        host = open_host(host_settings(sysfs_root, devfs_root, procfs_root, "", simulated_root))
        there = driver.discover(host, only=frozenset(names)).hardware
        published = (device.name for device in driver.publish(driver.discover(host).hardware).devices)
        _require(names, dict.fromkeys((*published, *there)), "is not on this node", "has")
        cordons = FileCordons(cordons_folder(data))
        for name in names:
            cordons.add(name, reason)
        _tell(names, "cordoned", data)

    @group.command()
    def uncordon(
        names: Names, *, kubelet_plugins_dir: options.PluginsDir = _DEFAULT.kubelet_plugins_dir
    ) -> None:
        """Let new claims have these devices again."""
        data = _data(kubelet_plugins_dir, driver)
        cordons = FileCordons(cordons_folder(data))
        _require(names, cordons.all(), "is not cordoned", "has cordons of")
        for name in names:
            cordons.remove(name)
        _tell(names, "uncordoned", data)


def _data(plugins: Path, driver: Driver[Any]) -> Path:
    """Return the driver's folder. Raises SettingsError if there is none: a cordon there would be seen by nobody."""
    data = plugins / driver.name
    if not data.is_dir():
        msg = f"{data}: the driver has never run with this folder"
        raise SettingsError(msg, cure="name the kubelet's plugin folder with --kubelet-plugins-dir")
    return data


def _require(names: Iterable[str], known: Iterable[str], fault: str, has: str) -> None:
    """Refuse all names for a wrong one. Raises SettingsError."""
    there = tuple(known)
    for name in names:
        if name not in there:
            cure = f"this node {has} {', '.join(there) or 'none'}"
            raise SettingsError(f"device {name} {fault}: nothing was done", cure=cure)


def _tell(names: Iterable[str], done: str, data: Path) -> None:
    """Have a running driver look at once, and say what was done, and from when on it counts."""
    heard = ask(turn_file(data), Deadline.after(_PATIENCE))
    when = "" if heard else "; no driver answers on this node, it counts as soon as one runs"
    for name in names:
        typer.echo(f"{done} {name}{when}")
