"""The simulated drivers of physical functions (``drivers/crypto/intel/qat``), which have most in common.

A PF is up or down. Up, it has ``qat_ras``, ``qat_rl`` and a folder of debugfs; going down takes these and all VFs, and
coming up does not bring VFs back. It has all of its VFs or none, whatever number was asked for.
"""

from __future__ import annotations

import errno

from dra_common.simulate import Function, KernelDriver, Machine, refuse

from qat_driver.products import PFS
from qat_driver.simulation import debugfs, ras, rate_limits, settings
from qat_driver.simulation.details import details_of
from qat_driver.simulation.facts import has_qat_folder, is_up


class Qat(KernelDriver):
    """The driver of one family, or of several that it has one name for (``4xxx``)."""

    def __init__(self, name: str, module: str) -> None:
        super().__init__(name, module=module, sriov=True, recovers=True)

    def matches(self, function: Function) -> bool:
        """Whether it is a physical function of the family."""
        spec = function.spec
        known = PFS.get(spec.device)
        return spec.vendor == "0x8086" and known is not None and known.pf_driver == self.name

    def probe(self, machine: Machine, function: Function) -> None:
        """Add attributes and start it. Raises EINVAL: its NUMA node is unknown on a machine that has several."""
        if function.spec.numa_node < 0 and len(machine.profile.numa) > 1:
            raise refuse(errno.EINVAL, f"{function.bdf}: no NUMA node")
        number = machine.allocate("qat", owner=function)
        machine.on_release(function, lambda: self._stop(machine, function))
        if has_qat_folder(machine, function):
            settings.add(machine, function, number, self)
        if details_of(function).state == "up":
            self._start(machine, function)
            if details_of(function).hung:
                debugfs.hang(machine, function)

    def sriov_configure(self, machine: Machine, pf: Function, count: int) -> int:
        """Enable all VFs, or none; the PF is stopped and started for it, and is up afterwards.

        Raises EINVAL: no IOMMU; EBUSY: it is in use.
        """
        if count and pf.spec.iommu_group is None:
            raise refuse(errno.EINVAL, f"{pf.bdf}: no IOMMU")
        self._check_free(pf)
        was_up = is_up(machine, pf)
        self._stop(machine, pf)
        self._start(machine, pf)
        if not was_up:
            settings.show_state(machine, pf, "up")
        if count:
            machine.enable_vfs(pf, pf.total_vfs)
        return pf.num_vfs

    def set_state(self, machine: Machine, pf: Function, state: str) -> None:
        """Start or stop it; nothing happens if it is so already. Raises EBUSY: it is in use.

        It waits for whoever changes it now. The kernel has a lock of its own for that, which here is the device's.
        """
        with machine.device_lock(pf):
            if (state == "up") != is_up(machine, pf):
                self._check_free(pf)
                change = self._start if state == "up" else self._stop
                change(machine, pf)
            settings.show_state(machine, pf, state)

    def reset(self, machine: Machine, function: Function) -> None:
        """Stop and start it after an error; VFs that it had are made anew, without their bindings."""
        if not is_up(machine, function):
            return
        with machine.device_lock(function):
            had_vfs = bool(function.num_vfs)
            self._stop(machine, function)
            self._start(machine, function)
            if had_vfs:
                machine.enable_vfs(function, function.total_vfs)

    def _start(self, machine: Machine, pf: Function) -> None:
        debugfs.add(machine, pf, lambda: self._failed(machine, pf))
        ras.add(machine, pf)
        rate_limits.add(machine, pf)

    def _stop(self, machine: Machine, pf: Function) -> None:
        # In this order: it is up until the last user of a VF has let go.
        machine.disable_vfs(pf)
        rate_limits.remove(machine, pf)
        ras.remove(machine, pf)
        debugfs.remove(machine, pf)

    def _failed(self, machine: Machine, pf: Function) -> None:
        if settings.auto_reset(machine, pf):
            self.reset(machine, pf)

    def _check_free(self, pf: Function) -> None:
        if details_of(pf).busy:
            raise refuse(errno.EBUSY, f"{pf.bdf} is in use")
