"""The simulated xe (ABI documents sysfs-driver-intel-xe-sriov and -hwmon, ``xe_gt_freq``; kernel 6.12 and newer)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping

from dra_common.simulate import Function, Machine, add_card, refuse

from gpu_driver.queries import XeGtTopology, XeGucVersion, XeMemRegions
from gpu_driver.simulation import xe_sriov
from gpu_driver.simulation.base import GpuKernelDriver, add_hwmon, add_mei, check_open, has_display
from gpu_driver.simulation.details import GpuDetails, details_of

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
        for name, text in _tile_files(details.tiles, vf=function.is_vf).items():
            machine.add_file(f"{function.folder}/{name}", text, owner=function)
        if function.is_vf:
            return
        if details.power_cap:
            add_hwmon(
                machine,
                function,
                _hwmon_files(details.power_cap) | (_LIMITS_OF_TEMPERATURES if details.limits else {}),
            )
            machine.add_file(f"{function.folder}/vram_d3cold_threshold", "300", owner=function)
        add_mei(machine, function, self.name)
        if function.total_vfs:
            xe_sriov.make(machine, function)

    def query(self, machine: Machine, function: Function, node: str, name: str) -> bytes:
        """Also tell of the GPU's inside, where the profile says something of it."""
        if function.wedged:
            raise refuse(errno.ECANCELED, node)
        details = details_of(function)
        if name == XeGtTopology().name and details.xe_cores:
            check_open(function, node)
            return _topology(details)
        if name == XeGucVersion().name and details.guc_submission:
            check_open(function, node)
            return struct.pack("=HHIIIIIQ", 0, 0, 0, *map(int, details.guc_submission.split(".")), 0, 0)
        return super().query(machine, function, node, name)

    def sriov_configure(self, machine: Machine, pf: Function, count: int) -> int:
        """Give every VF its memory before it appears; take it back when all are gone. Raises ENOSPC."""
        if count == 0:
            gone = len(pf.vfs)
            machine.disable_vfs(pf)
            xe_sriov.reset(machine, pf, gone)
            xe_sriov.release(machine, pf)
            return 0
        count = min(count, details_of(pf).most_vfs or count)
        xe_sriov.provision(machine, pf, count)
        machine.enable_vfs(pf, count)
        xe_sriov.link_vfs(machine, pf)
        return count

    def quota(self, machine: Machine, pf: Function, index: int) -> int:
        """Return what ``sriov_admin`` shows; kernels that do not show it give the same."""
        shown = xe_sriov.quota(machine, pf, index)
        return xe_sriov.fair_share(machine, pf, len(pf.vfs)) if shown is None else shown


def _tile_files(tiles: int, *, vf: bool) -> Mapping[str, str]:
    """GTs are numbered across tiles: one tile has one for work and one for media, several have one each."""
    if tiles == 1:
        return {f"tile0/{name}": text for name, text in _gt_files(vf=vf).items()}
    of_one = {name: text for name, text in _gt_files(vf=vf).items() if name.startswith("gt0/")}
    return {
        f"tile{tile}/gt{tile}{name.removeprefix('gt0')}": text
        for tile in range(tiles)
        for name, text in of_one.items()
    }


def _topology(details: GpuDetails) -> bytes:
    """Lay out a ``struct drm_xe_query_topology_mask`` for each mask of each GT; one for media has no cores."""
    tiles = details.tiles
    masks = [_dss(details.xe_cores // tiles + (tile < details.xe_cores % tiles)) for tile in range(tiles)]
    eus = (1 << details.eus_per_core) - 1
    return b"".join(
        struct.pack("=HHI", gt, kind, size) + mask.to_bytes(size, "little")
        for gt, dss in enumerate(masks if tiles > 1 else (*masks, 0))
        for kind, size, mask in ((1, 16, dss), (2, 16, dss), (3, 16, 0xFF), (5, 8, eus if dss else 0))
    )


def _dss(count: int) -> int:
    """Return a mask with gaps, as a product with fused cores has."""
    return sum(1 << (number + number // 4) for number in range(count))


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


_LIMITS_OF_TEMPERATURES = {
    "temp2_crit": "110000",
    "temp2_max": "100000",
    "temp3_crit": "105000",
    "temp3_max": "95000",
}


def _hwmon_files(power_cap: int) -> dict[str, str]:
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
