"""Which tests carry a mark with numbers, such as ``@pytest.mark.scenario(n, ...)``: read from their source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGES = Path(__file__).parents[2]
REAL_CLUSTER = PACKAGES.parent / "e2e" / "tests"
"""Tests that run on a real Kubernetes."""
PLACES = (
    *((folder, "**/") for folder in sorted(PACKAGES.glob("*/tests"))),
    (REAL_CLUSTER, ""),
    (PACKAGES.parent / "tests", ""),
)


class Proof(NamedTuple):
    """A test, and where it stands."""

    file: Path
    test: str

    def __str__(self) -> str:
        return f"{self.file.stem}::{self.test}"


def marked(mark: str) -> Mapping[int, list[Proof]]:
    """Number -> the tests that carry it in this mark, in the order of the files."""
    found: dict[int, list[Proof]] = {}
    for file in _files("test_*.py"):
        for test, numbers in _marked(ast.parse(file.read_text()), f"pytest.mark.{mark}"):
            for number in numbers:
                found.setdefault(number, []).append(Proof(file, test))
    return found


def listed(texts: Mapping[int, str], found: Mapping[int, list[Proof]]) -> str:
    """Return a line for each number, and one for each of its tests."""
    return "".join(
        f"{number:2} {text}\n" + "".join(f"     {proof}\n" for proof in found.get(number, ()))
        for number, text in texts.items()
    )


def strays(mark: str) -> int:
    """How many marks :func:`marked` does not find, since they have another shape: they would stand in no table."""
    written = sum(len(re.findall(rf"\bmark\.{mark}\(\d", file.read_text())) for file in _files("*.py"))
    return written - len({proof for found in marked(mark).values() for proof in found})


def _files(pattern: str) -> Iterator[Path]:
    return (file for folder, depth in PLACES for file in sorted(folder.glob(f"{depth}{pattern}")))


def _marked(module: ast.Module, mark: str) -> Iterator[tuple[str, list[int]]]:
    for function in module.body:
        if isinstance(function, ast.FunctionDef):
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == mark:
                    yield function.name, [ast.literal_eval(number) for number in decorator.args]
