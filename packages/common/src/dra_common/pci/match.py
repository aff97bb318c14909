"""Which PCI functions a rule of a configuration file is about."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from dra_common.pci.names import device_name, is_bdf, split_name
from dra_common.policy import Patterns, PolicyModel, matches

_WILD = frozenset("*?[")


def _lower(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse upper case: these are published in lower case, so that the rule would never match."""
    for pattern in patterns:
        if pattern != pattern.lower():
            raise ValueError(f"{pattern!r} never matches: it is published in lower case")
    return patterns


def _addresses(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        if not _WILD & set(pattern) and not is_bdf(pattern):
            raise ValueError(f"{pattern!r} is no PCI address such as 0000:03:00.0, and no pattern")
    return patterns


def _names(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        if not _WILD & set(pattern) and split_name(pattern) is None:
            raise ValueError(
                f"{pattern!r} is no name of a device such as 0000-03-00-0-0x56c0, and no pattern"
            )
    return patterns


def _ids(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        if not _WILD & set(pattern[:1]) and not pattern.startswith("0x"):
            raise ValueError(f"{pattern!r} is no device id such as 0x56c0, and no pattern")
    return patterns


class PciMatch(PolicyModel):
    """Base of what says which devices: those of which everything that is given is true.

    Args:
        pci_id: PCI device id, attribute `pciId`.
        pci_address: PCI address, `0000:03:00.0`.
        name: name of the device as it is published.
    """

    pci_id: Annotated[Patterns, AfterValidator(_lower), AfterValidator(_ids)] | None = None
    pci_address: Annotated[Patterns, AfterValidator(_lower), AfterValidator(_addresses)] | None = None
    name: Annotated[Patterns, AfterValidator(_lower), AfterValidator(_names)] | None = None

    def is_at(self, bdf: str, device_id: str) -> bool:
        """Whether a function with this address and id is one of them, as far as these tell."""
        facts = (
            (self.pci_id, device_id),
            (self.pci_address, bdf),
            (self.name, device_name(bdf, device_id)),
        )
        return all(patterns is None or matches(patterns, fact) for patterns, fact in facts)
