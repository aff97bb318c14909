"""vfio-pci and its variants: group nodes, per-device nodes (kernel document vfio, ABI sysfs-devices-vfio-dev)."""

from __future__ import annotations

from dra_common.simulate import vfio_group
from dra_common.simulate.function import Function
from dra_common.simulate.kernel_driver import KernelDriver
from dra_common.simulate.machine import VIRTUAL, Machine

_CONTAINER = (10, 196)
_IOMMU = (10, 125)
_DEVICE_MAJOR = 511
_GROUP_MAJOR = 510


class VfioPci(KernelDriver):
    """A driver of the vfio-pci family, ``vfio-pci`` itself or a variant such as ``xe-vfio-pci``.

    It takes what ``driver_override`` or ``new_id`` gives it and nothing else.
    ``/dev/vfio/devices/vfioN`` and ``/dev/iommu`` exist when the profile says ``vfio_cdev``.
    """

    def __init__(self, name: str = "vfio-pci", *, module: str = "") -> None:
        super().__init__(name, module=module, override_only=True, recovers=True, waits_to_enable=True)

    def matches(self, function: Function) -> bool:
        """Every function, but its table is override-only."""
        del function
        return True

    def load(self, machine: Machine) -> None:
        """Add ``/dev/vfio/vfio`` and ``/dev/iommu``, once for the family."""
        if not machine.sys.exists(f"{VIRTUAL}/misc/vfio"):
            machine.add_class_device(
                VIRTUAL, "misc", "vfio", dev=_CONTAINER, devname="vfio/vfio", node_mode=0o666
            )
            if machine.profile.vfio_cdev:
                machine.add_class_device(
                    VIRTUAL, "misc", "iommu", dev=_IOMMU, devname="iommu", node_mode=0o660
                )

    def probe(self, machine: Machine, function: Function) -> None:
        """Add the group's node and ``vfio-dev/vfioN``. Raises EINVAL without an IOMMU, where vfio minds."""
        _hold_group(machine, function, vfio_group.join(machine, function))
        prefix = vfio_group.prefix(function)
        number = machine.allocate("vfio-dev", owner=function)
        cdev = machine.profile.vfio_cdev
        machine.add_class_device(
            function.folder,
            "vfio-dev",
            f"{prefix}vfio{number}",
            dev=(_DEVICE_MAJOR, number) if cdev else None,
            devname=f"vfio/devices/{prefix}vfio{number}" if cdev else "",
            node_mode=0o600,
            owner=function,
        )

    def remove(self, machine: Machine, function: Function) -> None:
        """Wait for the last user, as ``vfio_unregister_group_dev`` does: only then the group's node goes.

        A user is who has the device open, by its node or through its group; who has the group open alone is none.
        """
        folder = f"{function.folder}/vfio-dev"
        nodes = set()
        for name in machine.sys.names(folder):
            nodes.add(f"vfio/devices/{name}")
            machine.remove_class_device(f"{folder}/{name}")
        machine.block(
            lambda: not machine.in_use[function.bdf] and not any(machine.users[node] for node in nodes)
        )


def _hold_group(machine: Machine, function: Function, group: str) -> None:
    folder = f"{VIRTUAL}/vfio/{group}"
    if not machine.sys.exists(folder):
        minor = machine.allocate("vfio-group")
        machine.add_class_device(
            VIRTUAL, "vfio", group, dev=(_GROUP_MAJOR, minor), devname=f"vfio/{group}", node_mode=0o600
        )
    machine.on_release(function, lambda: _drop_group(machine, function, group))


def _drop_group(machine: Machine, function: Function, group: str) -> None:
    others = (other for other in machine.functions.values() if other is not function)
    bound = (other for other in others if isinstance(other.driver, VfioPci))
    if any(vfio_group.node(machine, other) == f"vfio/{group}" for other in bound):
        return
    folder = f"{VIRTUAL}/vfio/{group}"
    minor = machine.sys.read(f"{folder}/dev").partition(":")[2]
    machine.remove_class_device(folder)
    # Who still has it open has nothing of the next group of this number.
    machine.users[f"vfio/{group}"] = set()
    machine.free("vfio-group", int(minor))
