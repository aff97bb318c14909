"""What claims make of a card, and how the cards are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from card import Card, must
from dra_common.pci import Binding, Setting
from nicrig import NicRig

VFIO, NATIVE = Binding("vfio-pci", "vfio-pci"), Binding("igbvf")
FOUND = Setting(Binding("igb", "igb"), autoprobe=False)


def with_vfs(*vfs: Binding) -> Setting:
    return Setting(FOUND.binding, autoprobe=False, vfs=vfs)


MODES: dict[str, tuple[dict[str, object], Setting]] = {
    "whole": ({}, FOUND),
    "whole-vfio": ({"binding": "vfio"}, Setting(VFIO, autoprobe=False)),
    "one-vf": ({"vfs": 1}, with_vfs(NATIVE)),
    "one-vf-vfio": ({"vfs": 1, "binding": "vfio"}, with_vfs(VFIO)),
    "two-vfs": ({"vfs": 2}, with_vfs(NATIVE, NATIVE)),
    "two-vfs-vfio": ({"vfs": 2, "binding": "vfio"}, with_vfs(VFIO, VFIO)),
    "seven-vfs": ({"vfs": 7}, with_vfs(*[NATIVE] * 7)),
    "seven-vfs-vfio": ({"vfs": 7, "binding": "vfio"}, with_vfs(*[VFIO] * 7)),
}


@pytest.fixture
def rig(card: Card, spare: Card, tmp_path: Path) -> NicRig:
    """An engine on the cards, which are not as a boot leaves them: somebody has a reason for it."""
    must(card.folder / "driver_override", "igb")
    must(card.folder / "sriov_drivers_autoprobe", "0")
    return NicRig(tmp_path)
