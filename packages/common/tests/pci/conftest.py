from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pci.simulated import SimulatedWorld, world


@pytest.fixture
def nic(short_tmp: Path) -> Iterator[SimulatedWorld]:
    with world(short_tmp) as made:
        yield made
