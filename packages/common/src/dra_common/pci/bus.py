"""Changes PCI functions, each step checked, each refusal explained, none of them made by a thread that serves calls."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from dra_common import custody
from dra_common.deadline import Deadline
from dra_common.errors import HardwareBusy, HostError, HostNotFound
from dra_common.pci.facts import PCI_DEVICES
from dra_common.pci.function import Function, folder, group_node, look
from dra_common.pci.helper import Helper
from dra_common.pci.refusals import Operation, explain
from dra_common.pci.setting import Binding, Setting
from dra_common.pci.waiting import wait_for
from dra_common.ports import Host

PATIENCE = 5.0
"""Seconds. Removing VFs takes the kernel one or two."""

_BUS = "bus/pci"
_NONE = "(null)"
_SHOWN = 64
"""Characters of a driver's name in messages."""


class Bus:
    """The PCI bus of a host, as a context manager: a helper process makes all writes, one for all of a call.

    Args:
        host: whose bus.
        deadline: until when the kernel is waited for; by default that of the call whose hardware locks are held.
        patience: seconds that each step is given even so.

    Writing outside of the locks of hardware parents (:meth:`~dra_common.ports.Locks.parents`) is a RuntimeError.
    """

    def __init__(self, host: Host, *, deadline: Deadline | None = None, patience: float = PATIENCE) -> None:
        self._host = host
        self._custody = custody.current()
        own = self._custody.deadline if self._custody else Deadline.after(patience)
        self._deadline = deadline or own
        self._patience = patience
        self._helper: Helper | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._helper is not None:
            self._helper.close()

    # ------------------------------------------------------------------ reading

    def look(self, bdf: str) -> Function:
        """Return the function as it is now. Raises HostNotFound, HostError."""
        return look(self._host.sysfs, bdf)

    def override(self, bdf: str) -> str:
        """Return ``driver_override``, "" if it is not set. Raises HostNotFound, HostError, HardwareBusy.

        The kernel takes the lock of the device for it, so the helper process reads.
        """
        path = f"{folder(bdf)}/driver_override"
        text = self._host.sysfs.read(path, self._hand(bdf, f"{bdf}: read driver_override"))
        return "" if text == _NONE else text

    def binding(self, bdf: str) -> Binding:
        """Return what is bound to a function. Raises as :meth:`override`."""
        return Binding(self.look(bdf).driver, self.override(bdf))

    def setting(self, bdf: str) -> Setting:
        """Return how a function and its VFs are set, what :meth:`bring` restores. Raises as :meth:`override`."""
        found = self.look(bdf)
        vfs = tuple(self.binding(found.vfs[index]) for index in found.vfs)
        return Setting(Binding(found.driver, self.override(bdf)), found.autoprobe, vfs)

    def attribute(self, bdf: str, name: str) -> str:
        """Return an attribute of a function's kernel driver: ``sriov_admin/pf/profile/exec_quantum_ms``.

        Drivers take locks of their own for these, so the helper process reads. Raises as :meth:`override`.
        """
        return self._host.sysfs.read(f"{folder(bdf)}/{name}", self._hand(bdf, f"{bdf}: read {name}"))

    # ------------------------------------------------------------------ single steps

    def set_override(self, bdf: str, driver: str) -> None:
        """Let only ``driver`` be bound to it from now on; "" = any. Nothing is bound or unbound by it.

        Raises HostNotFound, HardwareRefused, HardwareBusy, as every step.
        """
        self._write(
            "override",
            bdf,
            f"{folder(bdf)}/driver_override",
            f"{driver}\n",
            f"set driver_override to {driver[:_SHOWN]!r}",
        )

    def bind(self, bdf: str, driver: str) -> None:
        """Bind a driver, and wait until it is bound. Raises HardwareNotReady besides."""
        self._write("bind", bdf, f"{_BUS}/drivers/{driver}/bind", bdf, f"bind {driver}")
        self.wait(bdf, f"{driver} to be bound", lambda: self.look(bdf).driver == driver)

    def unbind(self, bdf: str, driver: str) -> None:
        """Take a driver away. Returns when the kernel is done with it, which may be when its last user lets go."""
        self._write("unbind", bdf, f"{_BUS}/drivers/{driver}/unbind", bdf, f"unbind {driver}")

    def probe(self, bdf: str) -> None:
        """Let the kernel look for a driver. It says nothing of whether one was found, or failed."""
        self._write("probe", bdf, f"{_BUS}/drivers_probe", bdf, "look for a driver")

    def set_vfs(self, bdf: str, count: int) -> None:
        """Set the number of VFs, from any number: through 0, as the kernel demands, and wait until they are there.

        All VFs there are go away, and their settings with them. Raises HardwareNotReady besides: fewer came.
        """
        found = self.look(bdf)
        # What the kernel would refuse anyhow, it refuses before it looks at the VFs there are: they stay.
        if found.vfs and 0 < count <= (found.total_vfs or 0):
            self._set_numvfs(bdf, 0)
        self._set_numvfs(bdf, count)

    def set_autoprobe(self, bdf: str, *, on: bool) -> None:
        """Set whether the kernel offers new VFs of a PF to drivers."""
        path = f"{folder(bdf)}/sriov_drivers_autoprobe"
        value = str(int(on))
        self._write("autoprobe", bdf, path, value, f"set sriov_drivers_autoprobe to {value}")

    def reset(self, bdf: str) -> None:
        """Reset the function by the kernel's best method.

        A kernel driver may keep it from returning: Linux 6.12 did not within minutes with igbvf bound to a VF.
        """
        self._write("reset", bdf, f"{folder(bdf)}/reset", "1", "reset")

    def set_attribute(self, bdf: str, name: str, value: str) -> None:
        """Write an attribute of a function's kernel driver. Whether it took, the caller reads."""
        self._write("attribute", bdf, f"{folder(bdf)}/{name}", value, f"set {name} to {value[:_SHOWN]}")

    def wait(self, bdf: str, what: str, condition: Callable[[], bool]) -> None:
        """Wait for a state of a function. Raises HardwareNotReady, and what ``condition`` raises but HostNotFound."""
        wait_for(f"{bdf}: {what}", condition, self._deadline, self._patience)

    def wait_group_node(self, bdf: str) -> str:
        """Wait for the VFIO node of the function's IOMMU group and return it: ``vfio/13``, relative to devfs."""
        self.wait(bdf, "the VFIO node of its IOMMU group", lambda: bool(self._group_node(bdf)))
        return self._group_node(bdf)

    # ------------------------------------------------------------------ whole states

    def rebind(self, bdf: str, wanted: Binding) -> None:
        """Bind as wanted, from whatever a crash may have left. Writes nothing if it is so.

        The override comes first: in between nothing else can be bound, and a VF may be bound whatever its PF's
        autoprobe says. ``bind`` tells why a probe failed; ``drivers_probe`` does not.
        """
        found = self.look(bdf).driver
        if found != wanted.driver:
            if wanted.driver:
                self.set_override(bdf, wanted.driver)
            if found:
                self.unbind(bdf, found)
            if wanted.driver:
                self.bind(bdf, wanted.driver)
        if self.override(bdf) != wanted.override:
            self.set_override(bdf, wanted.override)

    def bring(self, bdf: str, wanted: Setting) -> None:
        """Set a function and its VFs as wanted, from whatever a crash may have left. Writes nothing if it is so.

        VFs are made with autoprobe off, so that no driver but the wanted one ever touches them.
        """
        found = self.look(bdf)
        if found.vfs and self.binding(bdf) != wanted.binding:
            self.set_vfs(bdf, 0)
        self.rebind(bdf, wanted.binding)
        if wanted.autoprobe is None:
            return
        if sorted(self.look(bdf).vfs) != list(range(len(wanted.vfs))):
            if wanted.vfs:
                self._have_autoprobe(bdf, autoprobe=False)
            self.set_vfs(bdf, len(wanted.vfs))
        for vf, binding in zip(self.look(bdf).vfs.values(), wanted.vfs, strict=True):
            self.rebind(vf, binding)
        self._have_autoprobe(bdf, autoprobe=wanted.autoprobe)

    def restore(self, bdf: str, before: Setting) -> None:
        """Set a function as it was found; one that has gone has nothing to give back. Raises as :meth:`bring`."""
        with suppress(HostNotFound):
            self.bring(bdf, before)

    # ------------------------------------------------------------------ inside

    def _have_autoprobe(self, bdf: str, *, autoprobe: bool) -> None:
        if self.look(bdf).autoprobe is not autoprobe:
            self.set_autoprobe(bdf, on=autoprobe)

    def _set_numvfs(self, bdf: str, count: int) -> None:
        self._write(
            "numvfs", bdf, f"{folder(bdf)}/sriov_numvfs", str(count), f"set the number of VFs to {count}"
        )
        self.wait(bdf, f"{count} VFs", lambda: self._has_vfs(bdf, count))

    def _has_vfs(self, bdf: str, count: int) -> bool:
        """Whether just so many VFs are there, each with its link back, which a new VF lacks for a moment."""
        vfs = self.look(bdf).vfs
        return sorted(vfs) == list(range(count)) and all(self.look(vf).pf == bdf for vf in vfs.values())

    def _group_node(self, bdf: str) -> str:
        return group_node(self._host, self.look(bdf).iommu_group)

    def _hand(self, bdf: str, doing: str) -> Helper:
        """Return the helper process, which says ``doing`` of what it is asked next."""
        if self._helper is None:
            names = self._custody.names if self._custody else ()
            self._helper = Helper({bdf, *names}, self._custody, self._deadline, self._patience)
        self._helper.doing = doing
        return self._helper

    def _write(self, operation: Operation, bdf: str, path: str, value: str, step: str) -> None:
        doing = f"{bdf}: {step}"
        folder(bdf)
        if self._custody is None:
            raise RuntimeError(f"{doing}: a change of hardware outside of its locks")
        try:
            self._host.sysfs.write(path, value, self._hand(bdf, doing))
        except HardwareBusy:
            raise
        except HostError as error:
            present = self._host.sysfs.exists(f"{PCI_DEVICES}/{bdf}")
            raise explain(operation, doing, error, present=present) from None
