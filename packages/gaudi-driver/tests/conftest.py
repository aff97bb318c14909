"""Machines for the tests of the Gaudi driver."""

from __future__ import annotations

from pathlib import Path

import pytest
from gaudi_trees import GaudiTree


@pytest.fixture
def tree(tmp_path: Path) -> GaudiTree:
    return GaudiTree(tmp_path)
