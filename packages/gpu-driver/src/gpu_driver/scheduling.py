"""How a PF gives its time to its VFs: ``sriov_admin`` of xe since 6.19 (ABI document sysfs-driver-intel-xe-sriov).

``.bulk_profile`` sets one value for the PF and all VFs that it could have; ``pf/profile`` and ``vf<n>/profile`` say
what each has. It is written before the VFs are made. Those that are removed have the defaults afterwards, and all
others keep what they were given, so it is given back after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from dra_common.errors import DeviceRefused
from dra_common.pci import PCI_DEVICES, Bus, look
from dra_common.ports import Host
from pydantic import JsonValue

Values: TypeAlias = Mapping[str, Sequence[str]]
"""Setting -> its value for the PF, for the first VF, for the second …"""

SETTINGS = ("exec_quantum_ms", "preempt_timeout_us", "sched_priority")
_PRIORITY = "sched_priority"
_BULK = "sriov_admin/.bulk_profile"


def is_offered(host: Host, pf: str) -> bool:
    """Whether the kernel driver of a PF lets it be set."""
    return host.sysfs.exists(f"{PCI_DEVICES}/{pf}/{_BULK}")


def read(host: Host, bus: Bus, pf: str) -> Values:
    """Return what the PF and each of its VFs has, those too that are not there. Raises HostError, HardwareBusy."""
    count = 1 + (look(host.sysfs, pf).total_vfs or 0)
    return {name: tuple(_value(bus, pf, number, name) for number in range(count)) for name in SETTINGS}


def bring(bus: Bus, pf: str, wanted: Values) -> None:
    """Set all as wanted, from whatever a crash may have left. Writes nothing if it is so. Raises HostError.

    One write for all where all are to have the same, which for VFs is the only way to set their priority.
    """
    for name, values in wanted.items():
        found = [_value(bus, pf, number, name) for number in range(len(values))]
        common = values[-1]
        is_one = len(set(values)) == 1 and found != list(values)
        if is_one or (name == _PRIORITY and found[1:] != list(values[1:])):
            bus.set_attribute(pf, f"{_BULK}/{name}", common)
            found = [common] * len(values)
        for number, value in enumerate(values):
            if found[number] != value:
                bus.set_attribute(pf, _place(number, name), value)


def check(bus: Bus, pf: str, vf: int, wanted: Mapping[str, str]) -> None:
    """Raise DeviceRefused if a VF, counted from 0, is not scheduled as wanted; HostError."""
    for name, value in wanted.items():
        found = _value(bus, pf, vf + 1, name)
        if found != value:
            raise DeviceRefused(
                f"{pf}: {_place(vf + 1, name)} is {found[:40]!r}, and not {value!r} as the configuration wants it",
                cure="leave it to the driver; see the kernel log for why the GPU's firmware did not take it",
            )


def saved(found: Values, wanted: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return for a record what was found of what is going to be changed."""
    return {name: list(found[name]) for name in wanted}


def values_of(recorded: JsonValue) -> Values:
    """Return what :func:`saved` wrote."""
    assert isinstance(recorded, dict)  # noqa: S101 - we wrote it
    return {name: tuple(map(str, values)) for name, values in recorded.items() if isinstance(values, list)}


def _place(number: int, name: str) -> str:
    who = f"vf{number}" if number else "pf"
    return f"sriov_admin/{who}/profile/{name}"


def _value(bus: Bus, pf: str, number: int, name: str) -> str:
    text = bus.attribute(pf, _place(number, name)).strip()
    return _chosen(text) if name == _PRIORITY else text


def _chosen(text: str) -> str:
    """Return which of ``low [normal]`` it is."""
    return next((word[1:-1] for word in text.split() if word.startswith("[")), text)
