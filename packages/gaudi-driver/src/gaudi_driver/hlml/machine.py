"""What the kernel shows of Gaudis that tells whether an event of before still counts."""

from __future__ import annotations

from collections.abc import Mapping

from dra_common.errors import HostError, HostNotFound
from dra_common.pci import is_bdf
from dra_common.ports import Tree

from gaudi_driver.device import DRIVER
from gaudi_driver.nodes import attributes_of

Resets = Mapping[str, int | None]
"""PCI address of each device that the kernel driver is bound to -> hard resets since then; None = not known."""

_OPERATIONAL = "operational"


class Machine:
    """Reads sysfs; nothing of it asks the device, so nothing of it waits for one.

    Source: Documentation/ABI/testing/sysfs-driver-habanalabs (``hard_reset_cnt``, ``status``). Resets that failed are
    not counted.
    """

    def __init__(self, sysfs: Tree) -> None:
        self._sysfs = sysfs

    def resets(self) -> Resets | None:
        """Return the counters of all devices that are bound; None if sysfs cannot be read now."""
        try:
            names = self._sysfs.listdir(f"bus/pci/drivers/{DRIVER}")
        except HostNotFound:
            return {}
        except HostError:
            return None
        return {name: self._count(name) for name in names if is_bdf(name)}

    def is_operational(self, address: str) -> bool:
        """Whether the kernel driver says that the device works."""
        try:
            return self._read(address, "status").strip().lower() == _OPERATIONAL
        except HostError:
            return False

    def _count(self, address: str) -> int | None:
        try:
            return int(self._read(address, "hard_reset_cnt"))
        except (HostError, ValueError):
            return None

    def _read(self, address: str, name: str) -> str:
        return self._sysfs.read(f"{attributes_of(self._sysfs, address)}/{name}")
