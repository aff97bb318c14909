"""A driver for tests of changed hardware: its devices are PFs, and a claim gets one whole, or as so many VFs.

It changes hardware as a driver of accelerators does, with :mod:`dra_common.pci`; on the simulated kernel, or on a real
one in QEMU.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dra_common.driver import NO_MODES, ConfigKind, Discovery, OpaqueParameters, Published, Wanted
from dra_common.errors import DeviceRefused, HostError
from dra_common.model import (
    Attribute,
    ClaimEdits,
    ContainerEdits,
    Device,
    DeviceNode,
    Edits,
    ParentMode,
    Plan,
    PlannedDevice,
    PreparedDevice,
    Taint,
)
from dra_common.pci import Binding, Bus, Function, Setting, dashed, group_members, group_node, look, undashed
from dra_common.policy import DriverPolicy
from dra_common.ports import Host

DRIVER = "nic.example.com"
_IDS = ("0x8086", "0x10c9")
_PF, _VF = "igb", "igbvf"
_PATIENCE = 30.0
_VFIO = Binding("vfio-pci", "vfio-pci")


class NicConfig(OpaqueParameters):
    """How a claim wants its device: as that many VFs, 0 = whole; with the kernel's own drivers or with VFIO."""

    vfs: int = 0
    binding: Literal["native", "vfio"] = "native"


@dataclass(frozen=True, slots=True)
class Nic:
    """One PF.

    Args:
        function: what can be seen without asking the kernel for more.
        setting: how it is set; None where the whole machine is looked at, since reading that may block.
        given: addresses of what a container gets: its VFs, or the PF itself.
        nodes: VFIO nodes of what is given.
        alone: whether its IOMMU group has no other member.
    """

    function: Function
    setting: Setting | None
    given: tuple[str, ...]
    nodes: tuple[str, ...]
    alone: bool


class NicDriver:
    """Stateless, as every driver."""

    name = DRIVER
    cdi_vendor = "example.com"
    cdi_classes = ("nic",)
    config_kinds = (ConfigKind("nic.example.com/v1", "NicConfig", NicConfig),)
    policy_kind = None
    uevent_subsystems = ("pci",)

    def discover(self, host: Host, only: Collection[str] | None = None) -> Discovery[Nic]:
        """Find the PFs with SR-IOV; of those asked for also how they are set."""
        addresses = [bdf for bdf in host.sysfs.listdir("bus/pci/devices") if _is_nic(host, bdf)]
        wanted = [bdf for bdf in addresses if only is None or device_name(bdf) in only]
        # In a guest with an emulated processor a process takes seconds to start.
        with Bus(host, patience=_PATIENCE) as bus:
            return Discovery(
                {device_name(bdf): _read(host, bus, bdf, deep=only is not None) for bdf in wanted}
            )

    def configure(self, policy: DriverPolicy) -> None:
        """There is nothing to decide."""

    def publish(self, hardware: Mapping[str, Nic], modes: Mapping[str, ParentMode] = NO_MODES) -> Published:
        """Publish how many VFs each can have."""
        del modes
        return Published(
            tuple(Device(name, {"vfs": nic.function.total_vfs or 0}) for name, nic in hardware.items())
        )

    def locks(self, wanted: Wanted, hardware: Nic) -> tuple[str, ...]:
        """Every PF is its own parent, and that of its VFs."""
        del hardware
        return (wanted.allocated.device,)

    def parent(self, hardware: Nic) -> str:
        """Every PF is its own parent."""
        return device_name(hardware.function.bdf)

    def estranged(self, device: PlannedDevice, hardware: Nic) -> tuple[Taint, ...]:
        """Nobody looks."""
        del device, hardware
        return ()

    def examine(self, wanted: Sequence[Wanted], hardware: Mapping[str, Nic], host: Host) -> Mapping[str, Nic]:
        """Nothing more to read."""
        del wanted, host
        return hardware

    def plan(
        self, wanted: Sequence[Wanted], hardware: Mapping[str, Nic], modes: Mapping[str, ParentMode]
    ) -> Plan:
        """Remember how each PF is set, and how it will be. A claim has a PF alone: there are no modes."""
        del modes
        return Plan(tuple(self._plan(one, hardware[one.allocated.device]) for one in wanted))

    def apply(self, plan: Plan, host: Host) -> None:
        """Set the PFs and their VFs."""
        with Bus(host) as bus:
            for bdf, undo in _changes(plan):
                after = Setting.from_json(undo["after"])
                bus.bring(bdf, after)
                for given, binding in _given(bus.look(bdf), after):
                    if binding == _VFIO:
                        bus.wait_group_node(given)

    def revert(self, plan: Plan, host: Host, vacated: Collection[str]) -> None:
        """Set the PFs as they were found."""
        del vacated
        with Bus(host) as bus:
            for bdf, undo in _changes(plan):
                bus.restore(bdf, Setting.from_json(undo["before"]))

    def edits(self, device: PlannedDevice, hardware: Nic, dev_root: str) -> Edits:
        """Give the addresses, and the VFIO nodes if there are any."""
        del device
        nodes = ("vfio/vfio", *hardware.nodes) if hardware.nodes else ()
        given = tuple(DeviceNode(f"/dev/{node}", f"{dev_root}/{node}") for node in nodes)
        return {"nic": ContainerEdits(env=(f"NIC={','.join(hardware.given)}",), device_nodes=given)}

    def claim_edits(self, plan: Plan, hardware: Mapping[str, Nic], dev_root: str) -> ClaimEdits:
        """Nothing."""
        del plan, hardware, dev_root
        return ClaimEdits()

    def metadata(self, device: PlannedDevice, hardware: Nic) -> Mapping[str, Attribute]:  # noqa: ARG002
        """Tell nothing."""
        return {}

    def static_edits(self, hardware: Nic, dev_root: str) -> Edits:
        """Nothing: without a claim nobody sets it."""
        del hardware, dev_root
        return {}

    def adopted_edits(
        self, answer: Sequence[PreparedDevice], hardware: Mapping[str, Nic], dev_root: str
    ) -> Mapping[str, ContainerEdits]:
        """Nothing: it replaces no driver."""
        del answer, hardware, dev_root
        return {}

    def is_adopted_admin(self, device: PreparedDevice) -> bool:
        """Never: it replaces no driver."""
        del device
        return False

    def describe(self, hardware: Nic) -> Mapping[str, Any]:
        """Give the driver and the number of VFs."""
        return {"driver": hardware.function.driver, "vfs": len(hardware.function.vfs)}

    def _plan(self, one: Wanted, nic: Nic) -> PlannedDevice:
        config, before = one.config["NicConfig"], nic.setting
        assert isinstance(config, NicConfig)  # noqa: S101 - config_kinds says so
        if one.allocated.admin_access or before is None:
            return PlannedDevice(one.allocated, self.locks(one, nic))
        _check(one.allocated.device, nic, config)
        after = _wanted(config, before)
        undo = None if after == before else {"before": before.to_json(), "after": after.to_json()}
        return PlannedDevice(one.allocated, self.locks(one, nic), undo)


def device_name(bdf: str) -> str:
    """Return what a PF is published as."""
    return dashed(bdf)


def opaque(**config: object) -> dict[str, Any]:
    """Return a claim's parameters; ``config`` is a :class:`NicConfig`."""
    parameters = {"apiVersion": "nic.example.com/v1", "kind": "NicConfig", **config}
    return {"source": "FromClaim", "requests": [], "opaque": {"driver": DRIVER, "parameters": parameters}}


def _is_nic(host: Host, bdf: str) -> bool:
    folder = f"bus/pci/devices/{bdf}"
    try:
        ids = (host.sysfs.read(f"{folder}/vendor"), host.sysfs.read(f"{folder}/device"))
    except HostError:
        return False
    return ids == _IDS and host.sysfs.exists(f"{folder}/sriov_totalvfs")


def _read(host: Host, bus: Bus, bdf: str, *, deep: bool) -> Nic:
    function = look(host.sysfs, bdf)
    given = tuple(function.vfs.values()) or (bdf,)
    groups = [look(host.sysfs, each).iommu_group for each in given]
    nodes = tuple(node for group in groups if (node := group_node(host, group)))
    members = group_members(host.sysfs, function.iommu_group) if function.iommu_group else ()
    return Nic(function, bus.setting(bdf) if deep else None, given, nodes, set(members) <= {bdf})


def _given(function: Function, setting: Setting) -> list[tuple[str, Binding]]:
    if setting.vfs:
        return list(zip(function.vfs.values(), setting.vfs, strict=True))
    return [(function.bdf, setting.binding)]


def _wanted(config: NicConfig, before: Setting) -> Setting:
    if config.vfs:
        vf = _VFIO if config.binding == "vfio" else Binding(_VF)
        return Setting(Binding(_PF, before.binding.override), before.autoprobe, (vf,) * config.vfs)
    whole = _VFIO if config.binding == "vfio" else Binding(_PF, before.binding.override)
    return Setting(whole, before.autoprobe)


def _check(name: str, nic: Nic, config: NicConfig) -> None:
    """Raise DeviceRefused for what would harm others, or cannot be."""
    most = nic.function.total_vfs or 0
    if nic.function.vfs:
        msg = f"device {name}: it has {len(nic.function.vfs)} VFs that no claim made"
        raise DeviceRefused(msg, cure="remove them: write 0 to its sriov_numvfs")
    if config.vfs > most:
        raise DeviceRefused(f"device {name}: {config.vfs} VFs are more than {most}", cure="ask for fewer")
    if config.binding == "vfio" and not config.vfs and not nic.alone:
        msg = f"device {name}: other devices are in its IOMMU group {nic.function.iommu_group}"
        raise DeviceRefused(msg, cure="use its VFs, or a slot with access control (ACS)")


def _changes(plan: Plan) -> list[tuple[str, Mapping[str, Any]]]:
    return [(undashed(each.allocated.device), each.undo) for each in plan.devices if each.undo]
