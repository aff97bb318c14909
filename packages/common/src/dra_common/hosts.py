"""Chooses the machine: the real one, or a simulated one in a folder."""

from __future__ import annotations

from collections.abc import Sequence

from dra_common.ports import Host, UeventSource
from dra_common.settings import HostSettings

POWER_ON_SECONDS = 10.0
"""How long a start waits for a simulated machine; then it goes on with what the files show."""


def open_host(settings: HostSettings) -> Host:
    """Return the machine that the settings name. Raises SettingsError if its folders are not there."""
    settings.check()
    if settings.simulated_root is not None:
        from dra_common.simulate import SimulatedHost  # noqa: PLC0415 - only for simulated machines

        return SimulatedHost(settings.simulated_root)
    from dra_common.host import RealHost, Roots  # noqa: PLC0415 - the other branch does not need it

    dev_root = settings.cdi_devfs_root or settings.devfs_root
    return RealHost(
        Roots(
            sysfs=str(settings.sysfs_root),
            devfs=str(settings.devfs_root),
            procfs=str(settings.procfs_root),
            debugfs=str(settings.sysfs_root / "kernel/debug"),
            dev_root=str(dev_root),
        )
    )


def await_power(settings: HostSettings) -> None:
    """Wait until a simulated machine that was left without its simulator has one again, for some seconds at most.

    Until it boots, its files show the boot before. A real machine runs nothing before its kernel does.
    """
    if settings.simulated_root is not None:
        from dra_common.simulate import ControlClient  # noqa: PLC0415 - only for simulated machines

        ControlClient(settings.simulated_root.absolute()).wait(POWER_ON_SECONDS)


def open_uevents(settings: HostSettings, subsystems: Sequence[str]) -> UeventSource:
    """Return the events of that machine."""
    if settings.simulated_root is not None:
        from dra_common.simulate import SimulatedUevents  # noqa: PLC0415 - only for simulated machines

        return SimulatedUevents(settings.simulated_root)
    from dra_common.hotplug import KernelUevents  # noqa: PLC0415 - needs libudev

    return KernelUevents(subsystems)
