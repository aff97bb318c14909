"""What prepare is going to do for one claim, decided before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from dra_common.model.claim import Allocated
from dra_common.model.parent import ModeUse


@dataclass(frozen=True, slots=True)
class PlannedDevice:
    """One allocation result and what the driver decided for it.

    Args:
        allocated: the allocation result.
        parents: names of the hardware locks it needs (a PF, an IOMMU group), as given by ``Driver.locks``.
        undo: what ``Driver.revert`` needs to put the hardware back, and ``Driver.apply`` to do it again; the
            driver's own JSON, stored in the record before the first hardware write. Empty = hardware is not changed,
            but perhaps that of its parent.
        use: what it has of a parent that is in a mode; the parent is one of ``parents``.
        options: what ``Driver.edits`` has to know of what was asked for, the driver's own JSON.
    """

    allocated: Allocated
    parents: tuple[str, ...] = ()
    undo: Mapping[str, JsonValue] | None = None
    use: ModeUse | None = None
    options: Mapping[str, JsonValue] | None = None

    @property
    def changes_hardware(self) -> bool:
        """Whether there is something to apply, and to revert."""
        return self.undo is not None or (self.use is not None and self.use.after is not None)


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions for a whole claim. Stored in the claim's record; enough to apply, to revert and to edit again."""

    devices: tuple[PlannedDevice, ...] = ()

    @property
    def parents(self) -> tuple[str, ...]:
        """All hardware locks of the plan, sorted, without repetition."""
        return tuple(sorted({parent for device in self.devices for parent in device.parents}))

    @property
    def uses(self) -> tuple[ModeUse, ...]:
        """What the claim has of parents in a mode."""
        return tuple(device.use for device in self.devices if device.use)
