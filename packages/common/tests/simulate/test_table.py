from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from dra_common.ports import Uevent
from dra_common.simulate.kernel import Kernel
from dra_common.simulate.table import FOLDER, FOLDERS, LINK, ROWS, Folder, Row
from table_play import Names, compare, play, told

Refusal = Callable[[Callable[[], object]], int]

NAMES = Names("0000:01:00.0", "0000:01:10.0", "0000:01:10.2", port="0000:00:01.0")


class Simulated:
    """The simulated kernel's answers. The real one's are asked for in kernel/inside."""

    def __init__(self, kernel: Kernel, refusal: Refusal) -> None:
        self._kernel = kernel
        self._refusal = refusal
        self._heard: list[Uevent] = []
        kernel.hub.listen(self._heard.append)

    def write(self, path: str, value: str) -> int:
        return self._refusal(lambda: self._kernel.write(path, value))

    def report_error(self, bdf: str, severity: str, name: str) -> int:
        return self._refusal(lambda: self._kernel.report_error(bdf, severity, name))

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

    def entries(self, path: str) -> Mapping[str, str]:
        sysfs = self._kernel.machine.sys
        folder = sysfs.resolve(path)
        return {
            name: self._kind(sysfs.root / folder / name, f"{folder}/{name}") for name in sysfs.names(path)
        }

    def _kind(self, place: Path, path: str) -> str:
        if place.is_symlink():
            return LINK
        if place.is_dir():
            return FOLDER
        can_read = place.stat().st_mode & 0o400
        return ("r" if can_read else "") + ("w" if path in self._kernel.machine.stores else "")

    def events(self) -> list[str]:
        heard, self._heard[:] = self._heard[:], []
        pci = (event for event in heard if event.subsystem == "pci")
        return [told(event.action, event.devpath, event.properties or {}) for event in pci]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(kernel: Kernel, row: Row, refusal: Refusal) -> None:
    assert play(Simulated(kernel, refusal), row, NAMES) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_folder(boot: Callable[[str], Kernel], profile_text: str, folder: Folder, refusal: Refusal) -> None:
    # The card as QEMU has it, without what other tests look at.
    extras = (
        ", 2: {size: 17179869184, prefetchable: true}",
        "sizes: {rom: 65536}",
        "attributes: {current_link_speed: 2.5 GT/s PCIe}",
    )
    for extra in extras:
        assert extra in profile_text
        profile_text = profile_text.replace(extra, "")
    kernel = boot(profile_text)
    assert compare(Simulated(kernel, refusal), folder, NAMES, simulated=True) == []


def test_every_row_has_its_own_name() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
