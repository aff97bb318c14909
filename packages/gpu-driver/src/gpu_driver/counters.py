"""The counters by which the scheduler knows what is one piece of hardware: a PF, its VFs, its modes (KEP-4815)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from dra_common.model import CounterConsumption, CounterSet, Device, Quantity

from gpu_driver.device import Gpu
from gpu_driver.modes import MODE, lock

VFS = "vfs"
"""Counter of a PF with VFs: a VF takes one, the PF all, so that whoever has one keeps the other from being given."""

_ONE = Quantity(1)


class Counters:
    """What the devices of one look share.

    Args:
        gpus: all that is published.
        modes: the parents that are in a mode now.
    """

    def __init__(self, gpus: Collection[Gpu], modes: Collection[str] = ()) -> None:
        self._pfs: Mapping[str, Gpu] = {gpu.bdf: gpu for gpu in gpus if gpu.kind != "vf" and not gpu.mode}
        self._moded = {gpu.bdf for gpu in gpus if gpu.mode or lock(gpu) in modes} & self._pfs.keys()
        self._vfs = Counter(gpu.parent for gpu in gpus if gpu.kind == "vf" and gpu.parent in self._pfs)

    def sets(self) -> tuple[CounterSet, ...]:
        """Return a set for each PF that shares its hardware, in the order of their addresses."""
        shared = sorted({*self._vfs, *self._moded})
        return tuple(CounterSet(self._pfs[bdf].name, self._all(bdf)) for bdf in shared)

    def charge(self, device: Device, gpu: Gpu) -> Device:
        """Return the device with what it takes of the counters of its PF; unchanged if it shares nothing."""
        pf = gpu.parent if gpu.kind == "vf" else gpu.bdf
        if pf not in self._pfs:
            return device
        takes = {VFS: _ONE} if gpu.kind == "vf" else {MODE: _ONE} if gpu.mode else self._all(pf)
        return replace(device, consumes=(CounterConsumption(self._pfs[pf].name, takes),)) if takes else device

    def _all(self, pf: str) -> Mapping[str, Quantity]:
        """All that there is of a PF, which the whole PF takes."""
        found = {MODE: _ONE} if pf in self._moded else {}
        if pf in self._vfs:
            # As many as the PF could have: then one VF takes less than the PF, even if it is the only one.
            found[VFS] = Quantity(max(self._pfs[pf].max_vfs or 0, self._vfs[pf]))
        return found
