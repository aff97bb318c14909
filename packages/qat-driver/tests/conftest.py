"""Machines for the tests of the QAT driver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import Boot, machines
from qat_driver.simulation import SIMULATION
from qat_trees import QatTree


@pytest.fixture
def tree(tmp_path: Path) -> QatTree:
    return QatTree(tmp_path)


@pytest.fixture
def boot() -> Iterator[Boot]:
    with machines(SIMULATION) as start:
        yield start
