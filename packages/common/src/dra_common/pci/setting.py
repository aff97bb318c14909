"""How a PCI function is set, as a value that a claim's record can keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class Binding:
    """What is bound to a function; "" = nothing.

    Args:
        driver: the kernel driver.
        override: ``driver_override``, which decides what the kernel binds next time.
    """

    driver: str = ""
    override: str = ""

    def to_json(self) -> dict[str, JsonValue]:
        """Return what :meth:`from_json` takes."""
        return {"driver": self.driver, "override": self.override}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Binding:
        """Return the binding in a record. Raises KeyError for what is none."""
        return cls(str(value["driver"]), str(value["override"]))


@dataclass(frozen=True, slots=True)
class Setting:
    """All that :class:`~dra_common.pci.Bus` changes of a function.

    Args:
        binding: of the function itself.
        autoprobe: its ``sriov_drivers_autoprobe``; None for what is no PF, and then nothing is done about VFs.
        vfs: of its VFs, by index; their number is ``sriov_numvfs``.
    """

    binding: Binding
    autoprobe: bool | None = None
    vfs: tuple[Binding, ...] = ()

    def to_json(self) -> dict[str, JsonValue]:
        """Return what :meth:`from_json` takes."""
        vfs: list[JsonValue] = [vf.to_json() for vf in self.vfs]
        return {"binding": self.binding.to_json(), "autoprobe": self.autoprobe, "vfs": vfs}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Setting:
        """Return the setting in a record. Raises KeyError for what is none."""
        vfs = tuple(Binding.from_json(vf) for vf in value["vfs"])
        return cls(Binding.from_json(value["binding"]), value["autoprobe"], vfs)
