"""What a driver package implements; everything else is the same for every accelerator."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from dra_common.model import (
    Allocated,
    Attribute,
    ClaimEdits,
    ContainerEdits,
    CounterSet,
    Device,
    Edits,
    Finding,
    ParentMode,
    Plan,
    PlannedDevice,
    PreparedDevice,
    Taint,
    TaintEffect,
)
from dra_common.policy import DriverPolicy, PolicyKind
from dra_common.ports import Host

NO_MODES: Mapping[str, ParentMode] = MappingProxyType({})
"""Nothing is in a mode."""

H = TypeVar("H")
"""A driver's own description of one unit of hardware, frozen (``gpu_driver.device.Gpu``)."""

H_contra = TypeVar("H_contra", contravariant=True)
"""The same, for protocols that only take it."""


class OpaqueParameters(BaseModel):
    """Base of a driver's opaque configuration kinds (``config[].opaque.parameters`` of a claim or DeviceClass).

    Every field has a default. A field that can weaken isolation is marked
    ``Annotated[..., AdminOnly()]`` and is accepted from the DeviceClass only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True, slots=True)
class AdminOnly:
    """Marks a field of :class:`OpaqueParameters` that only a DeviceClass may set."""


@dataclass(frozen=True, slots=True)
class ConfigKind:
    """One opaque kind: how it is named in ``parameters`` and what it decodes to."""

    api_version: str
    kind: str
    model: type[OpaqueParameters]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One allocation result with its configuration: kind -> parameters, merged, defaults filled in.

    ``device_class`` is the name of the DeviceClass that was asked for; empty = not known.
    """

    allocated: Allocated
    config: Mapping[str, OpaqueParameters] = field(default_factory=dict)
    device_class: str = ""


@dataclass(frozen=True, slots=True)
class Discovery(Generic[H]):
    """What a look at the machine found.

    Args:
        hardware: device name -> hardware, in the order in which devices are published.
        problems: one line for each thing that was left out or could not be read, naming it and why.
    """

    hardware: Mapping[str, H]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of the hardware.

    Args:
        devices: in scheduling order.
        counter_sets: the counters they share.
        denied: names of those of ``devices`` that the operator does not want to be offered.
        problems: one line for each thing that cannot be published as the operator wants it, naming it and why.
        parts: device -> the device that it is a part of, where both are published: who takes that out of use means it,
            too.
    """

    devices: tuple[Device, ...]
    counter_sets: tuple[CounterSet, ...] = ()
    denied: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)


class Driver(Protocol[H]):
    """The hardware knowledge of one accelerator. Stateless: all state is in the hardware and in records.

    The policy alone may change while it runs: one immutable object, replaced at once by :meth:`configure`. Each call
    reads it once, so that it decides by one policy.

    ``plan``, ``locks``, ``publish``, ``edits`` and ``claim_edits`` are pure. ``apply`` and ``revert`` are idempotent:
    they may be called again after a crash at any point of an earlier call.
    """

    @property
    def name(self) -> str:
        """The DRA driver name, for example ``gpu.intel.com``."""

    @property
    def cdi_vendor(self) -> str:
        """CDI vendor of every kind, ``intel.com``."""

    @property
    def cdi_classes(self) -> tuple[str, ...]:
        """CDI classes of the kinds this driver writes, for example ``("gpu", "gpu-mei")``."""

    @property
    def config_kinds(self) -> tuple[ConfigKind, ...]:
        """The opaque kinds it understands; empty = any opaque configuration for this driver is refused."""

    @property
    def policy_kind(self) -> PolicyKind | None:
        """What its configuration file is; None = it has none, and no command takes ``--config``."""

    @property
    def uevent_subsystems(self) -> tuple[str, ...]:
        """Kernel subsystems whose uevents may change what ``discover`` finds, for example ``("pci", "drm")``."""

    def discover(self, host: Host, only: Collection[str] | None = None) -> Discovery[H]:
        """Read the machine; with ``only``, just those device names (names that are not there are left out).

        With ``only``, what nothing but ``publish`` uses may stay unknown, so that a prepare does no more than it must.
        Never raises for one bad device: it becomes a problem line. Raises HostError if the bus itself is unreadable.
        """

    def configure(self, policy: DriverPolicy) -> None:
        """Go by this policy from now on, an instance of the model of ``policy_kind``; from any thread."""

    def publish(self, hardware: Mapping[str, H], modes: Mapping[str, ParentMode] = NO_MODES) -> Published:
        """Turn hardware into what the scheduler sees; pure.

        ``modes`` has, by name, the parents that were in a mode before or after ``hardware`` was read: what was made for
        it is not offered.
        """

    def locks(self, wanted: Wanted, hardware: H) -> tuple[str, ...]:
        """Name the hardware parents that must be locked before a plan for this result is made; pure.

        ``hardware`` was read without them, and is read again under them. None = as it is, nothing has to be changed.
        """

    def parent(self, hardware: H) -> str:
        """Name the hardware parent whose lock a change of this device needs; pure."""

    def estranged(self, device: PlannedDevice, hardware: H) -> tuple[Taint, ...]:
        """Say that a device is no longer as its prepared claim needs it, since an outsider has changed it; pure."""

    def examine(self, wanted: Sequence[Wanted], hardware: Mapping[str, H], host: Host) -> Mapping[str, H]:
        """Read what only a plan for these results needs of their devices, under the locks of their parents.

        What takes long, or may block, is read here and only if it is needed; :meth:`discover` reads the rest. Raises
        HostError.
        """

    def plan(
        self, wanted: Sequence[Wanted], hardware: Mapping[str, H], modes: Mapping[str, ParentMode]
    ) -> Plan:
        """Decide for a whole claim; every device of ``wanted`` is in ``hardware``.

        ``modes`` has those of the locked parents that are in a mode. Who joins one plans ``mode.use(part)``, with a
        part that is free, and only if the hardware still is as the mode says; who finds none plans a
        :class:`~dra_common.model.ModeUse` of its own. Raises DeviceRefused (device, step, cause, cure).
        """

    def apply(self, plan: Plan, host: Host) -> None:
        """Make the hardware as planned: parents first, each as its use says ``after``, then what is the claim's alone.

        A parent that is as it should be is left alone: others have parts of it. Raises HostError, DeviceRefused.
        """

    def revert(self, plan: Plan, host: Host, vacated: Collection[str]) -> None:
        """Put back what ``apply`` changed, also if it was interrupted or the device is gone. Raises HostError.

        A parent of ``vacated`` has no other user: it is to be as its use says ``before``. Of any other only the
        claim's own part may be touched. A device may come with its ``use`` alone, if the claim's record was lost.
        """

    def edits(self, device: PlannedDevice, hardware: H, dev_root: str) -> Edits:
        """What a container gets for one planned device; ``hardware`` is as read after ``apply``.

        ``dev_root`` is the host's folder of device nodes, what ``hostPath`` must begin with.
        """

    def claim_edits(self, plan: Plan, hardware: Mapping[str, H], dev_root: str) -> ClaimEdits:
        """What containers get once of a claim, beside :meth:`edits`: what depends on all the devices that they use.

        Every device of the plan is in ``hardware``, which is as for :meth:`edits`.
        """

    def metadata(self, device: PlannedDevice, hardware: H) -> Mapping[str, Attribute]:
        """What a container is told of its device (KEP-5304), by names as for published attributes; empty = nothing.

        ``hardware`` is as for :meth:`edits`.
        """

    def static_edits(self, hardware: H, dev_root: str) -> Edits:
        """What ``cdi generate`` writes for users without Kubernetes; empty = the device cannot be used that way."""

    def adopted_edits(
        self, answer: Sequence[PreparedDevice], hardware: Mapping[str, H], dev_root: str
    ) -> Mapping[str, ContainerEdits]:
        """What the CDI ids of a claim stand for that was prepared by the driver which this one replaces.

        ``answer`` is the whole claim's, ``hardware`` is as it is now and may lack devices. Ids that cannot be made are
        left out. :func:`ids_named_after_devices` is enough where ids are named after devices.
        """

    def is_adopted_admin(self, device: PreparedDevice) -> bool:
        """Whether the replaced driver's answer shows that this device was given for adminAccess."""

    def describe(self, hardware: H) -> Mapping[str, Any]:
        """Everything known of one device, as JSON for ``devices --json``."""


class HealthKnowledge(Protocol[H_contra]):
    """What a driver knows of its devices' health; read-only, and called from a thread of its own."""

    def names(self, hardware: H_contra) -> tuple[str, ...]:
        """Return other names under which sources may know the device, beside the published one: its PCI address.

        Those of what it depends on, too: what ails a physical function ails its virtual functions.
        """

    def signs(self, hardware: H_contra, host: Host) -> tuple[Finding, ...]:
        """Return what the kernel shows of the device's health now; nothing, if there is nothing to go by.

        Does not wake a device that sleeps. Raises HostError if it cannot be told.
        """

    def effect(self, hardware: H_contra, default: TaintEffect | None) -> TaintEffect | None:
        """Return the effect of the taint that the device gets when it is unhealthy, None for no taint.

        ``default`` is what holds for the node; the driver's policy may say otherwise of a device.
        """


def ids_named_after_devices(
    driver: Driver[H], answer: Sequence[PreparedDevice], hardware: Mapping[str, H], dev_root: str
) -> Mapping[str, ContainerEdits]:
    """Return the edits of ids that are ``<vendor>/<class>=<device>``: what ``cdi generate`` says of the device."""
    made: dict[str, ContainerEdits] = {}
    for name in {device.device for device in answer} & hardware.keys():
        for cdi_class, edits in driver.static_edits(hardware[name], dev_root).items():
            made[f"{driver.cdi_vendor}/{cdi_class}={name}"] = edits
    return {name: made[name] for device in answer for name in device.cdi_ids if made.get(name)}
