"""Gaudis through Habana's management library (HLML), which the host may have or not."""

from __future__ import annotations

from collections.abc import Callable

from dra_common.hosts import open_host
from dra_common.ports import HealthSource
from dra_common.settings import HostSettings, Settings

from gaudi_driver.hlml.library import Library
from gaudi_driver.hlml.machine import Machine
from gaudi_driver.hlml.source import HlmlSource

__all__ = ["open_source"]


def open_source(settings: Settings, interval: Callable[[], float]) -> HealthSource:
    """Return the source ``hlml``; ``interval`` returns the seconds between two looks. Raises SettingsError."""
    return HlmlSource(lambda: _load(settings.host), Machine(open_host(settings.host).sysfs), interval)


def _load(host: HostSettings) -> Library:
    """Load the library of the machine that the settings name. Raises HlmlError."""
    if host.simulated_root is not None:
        from gaudi_driver.hlml.simulated import SimulatedLibrary  # noqa: PLC0415 - only for simulated machines

        return SimulatedLibrary(host.simulated_root / "hlml")
    from gaudi_driver.hlml.native import open_library  # noqa: PLC0415 - loads ctypes, which most commands do not need

    return open_library()
