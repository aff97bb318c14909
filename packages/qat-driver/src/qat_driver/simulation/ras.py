"""``qat_ras``, counters of errors (ABI document sysfs-driver-qat_ras). The request ``sense`` lets one count."""

from __future__ import annotations

import errno
from functools import partial

from dra_common.simulate import Function, Machine, refuse

from qat_driver.simulation.facts import has_qat_folder, since

_COUNTERS = ("errors_correctable", "errors_nonfatal", "errors_fatal")


def add(machine: Machine, pf: Function) -> None:
    """Add the counters, all 0, where the kernel has them."""
    if not has_qat_folder(machine, pf) or not since(machine, 6, 7):
        return
    for name in _COUNTERS:
        machine.add_file(f"{_folder(pf)}/{name}", "0")
    store = partial(_store_reset, machine, pf)
    machine.add_file(f"{_folder(pf)}/reset_error_counters", "", store=store, mode=0o200)


def remove(machine: Machine, pf: Function) -> None:
    """Remove them; fine if they are not there."""
    machine.remove(_folder(pf))


def _folder(pf: Function) -> str:
    return f"{pf.folder}/qat_ras"


def _store_reset(machine: Machine, pf: Function, text: str) -> None:
    # Two bytes, and nothing else: the kernel counts them.
    if text != "1\n":
        raise refuse(errno.EINVAL, repr(text))
    for name in _COUNTERS:
        machine.set_file(f"{_folder(pf)}/{name}", "0")
