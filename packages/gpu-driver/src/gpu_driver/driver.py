"""The GPU driver as the rest of the product sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dra_common.driver import NO_MODES, ConfigKind, Discovery, Published, Wanted
from dra_common.model import (
    Attribute,
    ClaimEdits,
    ContainerEdits,
    Edits,
    ParentMode,
    Plan,
    PlannedDevice,
    PreparedDevice,
    Taint,
)
from dra_common.policy import DriverPolicy, PolicyKind
from dra_common.ports import Host

from gpu_driver import adopted, device, prepare
from gpu_driver.config import KIND as CONFIG
from gpu_driver.counters import Counters
from gpu_driver.device import Gpu
from gpu_driver.inside import Insides
from gpu_driver.modes import device_of, discover, is_wanted, offered, parts, unscheduled
from gpu_driver.policy import KIND as POLICY
from gpu_driver.policy import GpuDevicePolicy, GpuPolicy
from gpu_driver.shares import Shares

NAME = "gpu.intel.com"


class GpuDriver:
    """:class:`dra_common.driver.Driver` for Intel GPUs. Names are those that existing manifests use."""

    name: str = NAME
    cdi_vendor: str = "intel.com"
    cdi_classes: tuple[str, ...] = (prepare.CLASS_GPU, prepare.CLASS_MEI)
    config_kinds: tuple[ConfigKind, ...] = (CONFIG,)
    policy_kind: PolicyKind | None = POLICY
    uevent_subsystems: tuple[str, ...] = ("pci", "drm", "mei")

    def __init__(self) -> None:
        self._insides = Insides()
        self._policy = GpuPolicy()

    def configure(self, policy: DriverPolicy) -> None:
        """Go by this policy from now on."""
        if not isinstance(policy, GpuPolicy):
            raise TypeError(f"{type(policy).__name__} is no policy for GPUs")
        self._policy = policy

    @property
    def policy(self) -> GpuPolicy:
        """What holds now."""
        return self._policy

    def policy_of(self, gpu: Gpu) -> GpuDevicePolicy:
        """Return what holds for one GPU now."""
        return self._policy.of(gpu)

    def discover(self, host: Host, only: Collection[str] | None = None) -> Discovery[Gpu]:
        """Read the GPUs of the machine. Raises HostError if the PCI bus cannot be listed."""
        return discover(host, only, self._insides, self._policy)

    def publish(self, hardware: Mapping[str, Gpu], modes: Mapping[str, ParentMode] = NO_MODES) -> Published:
        """Publish every GPU and its modes, in the order in which the scheduler should try them."""
        gpus = sorted(offered(tuple(hardware.values()), modes), key=lambda gpu: gpu.order)
        policy = self._policy
        denied = frozenset(gpu.name for gpu in gpus if not is_wanted(gpu, policy))
        counters = Counters(gpus, modes)
        shares = Shares(policy)
        devices = tuple(
            counters.charge(device_of(gpu) if gpu.mode else shares.offer(gpu), gpu) for gpu in gpus
        )
        problems = (*shares.problems, *unscheduled(gpus, policy))
        return Published(devices, counters.sets(), denied, problems, parts(gpus))

    def locks(self, wanted: Wanted, hardware: Gpu) -> tuple[str, ...]:
        """Name the lock of the GPU's kernel driver, if it may have to be changed."""
        return prepare.locks(wanted, hardware, self._policy)

    def parent(self, hardware: Gpu) -> str:
        """Name the lock of the GPU's kernel driver."""
        return prepare.parent(hardware)

    def estranged(self, device: PlannedDevice, hardware: Gpu) -> tuple[Taint, ...]:
        """Say that an outsider has changed the kernel driver."""
        return prepare.estranged(device, hardware)

    def examine(self, wanted: Sequence[Wanted], hardware: Mapping[str, Gpu], host: Host) -> Mapping[str, Gpu]:
        """Look around GPUs whose kernel driver may have to be changed. Raises HostError."""
        return prepare.examine(wanted, hardware, host, self._policy)

    def plan(
        self,
        wanted: Sequence[Wanted],
        hardware: Mapping[str, Gpu],
        modes: Mapping[str, ParentMode],
    ) -> Plan:
        """Decide for a whole claim. Raises DeviceRefused."""
        return prepare.plan(wanted, hardware, modes, self._policy)

    def apply(self, plan: Plan, host: Host) -> None:
        """Change kernel drivers, and make virtual functions. Raises HostError, DeviceRefused."""
        prepare.apply(plan, host)

    def revert(self, plan: Plan, host: Host, vacated: Collection[str]) -> None:
        """Give back the kernel drivers that were found, and the virtual functions. Raises HostError."""
        prepare.revert(plan, host, vacated)

    def edits(self, device: PlannedDevice, hardware: Gpu, dev_root: str) -> Edits:
        """What a container gets. Raises DeviceRefused if the DRM nodes went away since the plan."""
        return prepare.edits(device, hardware, dev_root)

    def claim_edits(self, plan: Plan, hardware: Mapping[str, Gpu], dev_root: str) -> ClaimEdits:
        """Nothing: what a GPU gives does not depend on the others."""
        del plan, hardware, dev_root
        return ClaimEdits()

    def metadata(self, device: PlannedDevice, hardware: Gpu) -> Mapping[str, Attribute]:
        """PCI address, NUMA node, and the render node as the container sees it."""
        return prepare.metadata(device, hardware)

    def static_edits(self, hardware: Gpu, dev_root: str) -> Edits:
        """What ``cdi generate`` writes."""
        return prepare.static_edits(hardware, dev_root)

    def adopted_edits(
        self, answer: Sequence[PreparedDevice], hardware: Mapping[str, Gpu], dev_root: str
    ) -> Mapping[str, ContainerEdits]:
        """What the ids of Intel's Go driver stand for."""
        return adopted.edits(answer, hardware, dev_root)

    def is_adopted_admin(self, device: PreparedDevice) -> bool:
        """Whether the answer has a MEI node, which that driver gives for adminAccess only."""
        return adopted.is_admin(device)

    def describe(self, hardware: Gpu) -> Mapping[str, Any]:
        """Everything known of one GPU, as JSON."""
        return device.describe(hardware)
