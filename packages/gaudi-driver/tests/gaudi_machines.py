"""Machines with one Gaudi, as a test wants it."""

from __future__ import annotations

from pathlib import Path


def write_profile(
    place: Path, details: str = "", *, device: str = "0x1020", drivers: str = "habanalabs", more: str = ""
) -> str:
    """Write a machine with one Gaudi, 0000:43:00.0; return the path of its profile."""
    file = place / "own.yaml"
    file.write_text(
        f"name: own\ndrivers: [{drivers}, vfio-pci]\nfunctions:\n"
        f"  - {{bdf: 0000:43:00.0, path: [0000:42:02.0], vendor: 0x1da3, device: {device}, class: 0x120000,\n"
        f"     iommu_group: 1, details: {{gaudi: {{{details}}}}}{more}}}\n"
    )
    return str(file)
