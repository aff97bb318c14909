"""The counters by which the scheduler knows that a PF and its VFs are one piece of hardware (KEP-4815)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from dra_common.model import CounterConsumption, CounterSet, Device, Quantity

from gpu_driver.device import Gpu

VFS = "vfs"
"""Counter of a PF with VFs: a VF takes one, the PF all, so that whoever has one keeps the other from being given."""


class Counters:
    """What the devices of one look share.

    Args:
        gpus: all functions that were found.
    """

    def __init__(self, gpus: Collection[Gpu]) -> None:
        self._pfs: Mapping[str, Gpu] = {gpu.bdf: gpu for gpu in gpus if gpu.kind != "vf"}
        self._vfs = Counter(gpu.parent for gpu in gpus if gpu.kind == "vf" and gpu.parent in self._pfs)

    def sets(self) -> tuple[CounterSet, ...]:
        """Return a set for each PF that shares its hardware, in the order of their addresses."""
        return tuple(
            CounterSet(self._pfs[bdf].name, {VFS: Quantity(self._total(bdf))}) for bdf in sorted(self._vfs)
        )

    def charge(self, device: Device, gpu: Gpu) -> Device:
        """Return the device with what it takes of the counters of its PF; unchanged if it shares nothing."""
        pf = gpu.parent if gpu.kind == "vf" else gpu.bdf
        if pf not in self._vfs:
            return device
        amount = 1 if gpu.kind == "vf" else self._total(pf)
        return replace(device, consumes=(CounterConsumption(self._pfs[pf].name, {VFS: Quantity(amount)}),))

    def _total(self, pf: str) -> int:
        """As many as the PF could have: then one VF takes less than the PF, even if it is the only one."""
        return max(self._pfs[pf].max_vfs or 0, self._vfs[pf])
