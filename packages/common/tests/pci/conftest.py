from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pci.simulated import SimulatedWorld, world
from trees import Tree


@pytest.fixture
def nic(short_tmp: Path) -> Iterator[SimulatedWorld]:
    with world(short_tmp) as made:
        yield made


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)
