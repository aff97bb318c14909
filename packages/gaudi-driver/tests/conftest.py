"""Machines for the tests of the Gaudi driver."""

from __future__ import annotations

from pathlib import Path

import pytest
from gaudi_hlml import BDFS, HlmlFolder, compile_library
from gaudi_trees import GaudiTree


@pytest.fixture
def tree(tmp_path: Path) -> GaudiTree:
    return GaudiTree(tmp_path)


@pytest.fixture(scope="session")
def fake_hlml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the fake of the management library."""
    return compile_library(tmp_path_factory.mktemp("libhlml"))


@pytest.fixture
def hlml(tmp_path: Path) -> HlmlFolder:
    """Three devices that the management library knows."""
    folder = HlmlFolder(tmp_path / "machine")
    for bdf in BDFS:
        folder.add(bdf)
    return folder
