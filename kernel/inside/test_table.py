"""The table that the simulated kernel is held to (packages/common/tests/simulate/test_table.py), on the real one."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from card import SYSFS, Card, Uevents, put
from dra_common.simulate.table import ROWS, Row
from table_play import Names, play


class Real:
    """This kernel's answers."""

    def __init__(self, uevents: Uevents) -> None:
        self._uevents = uevents

    def write(self, path: str, value: str) -> int:
        return put(SYSFS / path, value)

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

    def events(self) -> list[str]:
        pci = (event for event in self._uevents.take() if event.get("SUBSYSTEM") == "pci")
        return [f"{event['ACTION']} {PurePosixPath(event['DEVPATH']).name}" for event in pci]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(card: Card, uevents: Uevents, row: Row) -> None:
    names = Names(card.name, card.vf(0), card.vf(1))
    assert play(Real(uevents), row, names) == []
