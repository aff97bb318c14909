"""The table of the protocol's scenarios, from the marks of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

from docs_markdown import code, table

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "packages/common/tests"))

from scenarios import REAL_CLUSTER, SCENARIOS, proofs  # noqa: E402 - a module of the tests


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


def _files(files: set[Path]) -> list[str]:
    """Names of test modules; those of a driver are named with it."""
    names = []
    for file in sorted(files):
        package = file.relative_to(ROOT / "packages").parts[0]
        names.append(code(file.stem if package == "common" else f"{package}: {file.stem}"))
    return names
