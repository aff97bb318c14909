"""The engine on the cards, which are not as a boot leaves them: somebody has a reason for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from card import Card, must
from dra_common.testing.kills_summary import pytest_terminal_summary
from nicrig import NicRig

__all__ = ["pytest_terminal_summary"]


@pytest.fixture
def rig(card: Card, spare: Card, tmp_path: Path) -> NicRig:
    must(card.folder / "driver_override", "igb")
    must(card.folder / "sriov_drivers_autoprobe", "0")
    return NicRig(tmp_path)
