"""The simulated i915, mainline and out-of-tree (ABI document sysfs-driver-intel-i915-hwmon).

``prelim_iov`` and ``lmem_total_bytes`` exist out-of-tree only and are documented nowhere: they are as seen on machines.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from functools import partial

from dra_common.simulate import Function, Machine, add_card, refuse

from gpu_driver.queries import I915MemoryRegions
from gpu_driver.simulation.base import SPARE, GpuKernelDriver, add_hwmon, add_mei, has_display, share
from gpu_driver.simulation.details import details_of

_WHOLE_NUMBER = re.compile(r"[0-9]+\n?")
_CARD = re.compile(r"card[0-9]+")
_ENGINES = {
    "rcs0": ("0", "0"),
    "bcs0": ("1", "0"),
    "vcs0": ("2", "0"),
    "vcs1": ("2", "1"),
    "vecs0": ("3", "0"),
}
_VF_FILES = {
    "gt0/ggtt_quota": "0",
    "gt0/contexts_quota": "0",
    "gt0/doorbells_quota": "0",
    "gt0/exec_quantum_ms": "0",
    "gt0/preempt_timeout_us": "0",
}


class I915(GpuKernelDriver):
    """Mainline: attributes are below the card, and although a PF shows how many VFs it could have, none can be made."""

    query_layout = I915MemoryRegions()

    def __init__(self, key: str = "i915", *, sriov: bool = False) -> None:
        super().__init__("i915", key=key, sriov=sriov)

    def probe(self, machine: Machine, function: Function) -> None:
        """Add DRM nodes with the card's attributes, hwmon and MEI."""
        details = details_of(function)
        card = add_card(
            machine, function, modeset=has_display(function), files=self.card_files(function)
        ).card
        if not function.is_vf:
            if details.power_cap:
                add_hwmon(machine, function, _hwmon_files(details.power_cap))
            add_mei(machine, function, self.name)
            self.more(machine, function, card)

    def card_files(self, function: Function) -> Mapping[str, str]:
        """Return the attributes of the card's folder; frequencies are the physical function's."""
        return {} if function.is_vf else _card_files()

    def more(self, machine: Machine, pf: Function, card: str) -> None:
        """Add what mainline does not have."""

    def quota(self, machine: Machine, pf: Function, index: int) -> int:
        """Return an equal share."""
        del machine, index
        return share(pf, max(1, len(pf.vfs)))


class I915Backport(I915):
    """Out-of-tree, for data center GPUs: SR-IOV works, ``prelim_iov`` and ``lmem_total_bytes`` are below the card."""

    def __init__(self) -> None:
        super().__init__("i915-backport", sriov=True)

    def probe(self, machine: Machine, function: Function) -> None:
        """Add what I915 does; the module taints the kernel, as every one that was built beside it."""
        super().probe(machine, function)
        if not machine.sys.exists(path := f"module/{self.module}/taint"):
            machine.add_file(path, "OE")

    def card_files(self, function: Function) -> Mapping[str, str]:
        """Add the size of local memory to mainline's attributes."""
        vram = 0 if function.is_vf else details_of(function).vram
        return {**super().card_files(function), **({"lmem_total_bytes": str(vram)} if vram else {})}

    def more(self, machine: Machine, pf: Function, card: str) -> None:
        """Add ``prelim_iov`` to a PF that may have VFs; all possible VFs are there, counted from 1."""
        if not pf.total_vfs:
            return
        folder = f"{card}/prelim_iov"
        machine.add_file(f"{folder}/mode", "SR-IOV PF")
        machine.add_link(f"{folder}/pf/device", pf.folder)
        machine.add_file(f"{folder}/pf/auto_provisioning", "1")
        for index in range(pf.total_vfs):
            vf = f"{folder}/vf{index + 1}"
            for name, text in {"id": str(index + 1), **_VF_FILES}.items():
                machine.add_file(f"{vf}/{name}", text)
            path = f"{vf}/gt0/lmem_quota"
            machine.add_file(path, "0", store=partial(_store_quota, machine, pf, path))

    def sriov_configure(self, machine: Machine, pf: Function, count: int) -> int:
        """Give every VF its memory before it appears; take it back when all are gone. Raises ENOSPC."""
        if count == 0:
            machine.disable_vfs(pf)
            self._set_quotas(machine, pf, [0] * pf.total_vfs)
            return 0
        wanted = [self._written(machine, pf, index) for index in range(count)]
        if sum(wanted) > max(0, details_of(pf).vram - SPARE) or not (any(wanted) or share(pf, count)):
            raise refuse(errno.ENOSPC, f"{pf.bdf}: no local memory for {count} VFs")
        if not any(wanted):
            self._set_quotas(machine, pf, [share(pf, count)] * count)
        machine.enable_vfs(pf, count)
        return count

    def quota(self, machine: Machine, pf: Function, index: int) -> int:
        """Return what ``prelim_iov`` shows."""
        return self._written(machine, pf, index)

    def _written(self, machine: Machine, pf: Function, index: int) -> int:
        return int(machine.sys.read(_quota_path(machine, pf, index)))

    def _set_quotas(self, machine: Machine, pf: Function, sizes: list[int]) -> None:
        for index, size in enumerate(sizes):
            machine.set_file(_quota_path(machine, pf, index), str(size))


def _quota_path(machine: Machine, pf: Function, index: int) -> str:
    card = next(name for name in machine.sys.names(f"{pf.folder}/drm") if _CARD.fullmatch(name))
    return f"{pf.folder}/drm/{card}/prelim_iov/vf{index + 1}/gt0/lmem_quota"


def _store_quota(machine: Machine, pf: Function, path: str, text: str) -> None:
    if pf.vfs:
        raise refuse(errno.EBUSY, path)
    if not _WHOLE_NUMBER.fullmatch(text):
        raise refuse(errno.EINVAL, path)
    machine.set_file(path, text.strip())


def _card_files() -> Mapping[str, str]:
    files = {"gt_cur_freq_mhz": "300", "gt_min_freq_mhz": "300", "gt_max_freq_mhz": "2050"}
    files |= {"gt_RP0_freq_mhz": "2050", "gt_RP1_freq_mhz": "600", "gt_RPn_freq_mhz": "300"}
    files |= {"gt/gt0/id": "0", "gt/gt0/rps_act_freq_mhz": "0", "gt/gt0/rps_RP0_freq_mhz": "2050"}
    files |= {
        "gt/gt0/rc6_enable": "1",
        "gt/gt0/rc6_residency_ms": "123456",
        "gt/gt0/throttle_reason_status": "0",
    }
    for name, (kind, instance) in _ENGINES.items():
        files |= {
            f"engine/{name}/name": name,
            f"engine/{name}/class": kind,
            f"engine/{name}/instance": instance,
        }
    return files


def _hwmon_files(power_cap: int) -> Mapping[str, str]:
    return {
        "name": "i915",
        "power1_max": str(power_cap),
        "power1_rated_max": str(power_cap),
        "power1_max_interval": "28000",
        "energy1_input": "812345678",
        "in0_input": "720",
    }
