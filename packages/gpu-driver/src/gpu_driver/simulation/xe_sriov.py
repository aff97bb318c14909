"""``sriov_admin`` of the simulated xe (ABI document sysfs-driver-intel-xe-sriov, 6.19; ``vram_quota`` since 7.1).

The folders of all possible VFs exist at all times and count from 1: ``vf1`` is ``virtfn0``. Only an enabled VF's has
a ``device`` link. What ``.bulk_profile`` is told holds for the PF and for all possible VFs; VFs that go away have the
defaults afterwards, but for the priority, which is one for all (``xe_sriov_pf_sysfs.c``, ``xe_gt_sriov_pf_config.c``).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Collection, Iterator
from functools import partial

from dra_common.simulate import Function, Machine, parse_unsigned, refuse

from gpu_driver.simulation.base import SHARE_STEP, SPARE, share
from gpu_driver.simulation.details import details_of

_ALIGNED_SINCE = (6, 17)
_ADMIN_SINCE = (6, 19)
_QUOTA_SINCE = _PROFILES_SINCE = (7, 1)
_MOST_ONCE = 2 << 30
"""Bytes of a VF up to 6.16."""

_NUMBERS = {"exec_quantum_ms": 100_000, "preempt_timeout_us": 100_000_000}
"""More than this the firmware takes as this, silently (``guc_klvs_abi.h``)."""
_PRIORITIES = ("low", "normal", "high")
_OF_VFS = _PRIORITIES[:2]
_PRIORITY = "sched_priority"


def make(machine: Machine, pf: Function) -> None:
    """Add the attributes of the PF and of all possible VFs."""
    if _kernel(machine) < _ADMIN_SINCE:
        return
    machine.add_link(f"{pf.folder}/sriov_admin/pf/device", pf.folder, owner=pf)
    _add_bulk(machine, pf)
    _add_profile(machine, pf, "pf")
    for index in range(pf.total_vfs):
        _add_profile(machine, pf, f"vf{index + 1}")
        if has_quotas(machine, pf):
            store = partial(_store_quotas, machine, pf, [index])
            machine.add_file(_quota_path(pf, index), "0", store=store, owner=pf)


def has_quotas(machine: Machine, pf: Function) -> bool:
    """Whether this kernel shows how much memory a VF has."""
    return _kernel(machine) >= _QUOTA_SINCE and details_of(pf).vram > 0


def fair_share(machine: Machine, pf: Function, count: int) -> int:
    """Return the bytes of local memory of each of ``count`` VFs (``xe_gt_sriov_pf_config.c``).

    Since 7.1 a power of two, and for the only VF of a card half of the memory at most: some is left for a display.
    Before it an equal part, which up to 6.16 was a power of two and no more than 2 GiB.
    """
    kernel, vram = _kernel(machine), details_of(pf).vram
    part = max(0, vram - SPARE) // count
    if kernel >= _PROFILES_SINCE:
        return _power_of_two(min(part, vram // 2) if count == 1 else part)
    if kernel < _ALIGNED_SINCE:
        return min(_power_of_two(part), _MOST_ONCE)
    return share(pf, count)


def _power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1) if number >= SHARE_STEP else 0


def provision(machine: Machine, pf: Function, count: int) -> None:
    """Give each of ``count`` VFs its share, unless somebody wrote quotas before. Raises ENOSPC."""
    if details_of(pf).vram == 0:
        return
    wanted = [quota(machine, pf, index) or 0 for index in range(count)]
    if sum(wanted) > details_of(pf).vram - SPARE or (not any(wanted) and fair_share(machine, pf, count) == 0):
        raise refuse(errno.ENOSPC, f"{pf.bdf}: no local memory for {count} VFs")
    if has_quotas(machine, pf) and not any(wanted):
        for index in range(count):
            machine.set_file(_quota_path(pf, index), str(fair_share(machine, pf, count)))


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


def reset(machine: Machine, pf: Function, count: int) -> None:
    """Let the VFs that went away be scheduled by default."""
    if _kernel(machine) >= _ADMIN_SINCE:
        for index in range(count):
            for name in _NUMBERS:
                machine.set_file(_profile(pf, f"vf{index + 1}", name), "0")


def quota(machine: Machine, pf: Function, index: int) -> int | None:
    """Return the memory of a VF in bytes as shown, None where this kernel does not show it."""
    path = _quota_path(pf, index)
    return int(machine.sys.read(path)) if machine.sys.exists(path) else None


def _everybody(pf: Function) -> Iterator[str]:
    yield "pf"
    yield from (f"vf{index + 1}" for index in range(pf.total_vfs))


def _profile(pf: Function, who: str, name: str) -> str:
    return f"{pf.folder}/sriov_admin/{who}/profile/{name}"


def _add_bulk(machine: Machine, pf: Function) -> None:
    for name in _NUMBERS:
        paths = [_profile(pf, who, name) for who in _everybody(pf)]
        _add_write_only(machine, pf, name, partial(_store_number, machine, name, paths))
    _add_write_only(machine, pf, _PRIORITY, partial(_store_priority, machine, pf, _OF_VFS, [*_everybody(pf)]))
    if has_quotas(machine, pf):
        _add_write_only(machine, pf, "vram_quota", partial(_store_quotas, machine, pf, range(pf.total_vfs)))


def _add_write_only(machine: Machine, pf: Function, name: str, store: Callable[[str], None]) -> None:
    path = f"{pf.folder}/sriov_admin/.bulk_profile/{name}"
    machine.add_file(path, "", store=store, mode=0o200, owner=pf)


def _add_profile(machine: Machine, pf: Function, who: str) -> None:
    for name in _NUMBERS:
        path = _profile(pf, who, name)
        machine.add_file(path, "0", store=partial(_store_number, machine, name, [path]), owner=pf)
    path, names = _profile(pf, who, _PRIORITY), _names_of(who)
    store = (
        partial(_store_priority, machine, pf, names, [who])
        if who == "pf"
        else partial(_store_no_priority, path)
    )
    machine.add_file(path, _choice(names, names[0]), store=store, mode=0 if who == "pf" else 0o444, owner=pf)


def _store_number(machine: Machine, name: str, paths: Collection[str], text: str) -> None:
    number = min(parse_unsigned(text, 32), _NUMBERS[name])
    for path in paths:
        machine.set_file(path, str(number))


def _store_priority(
    machine: Machine, pf: Function, names: Collection[str], whose: Collection[str], text: str
) -> None:
    word = text.removesuffix("\n")
    if word not in names:
        raise refuse(errno.EINVAL, repr(text))
    for who in whose:
        machine.set_file(_profile(pf, who, _PRIORITY), _choice(_names_of(who), word))


def _store_no_priority(path: str, _text: str) -> None:
    raise refuse(errno.EOPNOTSUPP, path)


def _names_of(who: str) -> tuple[str, ...]:
    return _PRIORITIES if who == "pf" else _OF_VFS


def _choice(names: Collection[str], chosen: str) -> str:
    return " ".join(f"[{name}]" if name == chosen else name for name in names)


def _store_quotas(machine: Machine, pf: Function, indices: Collection[int], text: str) -> None:
    size = parse_unsigned(text, 64)
    if pf.vfs:
        raise refuse(errno.EIO, f"{pf.bdf}: its VFs run")
    for index in indices:
        machine.set_file(_quota_path(pf, index), str(size))


def _quota_path(pf: Function, index: int) -> str:
    return f"{pf.folder}/sriov_admin/vf{index + 1}/profile/vram_quota"


def _kernel(machine: Machine) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", machine.profile.kernel)[:2])
