from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pci.world import World, world


@pytest.fixture
def nic(short_tmp: Path) -> Iterator[World]:
    with world(short_tmp) as made:
        yield made
