"""Fixtures for every test of dra-common."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dra_common.testing.forks import Forker


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """What the processes of drivers come out of: to have imported everything takes as long as many starts."""
    with Forker("dra_common.testing.knobs", "dra_common.testing.nic") as forker:
        yield forker


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A temporary folder with a short path: a unix socket path has at most 107 bytes, and tmp_path may use them up."""
    folder = Path(tempfile.mkdtemp(prefix="dra"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was fsynced, in this order; it is really done."""
    names: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return names


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """How many seconds a kubelet waits, of which the driver leaves some for the way back: on a busy machine, too."""
    monkeypatch.setattr("dra_common.kubelet.service._MARGIN_SECONDS", 60.0)
    monkeypatch.setattr("dra_common.kubelet.service._MARGIN_SHARE", 0.75)
    return 8.0
