from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dra_common.ports import Uevent
from dra_common.simulate.kernel import Kernel
from dra_common.simulate.table import ROWS, Row
from table_play import Names, play

Refusal = Callable[[Callable[[], object]], int]

NAMES = Names("0000:01:00.0", "0000:01:10.0", "0000:01:10.2")


class Simulated:
    """The simulated kernel's answers. The real one's are asked for in kernel/inside."""

    def __init__(self, kernel: Kernel, refusal: Refusal) -> None:
        self._kernel = kernel
        self._refusal = refusal
        self._heard: list[Uevent] = []
        kernel.hub.listen(self._heard.append)

    def write(self, path: str, value: str) -> int:
        return self._refusal(lambda: self._kernel.write(path, value))

    def read(self, path: str) -> str | None:
        sysfs = self._kernel.machine.sys
        try:
            return sysfs.read(sysfs.resolve(path))
        except FileNotFoundError:
            return None

    def link(self, path: str) -> str | None:
        sysfs = self._kernel.machine.sys
        # The folder may be gone with the device.
        folder, _, name = path.rpartition("/")
        try:
            return (sysfs.root / sysfs.resolve(folder) / name).readlink().name
        except FileNotFoundError:
            return None

    def events(self) -> list[str]:
        heard, self._heard[:] = self._heard[:], []
        return [f"{event.action} {Path(event.devpath).name}" for event in heard if event.subsystem == "pci"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(kernel: Kernel, row: Row, refusal: Refusal) -> None:
    assert play(Simulated(kernel, refusal), row, NAMES) == []


def test_every_row_has_its_own_name() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
