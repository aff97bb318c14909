"""The tables of the protocol's scenarios and of known defects, from the marks of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

from docs_markdown import code, table

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "packages/common/tests"))

import defects as known  # noqa: E402 - modules of the tests
from marks import REAL_CLUSTER  # noqa: E402
from scenarios import SCENARIOS, proofs  # noqa: E402


def scenarios() -> str:
    """One row for each scenario: the files with its tests, those on a real cluster apart."""
    found = proofs()
    rows = []
    for number, text in SCENARIOS.items():
        files = {proof.file for proof in found.get(number, ())}
        real = {file for file in files if file.parent == REAL_CLUSTER}
        on_cluster = ", ".join(code(file.stem) for file in sorted(real))
        rows.append((str(number), text, ", ".join(_files(files - real)), on_cluster))
    return table(("", "scenario", "tests", "on a real cluster"), rows)


def defects() -> str:
    """One row for each defect, with the tests that would catch it."""
    found = known.proofs()
    rows = []
    for number, text in known.DEFECTS.items():
        tests = (f"{_name(proof.file)}::{proof.test}" for proof in found.get(number, ()))
        rows.append((str(number), text, "<br>".join(map(code, tests))))
    return table(("", "defect", "tests that would catch it"), rows)


def _files(files: set[Path]) -> list[str]:
    return [code(_name(file)) for file in sorted(files)]


def _name(file: Path) -> str:
    """Return the name of a test module; those of a driver are named with it."""
    top, package, *_ = file.relative_to(ROOT).parts
    return f"{package}: {file.stem}" if top == "packages" and package != "common" else file.stem
