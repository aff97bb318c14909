"""Plays the rows of dra_common.simulate.table on a kernel, simulated or real, and says where it answers otherwise."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from dra_common.simulate.table import Row, Step


class Answers(Protocol):
    """A kernel; paths are relative to sysfs."""

    def write(self, path: str, value: str) -> int:
        """Return the errno of the refusal, or 0."""

    def read(self, path: str) -> str | None:
        """Return a file's text without its last newline; None = no such file."""

    def link(self, path: str) -> str | None:
        """Return the last component of a link's target; None = no such link."""

    def events(self) -> list[str]:
        """Return ``add 0000:01:10.0`` for every uevent of a PCI function since it was last asked."""


@dataclass(frozen=True, slots=True)
class Names:
    """What the names in the table stand for."""

    pf: str
    vf0: str
    vf1: str

    def fill(self, text: str) -> str:
        """Replace the names in a text of the table."""
        for name, value in (
            ("pf", self.pf),
            ("vf0", self.vf0),
            ("vf1", self.vf1),
            ("pci", "bus/pci/devices"),
        ):
            text = text.replace(f"{{{name}}}", value)
        return text


def play(kernel: Answers, row: Row, names: Names) -> list[str]:
    """Take the steps of a row; return the differences from the table, in words."""
    return [
        f"{row.name}, step {number}, {names.fill(step.path)} <- {names.fill(step.value)[:40]!r}: {difference}"
        for number, step in enumerate(row.steps, 1)
        for difference in _differences(kernel, step, names)
    ]


def _differences(kernel: Answers, step: Step, names: Names) -> Iterator[str]:
    kernel.events()
    code = kernel.write(names.fill(step.path), names.fill(step.value))
    heard = kernel.events()
    if code != step.errno:
        yield f"{_word(code)}, not {_word(step.errno)}"
    expected = None if step.events is None else [names.fill(event) for event in step.events]
    if step.errno:
        expected = []
    if expected is not None and heard != expected:
        yield f"uevents {heard}, not {expected}"
    yield from _unlike(kernel.read, step.reads, names)
    yield from _unlike(kernel.link, step.links, names)


def _unlike(ask: Ask, expected: Mapping[str, str | None], names: Names) -> Iterator[str]:
    for path, text in expected.items():
        found, wanted = ask(names.fill(path)), None if text is None else names.fill(text)
        if found != wanted:
            yield f"{names.fill(path)} is {found!r}, not {wanted!r}"


class Ask(Protocol):
    """Reads a file, or a link."""

    def __call__(self, path: str) -> str | None:
        """Return what it says."""


def _word(code: int) -> str:
    return errno.errorcode.get(code, str(code)) if code else "success"
