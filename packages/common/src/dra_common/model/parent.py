"""A piece of hardware that several claims use in one of several exclusive ways, and what of it a claim has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class ModeUse:
    """One part of a parent in a mode, as one allocation result has it. Kept in the claim's record.

    Args:
        parent: its name, one of those that ``Driver.locks`` gives.
        mode: what excludes all other modes of the parent: ``vf4``, ``sym-asym``, ``whole``.
        part: which part, from 0; nobody else's as long as the claim has it.
        before: how the parent was found by the first claim in this mode, the driver's own JSON.
        after: how it is in this mode. None = this mode changes nothing of it.
    """

    parent: str
    mode: str
    part: int = 0
    before: JsonValue = None
    after: JsonValue = None


@dataclass(frozen=True, slots=True)
class ParentMode:
    """The mode in which a parent is, and for whom: ``hardware/<parent>.json``.

    Args:
        boot_id: the boot in which it was set; another one has put the hardware back.
        holders: UID of a claim -> its parts, in the order in which they came.
        unknown: what the file says beyond what this release knows, as in :class:`~dra_common.model.ClaimRecord`.
    """

    parent: str
    boot_id: str
    mode: str
    before: JsonValue = None
    after: JsonValue = None
    holders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unknown: Mapping[str, JsonValue] = field(default_factory=dict)

    def use(self, part: int) -> ModeUse:
        """Return what a claim has that joins with this part."""
        return ModeUse(self.parent, self.mode, part, self.before, self.after)

    def free(self, parts: int, besides: Collection[int] = ()) -> int | None:
        """Return the first of ``parts`` parts that nobody has, and that is not one of ``besides``; None if all are."""
        taken = {part for has in self.holders.values() for part in has} | set(besides)
        return next((part for part in range(parts) if part not in taken), None)

    def joined(self, uid: str, part: int) -> ParentMode:
        """Return it with one more part for a claim; the same if the claim has it already."""
        has = self.holders.get(uid, ())
        return self if part in has else replace(self, holders={**self.holders, uid: (*has, part)})

    def left(self, uid: str) -> ParentMode:
        """Return it without a claim."""
        return replace(self, holders={other: has for other, has in self.holders.items() if other != uid})
