"""Plays the rows of dra_common.simulate.table on a kernel, simulated or real, and says where it answers otherwise."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from dra_common.simulate.table import BOTH, ERROR, FIXED, READ, Folder, Row, Step


class Answers(Protocol):
    """A kernel; paths are relative to sysfs."""

    def write(self, path: str, value: str) -> int:
        """Return the errno of the refusal, or 0."""

    def report_error(self, bdf: str, severity: str, name: str) -> int:
        """Let a function report a PCIe error; return the errno of the refusal, or 0 when it has been dealt with."""

    def read(self, path: str) -> str | None:
        """Return a file's text without its last newline; None = no such file."""

    def link(self, path: str) -> str | None:
        """Return the last component of a link's target; None = no such link."""

    def entries(self, path: str) -> Mapping[str, str]:
        """Return what is in a folder, in the words of the table."""

    def events(self) -> list[str]:
        """Return :func:`told` for every uevent of a PCI function since it was last asked."""


@dataclass(frozen=True, slots=True)
class Names:
    """What the names in the table stand for."""

    pf: str
    vf0: str
    vf1: str
    spare: str = ""
    port: str = ""

    def fill(self, text: str) -> str:
        """Replace the names in a text of the table."""
        for name, value in (
            ("pf", self.pf),
            ("vf0", self.vf0),
            ("vf1", self.vf1),
            ("spare", self.spare),
            ("port", self.port),
            ("pci", "bus/pci/devices"),
        ):
            text = text.replace(f"{{{name}}}", value)
        return text


def told(action: str, devpath: str, properties: Mapping[str, str]) -> str:
    """Put an event into the words of the table: ``add 0000:01:10.0``."""
    error = [f"{key}={properties[key]}" for key in ("ERROR_EVENT", "DEVICE_ONLINE") if key in properties]
    return " ".join([action, devpath.rpartition("/")[2], *error])


def play(kernel: Answers, row: Row, names: Names) -> list[str]:
    """Take the steps of a row; return the differences from the table, in words."""
    return [
        f"{row.name}, step {number}, {names.fill(step.path)} <- {names.fill(step.value)[:40]!r}: {difference}"
        for number, step in enumerate(row.steps, 1)
        for difference in _differences(kernel, step, names)
    ]


def compare(kernel: Answers, folder: Folder, names: Names, *, simulated: bool) -> list[str]:
    """Return how what is in a folder differs from the table, in words."""
    for step in folder.steps:
        assert _do(kernel, names.fill(step.path), names.fill(step.value)) == step.errno
    found = kernel.entries(names.fill(folder.path))
    fixed = READ if simulated else BOTH
    wanted = {names.fill(name): fixed if kind == FIXED else kind for name, kind in folder.entries.items()}
    more = set() if simulated else {names.fill(name) for name in folder.more}
    surprises = [f"{name} ({kind})" for name, kind in found.items() if name not in {*wanted, *more}]
    missing = [name for name in wanted if name not in found]
    other = [
        f"{name} is {found[name]}, not {kind}"
        for name, kind in wanted.items()
        if found.get(name, kind) != kind
    ]
    lines = [f"surprises: {' '.join(surprises)}"] if surprises else []
    return sorted([*lines, *(f"{name} is missing" for name in missing), *other])


def _differences(kernel: Answers, step: Step, names: Names) -> Iterator[str]:
    kernel.events()
    code = _do(kernel, names.fill(step.path), names.fill(step.value))
    heard = kernel.events()
    if code != step.errno:
        yield f"{_word(code)}, not {_word(step.errno)}"
    expected = None if step.events is None else [names.fill(event) for event in step.events]
    if step.errno:
        expected = []
    if expected is not None and heard != expected:
        yield f"uevents {heard}, not {expected}"
    yield from _unlike(lambda path: _read(kernel, path), step.reads, names)
    yield from _unlike(kernel.link, step.links, names)


def _do(kernel: Answers, path: str, value: str) -> int:
    return kernel.report_error(*value.split()) if path == ERROR else kernel.write(path, value)


def _read(kernel: Answers, path: str) -> str | None:
    path, _, name = path.partition("#")
    text = kernel.read(path)
    if not name or text is None:
        return text
    return dict(line.split(" ", 1) for line in text.splitlines()).get(name)


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
