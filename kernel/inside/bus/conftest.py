"""The world of packages/common/tests/pci is this kernel."""

from pathlib import Path

import pytest
from card import Card
from dra_common.host import RealHost, Roots
from pci.world import World
from real import RealWorld


@pytest.fixture
def nic(card: Card, spare: Card, tmp_path: Path) -> World:
    return RealWorld(tmp_path, RealHost(Roots()), spare.name, moment=5.0)
