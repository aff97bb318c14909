"""What the kernel shows of a GPU's health.

Sources: the ABI documents sysfs-driver-intel-xe-hwmon and sysfs-driver-intel-i915-hwmon, Documentation/hwmon/
sysfs-interface.rst (temperatures in thousandths of a degree Celsius), Documentation/gpu/xe/xe_device.rst (survivability
mode, wedged devices). PCI errors and events are read by the core.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator

from dra_common.errors import HostError, HostNotFound
from dra_common.model import Finding, Severity, TaintEffect
from dra_common.pci import PCI_DEVICES, device_name, number
from dra_common.ports import Host

from gpu_driver.device import DRM_DRIVERS, Gpu
from gpu_driver.policy import GpuDevicePolicy
from gpu_driver.queries import QUERIES

_SENSOR = re.compile(r"(temp[0-9]{1,3})_input", re.ASCII)
_SURVIVAL = "survivability_mode"
_ASLEEP = ("suspended", "suspending")


class GpuHealth:
    """:class:`dra_common.driver.HealthKnowledge` for Intel GPUs.

    Args:
        policy: what an operator decides for one GPU, now.
    """

    def __init__(self, policy: Callable[[Gpu], GpuDevicePolicy] = lambda _: GpuDevicePolicy()) -> None:
        self._policy = policy

    def effect(self, hardware: Gpu, default: TaintEffect | None) -> TaintEffect | None:
        """Return the effect of the taint of this GPU when it is unhealthy; None = no taint."""
        return self._policy(hardware).health.effect_or(default)

    def names(self, hardware: Gpu) -> tuple[str, ...]:
        """Return its PCI address, and of a VF the address of the card that it is a part of.

        A mode is a part of its card: its memory is not the card's.
        """
        if hardware.mode:
            return (device_name(hardware.bdf, hardware.device_id), hardware.bdf)
        return tuple(filter(None, (hardware.bdf, hardware.parent)))

    def signs(self, hardware: Gpu, host: Host) -> tuple[Finding, ...]:
        """Return what sysfs and the kernel driver show; nothing of a GPU that no kernel driver looks after.

        Raises HostError if it cannot be told.
        """
        folder = f"{PCI_DEVICES}/{hardware.bdf}"
        try:
            entries = host.sysfs.listdir(folder)
        except HostNotFound:
            return ()
        if _SURVIVAL in entries:
            return (_survival(host, folder),)
        if not hardware.driver or (hardware.driver in DRM_DRIVERS and not hardware.card):
            return ()
        found = [Finding("kernel", Severity.OK)]
        if hardware.driver in DRM_DRIVERS and not _sleeps(host, folder):
            found += _wedged(hardware, host)
            found += _temperatures(host, f"{folder}/hwmon") if "hwmon" in entries else ()
        return tuple(found)


def _survival(host: Host, folder: str) -> Finding:
    mode = _text(host, f"{folder}/{_SURVIVAL}") or "unreadable"
    message = (
        f"its firmware does not work (survivability mode {mode}): it needs a firmware update, or a repair"
    )
    return Finding("survivability", Severity.FAILED, message)


def _sleeps(host: Host, folder: str) -> bool:
    """Whether its power is down: a question would wake it, every few seconds for ever."""
    return _text(host, f"{folder}/power/runtime_status") in _ASLEEP


def _wedged(gpu: Gpu, host: Host) -> Iterator[Finding]:
    """Ask the driver something small: of a wedged device xe answers nothing, and says ECANCELED."""
    node, query = gpu.render or gpu.card, QUERIES[gpu.driver]
    try:
        host.query(f"dri/{node}", query)
    except HostError as error:
        if error.errno == errno.ECANCELED:
            message = "its kernel driver has given it up after a hang and refuses everything"
            yield Finding("wedged", Severity.CRITICAL, message)


def _temperatures(host: Host, folder: str) -> Iterator[Finding]:
    """Compare sensors with the limits beside them; the kernel has limits since Linux 7.0, and not for all."""
    for monitor in _names(host, folder):
        for name in _names(host, f"{folder}/{monitor}"):
            if sensor := _SENSOR.fullmatch(name):
                yield from _temperature(host, f"{folder}/{monitor}/{sensor[1]}")


def _temperature(host: Host, sensor: str) -> Iterator[Finding]:
    now = number(_text(host, f"{sensor}_input"))
    limits = (("crit", Severity.CRITICAL), ("max", Severity.WARNING))
    for kind, severity in limits:
        limit = number(_text(host, f"{sensor}_{kind}"))
        if now is not None and limit and now >= limit:
            label = _text(host, f"{sensor}_label") or sensor.rpartition("/")[2]
            message = f"sensor {label} is at {now // 1000} °C, its limit ({kind}) is {limit // 1000} °C"
            yield Finding("temperature", severity, message)
            return


def _names(host: Host, folder: str) -> tuple[str, ...]:
    try:
        return host.sysfs.listdir(folder)
    except HostError:
        return ()


def _text(host: Host, path: str) -> str:
    """Return the text of a small file; empty if it is not there or cannot be read."""
    try:
        return host.sysfs.read(path).strip()
    except HostError:
        return ""
