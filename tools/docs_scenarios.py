"""The table of the protocol's scenarios, from the marks of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

from docs_markdown import code, table

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "packages/common/tests"))

from scenarios import REAL, SCENARIOS, proofs  # noqa: E402 - a module of the tests


def scenarios() -> str:
    """One row for each scenario: the files with its tests, and what is left to a real kubelet."""
    found = proofs()
    rows = [
        (
            str(number),
            text,
            ", ".join(_files({proof.file for proof in found.get(number, ())})),
            REAL.get(number, ""),
        )
        for number, text in SCENARIOS.items()
    ]
    return table(("", "scenario", "tests", "left to a real kubelet"), rows)


def _files(files: set[Path]) -> list[str]:
    """Names of test modules; those of a driver are named with it."""
    names = []
    for file in sorted(files):
        package = file.relative_to(ROOT / "packages").parts[0]
        names.append(code(file.stem if package == "common" else f"{package}: {file.stem}"))
    return names
