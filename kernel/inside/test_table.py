"""The table that the simulated kernel is held to (packages/common/tests/simulate/test_table.py), on the real one."""

from __future__ import annotations

import stat
from collections.abc import Mapping

import pytest
from card import SYSFS, Card, Uevents, put
from dra_common.simulate.table import FOLDER, FOLDERS, LINK, ROWS, Folder, Row
from errors import report
from table_play import Names, compare, play, told


class Real:
    """This kernel's answers."""

    def __init__(self, uevents: Uevents) -> None:
        self._uevents = uevents

    def write(self, path: str, value: str) -> int:
        return put(SYSFS / path, value)

    def report_error(self, bdf: str, severity: str, name: str) -> int:
        return report(bdf, severity, name)

    def read(self, path: str) -> str | None:
        try:
            return (SYSFS / path).read_text().removesuffix("\n")
        except FileNotFoundError:
            return None

    def link(self, path: str) -> str | None:
        try:
            return (SYSFS / path).readlink().name
        except FileNotFoundError:
            return None

    def entries(self, path: str) -> Mapping[str, str]:
        return {found.name: _kind(found.lstat().st_mode) for found in (SYSFS / path).iterdir()}

    def events(self) -> list[str]:
        pci = (event for event in self._uevents.take() if event.get("SUBSYSTEM") == "pci")
        return [told(event["ACTION"], event["DEVPATH"], event) for event in pci]


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return LINK
    if stat.S_ISDIR(mode):
        return FOLDER
    return ("r" if mode & stat.S_IRUSR else "") + ("w" if mode & stat.S_IWUSR else "")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(card: Card, uevents: Uevents, row: Row) -> None:
    names = Names(card.name, card.vf(0), card.vf(1))
    assert play(Real(uevents), row, names) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_folder(card: Card, spare: Card, uevents: Uevents, folder: Folder) -> None:
    port = card.folder.resolve().parent.name
    names = Names(card.name, card.vf(0), card.vf(1), spare.name, port)
    assert compare(Real(uevents), folder, names, simulated=False) == []
