"""What ``make bench`` measures of the GPU driver alone: rebinding for a claim, a watch over many GPUs, counters."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dra_common.model import ClaimRef
from dra_common.pci import DRIVERS, PCI_DEVICES, split_name
from dra_common.simulate import ControlClient, SimulatedHost
from dra_common.testing.benchmark.figures import Figure, latency, runs, stopwatch
from dra_common.testing.benchmark.world import Subject, World, node_of, world
from dra_common.testing.process import wait_at_rest
from dra_common.testing.waiting import wait_until

from gpu_driver.config import KIND
from gpu_driver.device import DRM_DRIVERS
from gpu_driver.driver import NAME

_MOST_MS = 50.0
_MOST_PERCENT = 1.0

_MANY = """
name: many
description: A machine with more GPUs than any has
kernel: 7.1.0
drivers: [i915]
functions:
  - repeat: {count: 128, counters: {bus: {start: 0x10}}}
    bdf: "0000:{bus:02x}:00.0"
    device: 0x56c0
    class: 0x038000
    aer: true
    details: {gpu: {vram: 17079205888, power_cap: 150000000}}
"""
_TIMES = 20

_FLEET = """
name: fleet
description: 14 cards that share their hardware, 4 of them with VFs
kernel: 7.1.0
drivers: [xe, vfio-pci]
functions:
  - repeat: {count: 4, counters: {bus: {start: 0x10}}}
    bdf: "0000:{bus:02x}:00.0"
    device: 0xe211
    class: 0x030000
    sriov: {total: 7, num: 7, vf_device: 0xe211}
    details: {gpu: {vram: 25669140480, max_vfs: 7}}
  - repeat: {count: 10, counters: {bus: {start: 0x80}}}
    bdf: "0000:{bus:02x}:00.0"
    device: 0xe211
    class: 0x030000
    sriov: {total: 7, vf_device: 0xe211}
    details: {gpu: {vram: 25669140480, max_vfs: 7}}
"""
_MODES = """
apiVersion: config.gpu.intel.com/v1alpha1
kind: GpuDriverConfig
devices: [{match: {}, sriov: {modes: [1, 2, 4]}}]
"""
_WIPES = 5


def rebind(subject: Subject) -> Iterator[Figure]:
    """Give one GPU through DRM and through VFIO in turn, so that both meet the machine in one mood."""
    with world(subject.on("two-gpus")) as here:
        device = _on_drm(here)
        claims = {"drm": here.claim("bench-drm", device), "vfio": _through_vfio(here, device)}
        uses = ("drm", "vfio", "kernel")
        spent: dict[str, list[float]] = {f"{step} {use}": [] for use in uses for step in ("give", "take")}
        kernel = _Kernel(here, device)
        for _ in range(_TIMES):
            for use, ref in claims.items():
                with stopwatch(spent[f"give {use}"]):
                    here.prepare([ref])
                with stopwatch(spent[f"take {use}"]):
                    here.unprepare([ref])
            with stopwatch(spent["give kernel"]):
                kernel.bind("vfio-pci", "vfio-pci")
            with stopwatch(spent["take kernel"]):
                kernel.bind(kernel.native, "\n")
        yield latency("rebind", "prepare, bound as it was found", spent["give drm"])
        yield latency("rebind", "prepare, bound to VFIO for it", spent["give vfio"])
        yield latency("rebind", "unprepare, given back", spent["take vfio"])
        yield latency("rebind", "the simulated kernel's part, to VFIO", spent["give kernel"])
        yield latency("rebind", "the simulated kernel's part, back", spent["take kernel"])
        for step, name in (("give", "prepare"), ("take", "unprepare")):
            drm, vfio, alone = (statistics.median(spent[f"{step} {use}"]) * 1000 for use in uses)
            yield Figure("rebind", f"own part of what it adds to {name}", vfio - drm - alone, "ms", _MOST_MS)


class _Kernel:
    """The same change by hand: what of its time is the simulated kernel's."""

    def __init__(self, here: World, device: str) -> None:
        place = split_name(device)
        self._bdf = place[0] if place else ""
        self._sysfs = SimulatedHost(here.node.machine).sysfs
        self.native = self._sysfs.readlink(f"{PCI_DEVICES}/{self._bdf}/driver").rpartition("/")[2]

    def bind(self, driver: str, override: str) -> None:
        """Bind another kernel driver."""
        folder = f"{PCI_DEVICES}/{self._bdf}"
        self._sysfs.write(f"{folder}/driver_override", override)
        self._sysfs.write(f"{folder}/driver/unbind", self._bdf)
        self._sysfs.write(f"{DRIVERS}/{driver}/bind", self._bdf)


def health(subject: Subject) -> Iterator[Figure]:
    """Watch 128 GPUs, of which nothing is to be told, and let one of them go bad."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "many.yaml"
        profile.write_text(_MANY)
        with node_of(subject.on(str(profile))) as node:
            node.start_driver("-v=0", "--health-monitoring", "--health-sources=sysfs")
            yield from _watched(World(node))


def _watched(here: World) -> Iterator[Figure]:
    node, many = here.node, f"{len(here.devices)} devices"
    wait_until(lambda: node.kubelet.health_responses(NAME), "the kubelet to hear of them")
    wait_at_rest(here.pid)
    node.api.forget_requests()
    before, heard, began = here.cpu_seconds(), node.kubelet.health_responses(NAME), time.monotonic()
    # As long as three times all is told again, and every device looked at.
    wait_until(lambda: node.kubelet.health_responses(NAME) >= heard + 3, "all to be told three times")
    used, lasted = here.cpu_seconds() - before, time.monotonic() - began
    yield Figure("health", f"{many}, all well", 100 * used / lasted, "% of a core", _MOST_PERCENT)
    yield Figure("health", f"{many}, all well", len(_slice_writes(here)), "writes", 0)
    bad = here.devices[0]
    began = time.monotonic()
    _hang(here, bad)
    status = node.kubelet.health
    wait_until(lambda: status(NAME, node.name, bad).status == "Unhealthy", "the kubelet to know", pause=0.001)
    yield Figure(
        "health", f"{many}, one goes bad: the kubelet knows", 1000 * (time.monotonic() - began), "ms"
    )
    wait_at_rest(here.pid)
    yield Figure("health", f"{many}, one goes bad", len(_slice_writes(here)), "writes", 1)


def fleet(subject: Subject) -> Iterator[Figure]:
    """Publish PFs with VFs, and PFs with modes: 72 devices, each of which takes of a counter."""
    with tempfile.TemporaryDirectory() as folder:
        profile, policy = Path(folder) / "fleet.yaml", Path(folder) / "modes.yaml"
        profile.write_text(_FLEET)
        policy.write_text(_MODES)
        with node_of(subject.on(str(profile))) as node:
            began = time.monotonic()
            node.start_driver("-v=0", "--health-monitoring", "--health-sources=sysfs", f"--config={policy}")
            here = World(node)
            many = f"{sum('consumesCounters' in each for each in node.devices())} devices with counters"
            yield Figure("fleet", f"{many}, start to published", time.monotonic() - began, "s")
            yield runs("fleet", f"{many}, published anew", [_wiped(here) for _ in range(_WIPES)], "ms", 1000)
            bad = next(name for name in here.devices if f"{name}-vf4" in here.devices)
            yield Figure("fleet", f"{many}, one GPU with modes goes bad", _goes_bad(here, bad), "writes", 2)


def _goes_bad(here: World, device: str) -> int:
    """Let a GPU hang; return how many slices are written: that of it, and that of its modes, which come last."""
    wait_at_rest(here.pid)
    here.node.api.forget_requests()
    _hang(here, device)
    wait_until(lambda: _slice_writes(here), "it to be published")
    wait_at_rest(here.pid)
    return len(_slice_writes(here))


def _hang(here: World, device: str) -> None:
    place = split_name(device)
    assert place is not None  # noqa: S101 - it is published
    ControlClient(here.node.machine).request("wedge", bdf=place[0], methods="unknown")


def _wiped(here: World) -> float:
    """Remove all slices, as a start of the kubelet does; return how many milliseconds the node is without."""
    wait_at_rest(here.pid)
    api = here.node.api
    began = time.monotonic()
    for each in api.objects("ResourceSlice"):
        api.delete("ResourceSlice", each["metadata"]["name"])
    wait_until(lambda: len(here.node.devices()) == len(here.devices), "all to be published", pause=0.001)
    return 1000 * (time.monotonic() - began)


def _slice_writes(here: World) -> list[object]:
    return [request for request in here.node.api.writes if "/resourceslices" in request.path]


PARTS: Mapping[str, Callable[[Subject], Iterator[Figure]]] = {
    "rebind": rebind,
    "health": health,
    "fleet": fleet,
}


def _on_drm(here: World) -> str:
    devices = here.node.devices()
    return next(str(one["name"]) for one in devices if one["attributes"]["driver"]["string"] in DRM_DRIVERS)


def _through_vfio(here: World, device: str) -> ClaimRef:
    ref = here.claim("bench-vfio", device)
    claim: dict[str, Any] = here.node.api.get("ResourceClaim", ref.name, ref.namespace) or {}
    parameters = {"apiVersion": KIND.api_version, "kind": KIND.kind, "binding": "vfio"}
    entry = {"source": "FromClaim", "requests": [], "opaque": {"driver": NAME, "parameters": parameters}}
    claim["status"]["allocation"]["devices"]["config"] = [entry]
    here.node.api.put("ResourceClaim", claim)
    return ref
