"""Virtual functions coming and going, in the kernel's order of links and uevents (``drivers/pci/iov.c``)."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from dra_common.simulate import attributes, binding
from dra_common.simulate.errnos import parse_unsigned, refuse
from dra_common.simulate.function import Function
from dra_common.simulate.profile import FunctionSpec, SriovSpec, vf_bdf

if TYPE_CHECKING:
    from dra_common.simulate.machine import Machine

_log = logging.getLogger(__name__)


def store_numvfs(machine: Machine, pf: Function, text: str) -> None:
    """Do what a write to ``sriov_numvfs`` does; the checks are in the kernel's order (``sriov_numvfs_store``)."""
    count = parse_unsigned(text, 16)
    if count > pf.total_vfs:
        raise refuse(errno.ERANGE, f"{count} > {pf.total_vfs}")
    with machine.device_lock(pf):
        _set(machine, pf, count)


def _set(machine: Machine, pf: Function, count: int) -> None:
    if count == pf.num_vfs:
        return
    driver = pf.driver
    if driver is None:
        raise refuse(errno.ENOENT, f"{pf.bdf}: no driver")
    if not driver.sriov:
        raise refuse(errno.ENOENT, f"{pf.bdf}: {driver.name} does not support SR-IOV configuration via sysfs")
    if count and pf.num_vfs:
        raise refuse(errno.EBUSY, f"{pf.bdf} has {pf.num_vfs} VFs")
    done = driver.sriov_configure(machine, pf, count)
    if done != count:
        _log.warning("%s: %d VFs requested; %d enabled", pf.bdf, count, done)


def enable(machine: Machine, pf: Function, count: int) -> None:
    """Make VFs 0 to ``count`` - 1 appear, then tell of the PF's change."""
    for index in range(count):
        _add(machine, pf, index)
    _set_numvfs(machine, pf, count)
    machine.emit("change", pf.folder, "pci", attributes.properties(pf))


def disable(machine: Machine, pf: Function) -> None:
    """Make all VFs vanish, in ascending order."""
    for vf in tuple(pf.vfs):
        remove(machine, pf, vf)
    if pf.num_vfs:
        _set_numvfs(machine, pf, 0)


def remove(machine: Machine, pf: Function, vf: Function) -> None:
    """Make one VF vanish; ``sriov_numvfs`` does not follow when it is not all of them."""
    machine.remove(f"{pf.folder}/virtfn{vf.vf_index}")
    machine.remove(f"{vf.folder}/physfn")
    pf.vfs.remove(vf)
    machine.remove_function(vf)


def set_total(machine: Machine, pf: Function, total: int) -> None:
    """Change ``sriov_totalvfs``, never above the hardware's."""
    if pf.spec.sriov is None:
        return
    pf.total_vfs = min(total, pf.spec.sriov.total)
    machine.set_file(f"{pf.folder}/sriov_totalvfs", str(pf.total_vfs))


def vf_spec(pf: FunctionSpec, sriov: SriovSpec, index: int, iommu_group: int | None) -> FunctionSpec:
    """Derive what a VF is from its PF: a sibling with the same ids but its own device id."""
    return FunctionSpec(
        bdf=vf_bdf(pf, index),
        root=pf.root_complex,
        path=pf.path,
        vendor=pf.vendor,
        device=sriov.vf_device,
        class_=pf.class_,
        revision=pf.revision,
        subsystem_vendor=pf.subsystem_vendor,
        subsystem_device=pf.subsystem_device,
        numa_node=pf.numa_node,
        iommu_group=iommu_group,
        reset_methods=pf.reset_methods,
        aer=pf.aer,
        bars=sriov.bars,
        attributes=sriov.vf_attributes,
    )


def _add(machine: Machine, pf: Function, index: int) -> None:
    if pf.spec.sriov is None:
        raise refuse(errno.ENODEV, f"{pf.bdf} has no SR-IOV capability")
    spec = vf_spec(pf.spec, pf.spec.sriov, index, machine.vf_group(pf.spec, index))
    vf = Function(spec, details=pf.details, pf=pf, vf_index=index)
    machine.add_function(vf)
    pf.vfs.append(vf)
    machine.add_link(f"{pf.folder}/virtfn{index}", vf.folder)
    machine.add_link(f"{vf.folder}/physfn", pf.folder)
    machine.emit("change", vf.folder, "pci", attributes.properties(vf))
    if machine.autoprobe:
        binding.attach(machine, vf)


def _set_numvfs(machine: Machine, pf: Function, count: int) -> None:
    pf.num_vfs = count
    machine.set_file(f"{pf.folder}/sriov_numvfs", str(count))
