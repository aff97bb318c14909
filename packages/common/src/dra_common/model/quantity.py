"""Kubernetes quantities, as the API server prints them back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = ("", "k", "M", "G", "T", "P", "E")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A whole number of base units (bytes, millicores, VFs) and the family of suffixes it is printed in.

    ``str()`` gives the canonical form of ``resource.Quantity``: the largest suffix that divides the value, so that
    a slice read back from the API server compares equal to the one that was written. A number without a suffix is
    decimal for the server: 2000 bytes are printed ``2k`` even in the binary family.
    """

    value: int
    format: Literal["binary", "decimal"] = "decimal"

    def __str__(self) -> str:
        text = _scaled(self.value, 1024, _BINARY) if self.format == "binary" else ""
        return text if text.endswith("i") else _scaled(self.value, 1000, _DECIMAL)

    @classmethod
    def mebibytes(cls, count: int) -> Quantity:
        """Return ``count`` MiB, printed with binary suffixes."""
        return cls(count * 1024 * 1024, "binary")


def _scaled(value: int, step: int, suffixes: tuple[str, ...]) -> str:
    power = 0
    while value and value % step == 0 and power < len(suffixes) - 1:
        value, power = value // step, power + 1
    return f"{value}{suffixes[power]}"
