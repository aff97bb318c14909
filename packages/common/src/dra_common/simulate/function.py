"""One PCI function as the simulated kernel knows it: what the profile says, and what has become of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from dra_common.simulate.profile import FunctionSpec

if TYPE_CHECKING:
    from dra_common.simulate.kernel_driver import KernelDriver

M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True, eq=False)
class Function:
    """The state of one function; changed only by the simulated kernel while it holds its lock.

    Args:
        spec: address, ids and capabilities. A VF's is derived from its PF's.
        details: checked ``details`` of the profile, by key; a VF has those of its PF.
        pf: the physical function if this is a VF.
        vf_index: the N of ``virtfnN``; -1 for a function that is no VF.
        driver: what is bound.
        driver_override: the name, or None (``(null)``).
        vfs: enabled VFs in order of their index.
        num_vfs: ``sriov_numvfs``.
        total_vfs: ``sriov_totalvfs``; a driver may lower it while it is bound.
        autoprobe: ``sriov_drivers_autoprobe``.
        errors: reported PCIe errors, severity -> name -> how often; they last as long as the device.
        undo: how to take away what the bound driver added, run in reverse order.
        wedged: its driver has given it up, as until it is bound again.
        locked_by: the thread that has its device lock, if one has.
    """

    spec: FunctionSpec
    details: Mapping[str, BaseModel] = field(default_factory=dict)
    pf: Function | None = None
    vf_index: int = -1
    driver: KernelDriver | None = None
    driver_override: str | None = None
    vfs: list[Function] = field(default_factory=list)
    num_vfs: int = 0
    total_vfs: int = 0
    autoprobe: bool = True
    errors: dict[str, Counter[str]] = field(default_factory=dict)
    undo: list[Callable[[], None]] = field(default_factory=list)
    wedged: bool = False
    locked_by: int | None = None

    @property
    def bdf(self) -> str:
        """The address, for example ``0000:4d:00.0``."""
        return self.spec.bdf

    @property
    def folder(self) -> str:
        """The folder below sysfs: ``devices/pci0000:4a/…/0000:4d:00.0``."""
        return self.spec.folder

    @property
    def is_vf(self) -> bool:
        """Whether this is a virtual function."""
        return self.pf is not None

    def detail(self, key: str, model: type[M]) -> M:
        """Return ``details.<key>`` of the profile, or the defaults of ``model`` when the profile says nothing."""
        found = self.details.get(key)
        return found if isinstance(found, model) else model()
