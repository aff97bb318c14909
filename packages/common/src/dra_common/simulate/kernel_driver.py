"""What a driver package implements to simulate a kernel driver (i915, xe, habanalabs …).

The PCI core's part (matching, binding, SR-IOV, uevents of functions) is the simulator's. A kernel driver adds what it
alone knows: class devices, attributes, device nodes and how they answer.

.. code-block:: python

    class Toy(KernelDriver):
        def matches(self, function):
            return function.spec.device == "0x4242"

        def probe(self, machine, function):
            machine.add_file(f"{function.folder}/mood", "good", owner=function)
            machine.add_class_device(function.folder, "toy", "toy0", dev=(240, 0), devname="toy0", owner=function)

Whatever is added with ``owner=function`` is taken away again, newest first, when the driver is unbound or its probe
fails: ``remove`` is only for what else there is to do.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dra_common.simulate.errnos import refuse
from dra_common.simulate.function import Function

if TYPE_CHECKING:
    from dra_common.simulate.machine import Machine


class KernelDriver:
    """Base of simulated kernel drivers.

    An instance keeps no state of its own: what is true is in the machine, so that a reboot begins afresh.

    Args:
        name: the folder in ``bus/pci/drivers``.
        key: how a profile names it in ``drivers``; by default the name. Two variants of one driver (mainline and
            out-of-tree) have the same name and different keys.
        module: the kernel module, by default the name with ``_`` for ``-``.
        override_only: its id table is consulted only for functions whose ``driver_override`` names this driver.
        sriov: it has an SR-IOV callback. Without one, writing ``sriov_numvfs`` is ENOENT.
        recovers: it has callbacks for PCIe errors (``err_handler``). Without them no error behind its port is recovered
            from.
        waits_to_enable: it enables a function (``pci_enable_device``) when somebody opens it, not when it is bound.
    """

    def __init__(
        self,
        name: str,
        *,
        key: str = "",
        module: str = "",
        override_only: bool = False,
        sriov: bool = False,
        recovers: bool = False,
        waits_to_enable: bool = False,
    ) -> None:
        self.name = name
        self.key = key or name
        self.module = module or name.replace("-", "_")
        self.override_only = override_only
        self.sriov = sriov
        self.recovers = recovers
        self.waits_to_enable = waits_to_enable

    def matches(self, function: Function) -> bool:
        """Whether the id table has this function (``driver_override`` and new_id are the core's business)."""
        raise NotImplementedError

    def load(self, machine: Machine) -> None:
        """Add what exists as soon as the module is loaded, hardware or not."""

    def probe(self, machine: Machine, function: Function) -> None:
        """Take the function: add files, class devices and nodes, with ``owner=function``.

        Raises OSError with the errno the kernel driver would return; what was added is then taken away.
        """

    def remove(self, machine: Machine, function: Function) -> None:
        """Let go of the function. VFs are gone already; what was added with ``owner`` goes right after this."""

    def sriov_configure(self, machine: Machine, pf: Function, count: int) -> int:
        """Enable ``count`` VFs (0 = disable all) and return how many were enabled.

        Called only when ``sriov`` is set, and by the core's rules: never above ``sriov_totalvfs``, never to change one
        count above zero to another. Raises OSError.
        """
        if count == 0:
            machine.disable_vfs(pf)
        else:
            machine.enable_vfs(pf, count)
        return count

    def reset(self, machine: Machine, function: Function) -> None:
        """Start the function again after a PCIe error that was not corrected; only called when ``recovers`` is set."""

    def query(self, machine: Machine, function: Function, node: str, name: str) -> bytes:
        """Answer an ioctl put to ``node`` (``dri/renderD128``) that belongs to ``function``.

        ``name`` is that of the :class:`~dra_common.ports.DeviceQuery`. Raises OSError: that there is no such ioctl is
        ENOTTY, but EINVAL of a DRM node (``drm_ioctl``).
        """
        del machine
        code = errno.EINVAL if node.startswith("dri/") else errno.ENOTTY
        raise refuse(code, f"{function.bdf}: {node}: {name}")


class IdDriver(KernelDriver):
    """A driver that binds by vendor and device id and adds nothing, for example ``snd_hda_intel``.

    Args:
        ids: ``"8086:e2f7"`` forms; ``*`` for any device of the vendor.
    """

    def __init__(self, name: str, ids: Iterable[str], *, module: str = "") -> None:
        super().__init__(name, module=module)
        self._ids = frozenset(ids)

    def matches(self, function: Function) -> bool:
        """Whether vendor and device are in the table."""
        vendor, device = function.spec.vendor[2:], function.spec.device[2:]
        return not self._ids.isdisjoint({f"{vendor}:{device}", f"{vendor}:*"})


class PciePort(KernelDriver):
    """Bridges; always loaded."""

    def __init__(self) -> None:
        super().__init__("pcieport")

    def matches(self, function: Function) -> bool:
        """Whether the class says bridge."""
        return function.spec.is_bridge
