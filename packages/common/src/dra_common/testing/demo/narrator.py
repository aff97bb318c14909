"""Says what happens, to a person or as one JSON object a line, and checks what it says."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from dra_common.tables import print_table


class StatementFalse(Exception):
    """A statement of the story is not true; ``str()`` is the statement and what was found instead."""


class StoryUnfit(Exception):
    """A story cannot be told on this machine, which says nothing about the product; ``str()`` is why."""


class Narrator:
    """Tells a story step by step.

    Args:
        as_json: one JSON object a line in place of text: ``event``, ``step``, ``seconds`` since the start, and more.
        out: where to.
    """

    def __init__(self, *, as_json: bool = False, out: TextIO | None = None) -> None:
        self._json = as_json
        self._out = out or sys.stdout
        self._began = time.monotonic()
        self._step = 0
        self.checked = 0

    @property
    def seconds(self) -> float:
        """Since the story began."""
        return round(time.monotonic() - self._began, 2)

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._step += 1
        self._tell("step", f"\n{self._step}. {title}", title=title)

    def say(self, text: str) -> None:
        """Say something that is not a statement about the product."""
        self._tell("say", "   " + text.replace("\n", "\n   "), text=text)

    def check(self, statement: str, truth: object, found: object = None) -> None:
        """Make a statement; raises StatementFalse unless ``truth`` is true."""
        if not truth:
            self._tell("check", f"   ✗ {statement}", statement=statement, ok=False)
            raise StatementFalse(f"{statement}; found: {found!r}" if found is not None else statement)
        self.checked += 1
        self._tell("check", f"   ✓ {statement}", statement=statement, ok=True)

    def need(self, what: str, truth: object) -> None:
        """Ask of the machine what the story cannot do without; raises StoryUnfit unless ``truth`` is true."""
        if not truth:
            raise StoryUnfit(what)

    def table(self, name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table; as JSON, one object with all its rows."""
        if self._json:
            self._tell("table", "", name=name, rows=[dict(zip(header, row, strict=True)) for row in rows])
            return
        text = io.StringIO()
        print_table(header, rows, text)
        for line in text.getvalue().splitlines():
            print(f"   {line}".rstrip(), file=self._out, flush=True)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say what is waited for, and how long it took."""
        begun = time.monotonic()
        if not self._json:
            print(f"   … {what}", file=self._out, end="", flush=True)
        try:
            yield
        finally:
            took = time.monotonic() - begun
            if not self._json:
                print(f" ({took:.1f} s)", file=self._out, flush=True)
        if self._json:
            self._tell("waited", "", what=what, took=round(took, 2))

    def end(self) -> None:
        """Say how it went: every statement was true."""
        text = f"\nAll {self.checked} statements above were checked and are true ({self.seconds:.1f} s)."
        self._tell("end", text, checked=self.checked, ok=True)

    def unfit(self, why: str) -> None:
        """Say why the story ends early, in one line."""
        self._tell("end", f"\nNOT TOLD: {why}", checked=self.checked, ok=False, why=why)

    def failed(self, why: str, log: str) -> None:
        """Say that the story ended early, and what the driver logged last."""
        text = f"\nNOT TRUE: {why}\n\nThe driver's last lines:\n{log}"
        self._tell("end", text, checked=self.checked, ok=False, why=why, log=log)

    def _tell(self, event: str, line: str, /, **more: object) -> None:
        fields: Mapping[str, object] = {"event": event, "step": self._step, "seconds": self.seconds, **more}
        print(json.dumps(fields, ensure_ascii=False) if self._json else line, file=self._out, flush=True)
