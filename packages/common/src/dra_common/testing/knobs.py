"""A made-up accelerator for tests of everything above the hardware: its devices are files that hold a number."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from dra_common.driver import (
    AdminOnly,
    ConfigKind,
    Discovery,
    OpaqueParameters,
    Published,
    Wanted,
    ids_named_after_devices,
)
from dra_common.errors import DeviceRefused, HostError
from dra_common.model import ContainerEdits, Device, DeviceNode, Edits, Plan, PlannedDevice, PreparedDevice
from dra_common.ports import Host

DRIVER = "knob.example.com"
MOST = 10
"""The highest level a knob can be set to."""


class KnobConfig(OpaqueParameters):
    """``level`` is written into the device, 0 leaves it alone; ``unsafe`` is the administrator's."""

    level: int = 0
    label: str = ""
    unsafe: Annotated[bool, AdminOnly()] = False


@dataclass(frozen=True, slots=True)
class Knob:
    """One device."""

    name: str
    level: int
    node: str


class Gate:
    """Holds everybody who enters ``apply`` until it is opened; ``entered`` counts them."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.entered = threading.Semaphore(0)

    def enter(self) -> None:
        """Say that somebody is here, and wait."""
        self.entered.release()
        if not self._open.wait(60):
            msg = "the gate was never opened"
            raise AssertionError(msg)

    def open(self) -> None:
        """Let everybody through, now and later."""
        self._open.set()


def _read(name: str, host: Host) -> Knob:
    number = f"nodes/{name}"
    node = host.sysfs.read(number) if host.sysfs.exists(number) else name
    return Knob(name, int(host.sysfs.read(f"knobs/{name}")), node)


class KnobDriver:
    """Devices are files ``knobs/<name>`` below sysfs; a claim with a level sets it, unprepare sets it back.

    A file ``nodes/<name>`` says what its device node is called in this boot; without it, as the device.

    ``broken`` names what fails: ``apply:<device>``, ``revert:<device>``; ``bug:<step>:<device>`` is an error that
    nobody foresaw, in any step of the protocol; ``bug:<device>`` the same in apply and in revert.
    ``applied`` lists devices in the order in which they were set. ``gate`` stops calls inside ``apply``.
    """

    name = DRIVER
    cdi_vendor = "example.com"
    cdi_classes = ("knob", "spy")
    config_kinds = (ConfigKind("knob.example.com/v1", "KnobConfig", KnobConfig),)
    uevent_subsystems = ("knob",)

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.applied: list[str] = []
        self.gate: Gate | None = None

    def discover(self, host: Host, only: Collection[str] | None = None) -> Discovery[Knob]:
        """Read every file, or only those asked for."""
        wanted = host.sysfs.listdir("knobs") if only is None else sorted(only)
        names = [name for name in wanted if host.sysfs.exists(f"knobs/{name}")]
        for name in names:
            self._maybe_fail("discover", name)
        return Discovery({name: _read(name, host) for name in names})

    def publish(self, hardware: Mapping[str, Knob]) -> Published:
        """Publish the level as an attribute."""
        return Published(tuple(Device(name, {"level": knob.level}) for name, knob in hardware.items()))

    def locks(self, wanted: Wanted) -> tuple[str, ...]:
        """Every knob is its own parent."""
        self._maybe_fail("locks", wanted.allocated.device)
        return (f"parent-{wanted.allocated.device}",)

    def plan(self, wanted: Sequence[Wanted], hardware: Mapping[str, Knob]) -> Plan:
        """Refuse levels that are too high; remember the level found."""
        return Plan(tuple(self._plan(one, hardware[one.allocated.device]) for one in wanted))

    def apply(self, plan: Plan, host: Host) -> None:
        """Set the levels."""
        for planned in plan.devices:
            name = planned.allocated.device
            if self.gate:
                self.gate.enter()
            self._maybe_fail("apply", name)
            if planned.undo:
                self.applied.append(name)
                host.sysfs.write(f"knobs/{name}", f"{planned.undo['level']}\n")

    def revert(self, plan: Plan, host: Host) -> None:
        """Set the levels found."""
        for planned in plan.devices:
            name = planned.allocated.device
            self._maybe_fail("revert", name)
            if planned.undo and host.sysfs.exists(f"knobs/{name}"):
                host.sysfs.write(f"knobs/{name}", f"{planned.undo['before']}\n")

    def edits(self, device: PlannedDevice, hardware: Knob, dev_root: str) -> Edits:
        """Give the node and the level; adminAccess also gets the spy's node."""
        self._maybe_fail("edits", hardware.name)
        node = DeviceNode(f"/dev/{hardware.name}", f"{dev_root}/{hardware.node}")
        knob = ContainerEdits(env=(f"KNOB={hardware.level}",), device_nodes=(node,))
        spied = (DeviceNode("/dev/spy"),) if device.allocated.admin_access else ()
        return {"knob": knob, "spy": ContainerEdits(device_nodes=spied)}

    def static_edits(self, hardware: Knob, dev_root: str) -> Edits:
        """Give the node."""
        node = DeviceNode(f"/dev/{hardware.name}", f"{dev_root}/{hardware.node}")
        return {"knob": ContainerEdits(device_nodes=(node,))}

    def adopted_edits(
        self, answer: Sequence[PreparedDevice], hardware: Mapping[str, Knob], dev_root: str
    ) -> Mapping[str, ContainerEdits]:
        """Know the ids that are named after devices."""
        return ids_named_after_devices(self, answer, hardware, dev_root)

    def is_adopted_admin(self, device: PreparedDevice) -> bool:
        """Tell by the spy's id."""
        return any(name.startswith(f"{self.cdi_vendor}/spy=") for name in device.cdi_ids)

    def describe(self, hardware: Knob) -> Mapping[str, Any]:
        """Give the level."""
        return {"level": hardware.level}

    def _plan(self, one: Wanted, knob: Knob) -> PlannedDevice:
        self._maybe_fail("plan", knob.name)
        level = getattr(one.config["KnobConfig"], "level", 0)
        if level > MOST:
            msg = f"device {knob.name}: level {level} is over {MOST}"
            raise DeviceRefused(msg, cure="ask for less")
        unchanged = one.allocated.admin_access or level == 0
        undo = None if unchanged else {"before": knob.level, "level": level}
        return PlannedDevice(one.allocated, self.locks(one), undo)

    def _maybe_fail(self, step: str, name: str) -> None:
        bugs = {f"bug:{step}:{name}"} | ({f"bug:{name}"} if step in ("apply", "revert") else set())
        if bugs & self.broken:
            msg = f"a bug in {step}"
            raise RuntimeError(msg)
        if f"{step}:{name}" in self.broken:
            msg = f"device {name}: {step}: the knob is stuck"
            raise HostError(msg, cure="oil it")
