"""Importing a part of a package without its ``__init__``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from dra_common.cluster.lean import skip_init


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package whose ``__init__`` fails, and which has a module and a package inside."""
    inner = tmp_path / "heavy_outer/inner"
    inner.mkdir(parents=True)
    for folder in (inner.parent, inner):
        (folder / "__init__.py").write_text("raise RuntimeError('everything was loaded')\n")
    (inner / "part.py").write_text("WORTH = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return "heavy_outer"


def test_a_part_is_imported_and_nothing_else_is_run(package: str) -> None:
    skip_init(package, f"{package}.inner")
    from heavy_outer.inner.part import WORTH  # type: ignore[import-not-found]  # noqa: PLC0415

    assert WORTH == 1


def test_what_is_imported_already_stays(package: str) -> None:
    skip_init(package)
    before = sys.modules[package]
    skip_init(package)
    assert sys.modules[package] is before


def test_a_package_that_is_not_installed_is_named(package: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'heavy_outer_2'"):
        skip_init(f"{package}_2")
