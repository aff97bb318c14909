"""The Gaudi driver as the rest of the product sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
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
from dra_common.pci import dashed
from dra_common.policy import DriverPolicy, PolicyKind
from dra_common.ports import Host

from gaudi_driver import adopted, device, discovery, prepare
from gaudi_driver.config import KIND as CONFIG
from gaudi_driver.device import Gaudi
from gaudi_driver.policy import KIND as POLICY
from gaudi_driver.policy import GaudiDevicePolicy, GaudiPolicy

NAME = "gaudi.intel.com"


class GaudiDriver:
    """:class:`dra_common.driver.Driver` for Intel Gaudi. Names are those that existing manifests use."""

    name: str = NAME
    cdi_vendor: str = "intel.com"
    cdi_classes: tuple[str, ...] = (prepare.CLASS,)
    config_kinds: tuple[ConfigKind, ...] = (CONFIG,)
    policy_kind: PolicyKind | None = POLICY
    uevent_subsystems: tuple[str, ...] = ("pci", "accel", "habanalabs", "infiniband_verbs")

    def __init__(self) -> None:
        self._policy = GaudiPolicy()

    def configure(self, policy: DriverPolicy) -> None:
        """Go by this policy from now on."""
        if not isinstance(policy, GaudiPolicy):
            raise TypeError(f"{type(policy).__name__} is no policy for Gaudis")
        self._policy = policy

    @property
    def policy(self) -> GaudiPolicy:
        """What holds now."""
        return self._policy

    def policy_of(self, gaudi: Gaudi) -> GaudiDevicePolicy:
        """Return what holds for one Gaudi now."""
        return self._policy.of(gaudi)

    def discover(self, host: Host, only: Collection[str] | None = None) -> Discovery[Gaudi]:
        """Read the Gaudis of the machine. Raises HostError if the PCI bus cannot be listed."""
        there = Path(self._policy.network_file).is_file()
        return discovery.discover(host, only, network_file=there)

    def publish(self, hardware: Mapping[str, Gaudi], modes: Mapping[str, ParentMode] = NO_MODES) -> Published:
        """Publish every Gaudi, in the order in which the scheduler should try them."""
        del modes
        policy = self._policy
        gaudis = sorted(hardware.values(), key=lambda gaudi: gaudi.order)
        denied = frozenset(gaudi.name for gaudi in gaudis if not policy.of(gaudi).publish)
        return Published(tuple(device.to_device(gaudi) for gaudi in gaudis), denied=denied)

    def locks(self, wanted: Wanted, hardware: Gaudi) -> tuple[str, ...]:
        """Nothing is changed."""
        del wanted, hardware
        return ()

    def parent(self, hardware: Gaudi) -> str:
        """Name the function."""
        return dashed(hardware.bdf)

    def estranged(self, device: PlannedDevice, hardware: Gaudi) -> tuple[Taint, ...]:
        """Nothing more than what is published of a Gaudi that an outsider has taken away."""
        del device, hardware
        return ()

    def examine(
        self, wanted: Sequence[Wanted], hardware: Mapping[str, Gaudi], host: Host
    ) -> Mapping[str, Gaudi]:
        """Look which Gaudis are connected, if that matters. Raises HostError."""
        if not any(prepare.wants_connected(item) for item in wanted):
            return hardware
        all_of_them = discovery.discover(host).hardware
        groups = {name: each.group for name, each in all_of_them.items()}
        return {name: replace(gaudi, group=groups.get(name, "")) for name, gaudi in hardware.items()}

    def plan(
        self, wanted: Sequence[Wanted], hardware: Mapping[str, Gaudi], modes: Mapping[str, ParentMode]
    ) -> Plan:
        """Decide for a whole claim. Raises DeviceRefused."""
        del modes
        return prepare.plan(wanted, hardware)

    def apply(self, plan: Plan, host: Host) -> None:
        """Nothing is changed."""

    def revert(self, plan: Plan, host: Host, vacated: Collection[str]) -> None:
        """Nothing was changed."""

    def edits(self, device: PlannedDevice, hardware: Gaudi, dev_root: str) -> Edits:
        """What one Gaudi gives. Raises DeviceRefused if its nodes went away since the plan."""
        return prepare.edits(device, hardware, dev_root)

    def claim_edits(self, plan: Plan, hardware: Mapping[str, Gaudi], dev_root: str) -> ClaimEdits:
        """Give the variables that name the Gaudis of a request, or of the claim, and the hook."""
        del dev_root
        return prepare.claim_edits(plan, hardware, self._policy)

    def metadata(self, device: PlannedDevice, hardware: Gaudi) -> Mapping[str, Attribute]:
        """PCI address, NUMA node, and place on the board."""
        del device
        return prepare.metadata(hardware)

    def static_edits(self, hardware: Gaudi, dev_root: str) -> Edits:
        """What ``cdi generate`` writes."""
        return prepare.static_edits(hardware, dev_root)

    def adopted_edits(
        self, answer: Sequence[PreparedDevice], hardware: Mapping[str, Gaudi], dev_root: str
    ) -> Mapping[str, ContainerEdits]:
        """What the ids of Intel's Go driver stand for."""
        return adopted.edits(answer, hardware, dev_root, self._policy)

    def is_adopted_admin(self, device: PreparedDevice) -> bool:
        """Tell nothing: that driver gives adminAccess the same as everybody."""
        del device
        return False

    def describe(self, hardware: Gaudi) -> Mapping[str, Any]:
        """Everything known of one Gaudi, as JSON."""
        return device.describe(hardware)
