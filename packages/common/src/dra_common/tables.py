"""Tables for people: never a cut name, whatever the width of the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], out: TextIO | None = None) -> None:
    """Print rows below a header, every cell on one line: names are there to be copied."""
    from rich.console import Console  # noqa: PLC0415 - only where a table is printed
    from rich.measure import Measurement  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in header:
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    endless = Console(width=10_000)
    needed = Measurement.get(endless, endless.options, table).maximum
    Console(file=out, width=needed, highlight=False, markup=False).print(table)
