"""The simulated xe (ABI documents sysfs-driver-intel-xe-sriov and -hwmon, ``xe_gt_freq``; kernel 6.17 and newer)."""

from __future__ import annotations

from collections.abc import Mapping

from dra_common.simulate import Function, Machine, add_card

from gpu_driver.queries import XeMemRegions
from gpu_driver.simulation import xe_sriov
from gpu_driver.simulation.base import GpuKernelDriver, add_hwmon, add_mei, has_display, share
from gpu_driver.simulation.details import details_of

_ENGINES = {"gt0": ("rcs", "bcs", "ccs"), "gt1": ("vcs", "vecs")}
_FREQUENCIES = {
    "gt0": {"rpn_freq": "400", "rpe_freq": "800", "rp0_freq": "2850", "min_freq": "400", "max_freq": "2850"},
    "gt1": {"rpn_freq": "400", "rpe_freq": "600", "rp0_freq": "1500", "min_freq": "400", "max_freq": "1500"},
}
_NAMES = {"gt0": "gt0-rc", "gt1": "gt1-mc"}
_LIMITS = {"job_timeout_ms": "5000", "preempt_timeout_us": "640000", "timeslice_duration_us": "1000"}


class Xe(GpuKernelDriver):
    """xe: attributes are below the PCI device, SR-IOV works where the driver allows VFs."""

    query_layout = XeMemRegions()

    def __init__(self) -> None:
        super().__init__("xe", sriov=True)

    def probe(self, machine: Machine, function: Function) -> None:
        """Add DRM nodes, GTs, hwmon, MEI and, on a PF, the SR-IOV attributes; in survivability mode nothing of it."""
        details = details_of(function)
        if details.survivability:
            machine.add_file(f"{function.folder}/survivability_mode", "Boot", mode=0o400, owner=function)
            return
        if function.spec.sriov and details.max_vfs is not None:
            machine.set_total_vfs(function, details.max_vfs)
        add_card(machine, function, modeset=has_display(function))
        for name, text in _gt_files(vf=function.is_vf).items():
            machine.add_file(f"{function.folder}/tile0/{name}", text, owner=function)
        if function.is_vf:
            return
        if details.power_cap:
            add_hwmon(machine, function, _hwmon_files(details.power_cap))
            machine.add_file(f"{function.folder}/vram_d3cold_threshold", "300", owner=function)
        add_mei(machine, function, self.name)
        if function.total_vfs:
            xe_sriov.make(machine, function)

    def sriov_configure(self, machine: Machine, pf: Function, count: int) -> int:
        """Give every VF its memory before it appears; take it back when all are gone. Raises ENOSPC."""
        if count == 0:
            machine.disable_vfs(pf)
            xe_sriov.release(machine, pf)
            return 0
        xe_sriov.provision(machine, pf, count)
        machine.enable_vfs(pf, count)
        xe_sriov.link_vfs(machine, pf)
        return count

    def quota(self, machine: Machine, pf: Function, index: int) -> int:
        """Return what ``sriov_admin`` shows; kernels that do not show it share equally."""
        shown = xe_sriov.quota(machine, pf, index)
        return share(pf, len(pf.vfs)) if shown is None else shown


def _gt_files(*, vf: bool) -> Mapping[str, str]:
    files: dict[str, str] = {}
    for gt, engines in _ENGINES.items():
        files |= {
            f"{gt}/engines/{engine}/{name}": text for engine in engines for name, text in _LIMITS.items()
        }
        files |= {f"{gt}/gtidle/name": _NAMES[gt], f"{gt}/gtidle/idle_status": "gt-c6"}
        files |= {f"{gt}/gtidle/idle_residency_ms": "99123"}
        if not vf:
            files |= {f"{gt}/freq0/{name}": text for name, text in _FREQUENCIES[gt].items()}
            files |= {f"{gt}/freq0/act_freq": "0", f"{gt}/freq0/cur_freq": "400"}
            files |= {f"{gt}/freq0/throttle/status": "0", f"{gt}/freq0/throttle/reason_pl1": "0"}
    return files


def _hwmon_files(power_cap: int) -> Mapping[str, str]:
    return {
        "name": "xe",
        "power1_label": "card",
        "power2_label": "pkg",
        "power1_cap": str(power_cap),
        "power1_crit": str(2 * power_cap),
        "power1_max_interval": "28",
        "energy1_input": "812345678",
        "energy2_input": "712345678",
        "in1_input": "700",
        "temp2_label": "pkg",
        "temp2_input": "45000",
        "temp3_label": "vram",
        "temp3_input": "52000",
        "fan1_input": "900",
    }
