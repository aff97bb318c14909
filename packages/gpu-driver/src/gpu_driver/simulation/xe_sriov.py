"""``sriov_admin`` of the simulated xe (ABI document sysfs-driver-intel-xe-sriov, 6.19; ``vram_quota`` since 7.1).

The folders of all possible VFs exist at all times and count from 1: ``vf1`` is ``virtfn0``. Only an enabled VF's has
a ``device`` link.
"""

from __future__ import annotations

import errno
import re
from functools import partial

from dra_common.simulate import Function, Machine, refuse

from gpu_driver.simulation.base import SPARE, share
from gpu_driver.simulation.details import details_of

_ADMIN_SINCE = (6, 19)
_QUOTA_SINCE = (7, 1)
_WHOLE_NUMBER = re.compile(r"[0-9]+\n?")


def make(machine: Machine, pf: Function) -> None:
    """Add the attributes of the PF and of all possible VFs."""
    if _kernel(machine) < _ADMIN_SINCE:
        return
    machine.add_link(f"{pf.folder}/sriov_admin/pf/device", pf.folder, owner=pf)
    _add_profile(machine, pf, "pf", "[low] normal high")
    for index in range(pf.total_vfs):
        _add_profile(machine, pf, f"vf{index + 1}", "[low] normal")
        if has_quotas(machine, pf):
            path = _quota_path(pf, index)
            machine.add_file(path, "0", store=partial(_store_quota, machine, pf, path), owner=pf)


def has_quotas(machine: Machine, pf: Function) -> bool:
    """Whether this kernel shows how much memory a VF has."""
    return _kernel(machine) >= _QUOTA_SINCE and details_of(pf).vram > 0


def provision(machine: Machine, pf: Function, count: int) -> None:
    """Give each of ``count`` VFs an equal share, unless somebody wrote quotas before. Raises ENOSPC."""
    if details_of(pf).vram == 0:
        return
    wanted = [quota(machine, pf, index) or 0 for index in range(count)]
    if sum(wanted) > details_of(pf).vram - SPARE or (not any(wanted) and share(pf, count) == 0):
        raise refuse(errno.ENOSPC, f"{pf.bdf}: no local memory for {count} VFs")
    if has_quotas(machine, pf) and not any(wanted):
        for index in range(count):
            machine.set_file(_quota_path(pf, index), str(share(pf, count)))


def link_vfs(machine: Machine, pf: Function) -> None:
    """Add the ``device`` links of the VFs that exist now; they go when the VFs or the PF's driver go."""
    if _kernel(machine) < _ADMIN_SINCE:
        return
    for vf in pf.vfs:
        machine.add_link(f"{pf.folder}/sriov_admin/vf{vf.vf_index + 1}/device", vf.folder, owner=pf)


def release(machine: Machine, pf: Function) -> None:
    """Take back what was given, after the VFs are gone."""
    for index in range(pf.total_vfs):
        machine.remove(f"{pf.folder}/sriov_admin/vf{index + 1}/device")
        if quota(machine, pf, index):
            machine.set_file(_quota_path(pf, index), "0")


def quota(machine: Machine, pf: Function, index: int) -> int | None:
    """Return the memory of a VF in bytes as shown, None where this kernel does not show it."""
    path = _quota_path(pf, index)
    return int(machine.sys.read(path)) if machine.sys.exists(path) else None


def _add_profile(machine: Machine, pf: Function, who: str, priorities: str) -> None:
    folder = f"{pf.folder}/sriov_admin/{who}/profile"
    for name in ("exec_quantum_ms", "preempt_timeout_us"):
        path = f"{folder}/{name}"
        machine.add_file(path, "0", store=partial(_store_number, machine, path), owner=pf)
    machine.add_file(f"{folder}/sched_priority", priorities, owner=pf)


def _store_number(machine: Machine, path: str, text: str) -> None:
    if not _WHOLE_NUMBER.fullmatch(text):
        raise refuse(errno.EINVAL, path)
    machine.set_file(path, text.strip())


def _store_quota(machine: Machine, pf: Function, path: str, text: str) -> None:
    if pf.vfs:
        raise refuse(errno.EIO, path)
    _store_number(machine, path, text)


def _quota_path(pf: Function, index: int) -> str:
    return f"{pf.folder}/sriov_admin/vf{index + 1}/profile/vram_quota"


def _kernel(machine: Machine) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", machine.profile.kernel)[:2])
