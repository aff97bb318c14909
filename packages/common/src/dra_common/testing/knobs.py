"""A made-up accelerator for tests of everything above the hardware: its devices are files that hold a number."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from dra_common.driver import (
    NO_MODES,
    AdminOnly,
    ConfigKind,
    Discovery,
    OpaqueParameters,
    Published,
    Wanted,
    ids_named_after_devices,
)
from dra_common.errors import DeviceRefused, HostError
from dra_common.model import (
    Attribute,
    ClaimEdits,
    ContainerEdits,
    Device,
    DeviceNode,
    Edits,
    ModeUse,
    ParentMode,
    Plan,
    PlannedDevice,
    PreparedDevice,
    Taint,
    TaintEffect,
)
from dra_common.policy import (
    DevicePolicy,
    DriverPolicy,
    Flag,
    Joined,
    Patterns,
    PolicyKind,
    laid_over,
    matches,
)
from dra_common.ports import Host

DRIVER = "knob.example.com"
MOST = 10
"""The highest level a knob can be set to."""


class KnobConfig(OpaqueParameters):
    """``level`` is written into the device, 0 leaves it alone; ``unsafe`` is the administrator's."""

    level: int = 0
    label: str = ""
    unsafe: Annotated[bool, AdminOnly()] = False


class KnobRule(DevicePolicy):
    """What is decided for the devices with these names."""

    match: Patterns


class KnobPolicy(DriverPolicy):
    """What an operator decides for knobs.

    Args:
        label: published with every device.
        shout: a switch that does nothing.
        devices: rules, of which the later one wins.
    """

    label: Annotated[str, Flag(("--label",), "LABEL", "Published with every device.")] = ""
    shout: Annotated[bool, Flag(("--shout/--no-shout", "-s"), "SHOUT", "Does nothing.")] = False
    devices: Annotated[tuple[KnobRule, ...], Joined()] = ()

    def of(self, name: str) -> DevicePolicy:
        """Return what is decided for one device."""
        return laid_over(DevicePolicy(), (rule for rule in self.devices if matches(rule.match, name)))


@dataclass(frozen=True, slots=True)
class Knob:
    """One device.

    Args:
        split: into how many parts the knob is split now, 0 = it is whole; None = it cannot be split.
    """

    name: str
    level: int
    node: str
    split: int | None = None


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
    knob, _ = _parted(name)
    number, split = f"nodes/{knob}", f"splits/{knob}"
    node = host.sysfs.read(number) if host.sysfs.exists(number) else knob
    parts = int(host.sysfs.read(split)) if host.sysfs.exists(split) else None
    return Knob(name, int(host.sysfs.read(f"knobs/{knob}")), node, parts)


def _parted(name: str) -> tuple[str, int]:
    """Return the knob of a device, and into how many parts it splits it, 0 = none."""
    knob, _, parts = name.partition("-x")
    return knob, int(parts or 0)


def _mode(parent: str, modes: Mapping[str, ParentMode]) -> dict[str, str]:
    return {"mode": modes[parent].mode} if parent in modes else {}


def _split(parent: str, parts: object, host: Host) -> None:
    path = f"splits/{parent.removeprefix('parent-')}"
    if host.sysfs.exists(path) and int(host.sysfs.read(path)) != parts:
        host.sysfs.write(path, f"{parts}\n")


class KnobDriver:
    """Devices are files ``knobs/<name>`` below sysfs; a claim with a level sets it, unprepare sets it back.

    A knob with a file ``splits/<name>`` can be split: ``<name>-x4`` is the device of which four claims have a part.
    A file ``nodes/<name>`` says what its device node is called in this boot; without it, as the device.

    ``broken`` names what fails: ``apply:<device>``, ``revert:<device>``; ``bug:<step>:<device>`` is an error that
    nobody foresaw, in any step of the protocol; ``bug:<device>`` the same in apply and in revert.
    ``applied`` lists devices in the order in which they were set. ``gate`` stops calls inside ``apply``.
    """

    name = DRIVER
    cdi_vendor = "example.com"
    cdi_classes = ("knob", "spy")
    config_kinds = (ConfigKind("knob.example.com/v1", "KnobConfig", KnobConfig),)
    policy_kind: PolicyKind | None = PolicyKind("config.knob.example.com/v1", "KnobDriverConfig", KnobPolicy)
    uevent_subsystems = ("knob",)

    def __init__(self) -> None:
        self.policy = KnobPolicy()
        self.broken: set[str] = set()
        self.applied: list[str] = []
        self.gate: Gate | None = None

    def discover(self, host: Host, only: Collection[str] | None = None) -> Discovery[Knob]:
        """Read every file, or only those asked for."""
        wanted = host.sysfs.listdir("knobs") if only is None else sorted(only)
        names = [name for name in wanted if host.sysfs.exists(f"knobs/{_parted(name)[0]}")]
        for name in names:
            self._maybe_fail("discover", name)
        return Discovery({name: _read(name, host) for name in names})

    def configure(self, policy: DriverPolicy) -> None:
        """Go by it."""
        assert isinstance(policy, KnobPolicy)  # noqa: S101 - policy_kind says so
        self.policy = policy

    def publish(self, hardware: Mapping[str, Knob], modes: Mapping[str, ParentMode] = NO_MODES) -> Published:
        """Publish the level as an attribute, the label of the policy if it has one, and the mode of the knob."""
        policy = self.policy
        label = {"label": policy.label} if policy.label else {}
        devices = tuple(
            Device(name, {"level": knob.level, **label, **_mode(self.parent(knob), modes)})
            for name, knob in hardware.items()
        )
        denied = frozenset(name for name in hardware if not policy.of(name).publish)
        return Published(devices, denied=denied)

    def locks(self, wanted: Wanted, hardware: Knob) -> tuple[str, ...]:
        """Every knob is its own parent."""
        del hardware
        self._maybe_fail("locks", wanted.allocated.device)
        return (f"parent-{_parted(wanted.allocated.device)[0]}",)

    def parent(self, hardware: Knob) -> str:
        """Name the lock of the knob, or of the one that it is a part of."""
        return f"parent-{_parted(hardware.name)[0]}"

    def estranged(self, device: PlannedDevice, hardware: Knob) -> tuple[Taint, ...]:
        """Say that somebody turned a knob that a claim has set."""
        if device.undo is None or device.undo["level"] == hardware.level:
            return ()
        return (Taint(f"{self.name}/turned", TaintEffect.NO_SCHEDULE, str(hardware.level)),)

    def examine(
        self, wanted: Sequence[Wanted], hardware: Mapping[str, Knob], host: Host
    ) -> Mapping[str, Knob]:
        """Nothing more to read."""
        del wanted, host
        return hardware

    def plan(
        self, wanted: Sequence[Wanted], hardware: Mapping[str, Knob], modes: Mapping[str, ParentMode]
    ) -> Plan:
        """Refuse levels that are too high; remember the level found."""
        planned: list[PlannedDevice] = []
        for one in wanted:
            use = self._use(one, hardware[one.allocated.device], modes, [each.use for each in planned])
            planned.append(self._plan(one, hardware[one.allocated.device], use))
        return Plan(tuple(planned))

    def apply(self, plan: Plan, host: Host) -> None:
        """Set the levels."""
        for planned in plan.devices:
            name = planned.allocated.device
            if self.gate:
                self.gate.enter()
            self._maybe_fail("apply", name)
            if planned.use and planned.use.after is not None:
                _split(planned.use.parent, planned.use.after, host)
            if planned.undo:
                self.applied.append(name)
                host.sysfs.write(f"knobs/{name}", f"{planned.undo['level']}\n")

    def revert(self, plan: Plan, host: Host, vacated: Collection[str]) -> None:
        """Set the levels found, and make knobs that nobody uses whole again."""
        for planned in plan.devices:
            name = planned.allocated.device
            self._maybe_fail("revert", name)
            if planned.undo and host.sysfs.exists(f"knobs/{name}"):
                host.sysfs.write(f"knobs/{name}", f"{planned.undo['before']}\n")
            if planned.use and planned.use.parent in vacated and planned.use.after is not None:
                _split(planned.use.parent, planned.use.before, host)

    def edits(self, device: PlannedDevice, hardware: Knob, dev_root: str) -> Edits:
        """Give the node and the level; adminAccess also gets the spy's node."""
        self._maybe_fail("edits", hardware.name)
        node = DeviceNode(f"/dev/{_parted(hardware.name)[0]}", f"{dev_root}/{hardware.node}")
        env = (f"KNOB={hardware.level}", *((f"PART={device.use.part}",) if device.use else ()))
        knob = ContainerEdits(env=env, device_nodes=(node,))
        spied = (DeviceNode("/dev/spy"),) if device.allocated.admin_access else ()
        return {"knob": knob, "spy": ContainerEdits(device_nodes=spied)}

    def claim_edits(self, plan: Plan, hardware: Mapping[str, Knob], dev_root: str) -> ClaimEdits:
        """Nothing."""
        del plan, hardware, dev_root
        return ClaimEdits()

    def metadata(self, device: PlannedDevice, hardware: Knob) -> Mapping[str, Attribute]:  # noqa: ARG002
        """Tell nothing."""
        return {}

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

    def _use(
        self, one: Wanted, knob: Knob, modes: Mapping[str, ParentMode], planned: Sequence[ModeUse | None]
    ) -> ModeUse | None:
        """Decide which part of a knob that can be split this is; part 0 of a whole one."""
        if knob.split is None or one.allocated.admin_access:
            return None
        (parent,), (_, parts) = self.locks(one, knob), _parted(knob.name)
        name, mode = f"x{parts}" if parts else "whole", modes.get(parent)
        mine = [use.part for use in planned if use and use.parent == parent]
        if mode is None:
            if knob.split:
                msg = f"device {knob.name}: somebody split it into {knob.split}"
                raise DeviceRefused(msg, cure="make it whole")
            return ModeUse(parent, name, len(mine), 0 if parts else None, parts or None)
        if mode.mode != name:
            return ModeUse(parent, name)
        if knob.split != parts:
            raise DeviceRefused(
                f"device {knob.name}: somebody split it into {knob.split}", cure="split it again"
            )
        part = mode.free(max(parts, 1), mine)
        if part is None:
            raise DeviceRefused(f"device {knob.name}: all parts are in use", cure="wait")
        return mode.use(part)

    def _plan(self, one: Wanted, knob: Knob, use: ModeUse | None) -> PlannedDevice:
        self._maybe_fail("plan", knob.name)
        level = getattr(one.config["KnobConfig"], "level", 0)
        if level > MOST:
            msg = f"device {knob.name}: level {level} is over {MOST}"
            raise DeviceRefused(msg, cure="ask for less")
        unchanged = one.allocated.admin_access or level == 0
        undo = None if unchanged else {"before": knob.level, "level": level}
        return PlannedDevice(one.allocated, self.locks(one, knob), undo, use)

    def _maybe_fail(self, step: str, name: str) -> None:
        bugs = {f"bug:{step}:{name}"} | ({f"bug:{name}"} if step in ("apply", "revert") else set())
        if bugs & self.broken:
            msg = f"a bug in {step}"
            raise RuntimeError(msg)
        if f"{step}:{name}" in self.broken:
            msg = f"device {name}: {step}: the knob is stuck"
            raise HostError(msg, cure="oil it")
