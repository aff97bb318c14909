from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from dra_common.ports import Uevent
from dra_common.simulate.kernel import Kernel
from dra_common.simulate.table import ROWS, Row, Step

Refusal = Callable[[Callable[[], object]], int]

NAMES = {"pf": "0000:01:00.0", "vf0": "0000:01:10.0", "vf1": "0000:01:10.2", "pci": "bus/pci/devices"}


def fill(text: str) -> str:
    for name, value in NAMES.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def read(kernel: Kernel, path: str) -> str | None:
    try:
        return kernel.machine.sys.read(kernel.machine.sys.resolve(fill(path)))
    except FileNotFoundError:
        return None


def link(kernel: Kernel, path: str) -> str | None:
    # The folder may be gone with the device.
    folder, _, name = fill(path).rpartition("/")
    try:
        place = kernel.machine.sys.root / kernel.machine.sys.resolve(folder) / name
        return place.readlink().name
    except FileNotFoundError:
        return None


def filled(texts: Mapping[str, str | None]) -> dict[str, str | None]:
    return {path: fill(text) if text is not None else None for path, text in texts.items()}


def check(kernel: Kernel, heard: list[Uevent], step: Step, refusal: Refusal) -> None:
    heard.clear()
    assert refusal(lambda: kernel.write(fill(step.path), fill(step.value))) == step.errno
    assert {path: read(kernel, path) for path in step.reads} == filled(step.reads)
    assert {path: link(kernel, path) for path in step.links} == filled(step.links)
    if step.errno:
        assert not heard
    if step.events is not None:
        pci = [f"{event.action} {Path(event.devpath).name}" for event in heard if event.subsystem == "pci"]
        assert pci == [fill(event) for event in step.events]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(kernel: Kernel, row: Row, refusal: Refusal) -> None:
    heard: list[Uevent] = []
    kernel.hub.listen(heard.append)
    for step in row.steps:
        check(kernel, heard, step, refusal)


def test_every_row_has_its_own_name() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
