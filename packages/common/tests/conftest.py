"""Fixtures for every test of dra-common."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A temporary folder with a short path: a unix socket path has at most 107 bytes, and tmp_path may use them up."""
    folder = Path(tempfile.mkdtemp(prefix="dra"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
