"""Reading single facts of one PCI function below ``bus/pci/devices/<bdf>``.

A fact that is absent is unknown, and nobody needs to hear of it: most functions lack most files. A fact that is there
but makes no sense is unknown too, and noted, so that an operator can see why an attribute is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from dra_common.errors import HostError, HostNotFound
from dra_common.ports import Host, Tree

DRIVERS = "bus/pci/drivers"
PCI_DEVICES = "bus/pci/devices"

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)


def number(text: str) -> int | None:
    """Return a decimal number as sysfs writes it, None for anything else (also for absurdly many digits)."""
    return int(text) if _NUMBER.fullmatch(text) else None


def first(names: tuple[str, ...], pattern: re.Pattern[str]) -> str:
    """Return the name that matches wholly and has the lowest number, else an empty string."""
    return next(iter(numbered(names, pattern)), "")


def numbered(names: tuple[str, ...], pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Return the matching names in the order of the number at their end: card2 comes before card10."""
    matching = [name for name in names if pattern.fullmatch(name)]
    return tuple(sorted(matching, key=lambda name: (len(name), name)))


@dataclass(slots=True)
class Facts:
    """Facts of the function ``bdf``.

    Args:
        entries: the names in its folder; what is not among them is not asked for.
        note: takes one line for each fact that is there but cannot be used.
    """

    host: Host
    bdf: str
    note: Callable[[str], None]
    entries: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Raises HostError if the function's folder cannot be listed."""
        self.entries = frozenset(self.host.sysfs.listdir(self.path("")))

    def path(self, name: str) -> str:
        """Return the path of one of its files."""
        return f"{PCI_DEVICES}/{self.bdf}/{name}".rstrip("/")

    def text(self, name: str) -> str | None:
        """Return the file's text without white space around it, None if it is not there or cannot be read."""
        return self.text_at(self.host.sysfs, self.path(name)) if name in self.entries else None

    def text_at(self, tree: Tree, path: str) -> str | None:
        """Return the text of a file that tells of the function in another place, in the same way."""
        try:
            return tree.read(path).strip()
        except HostNotFound:
            return None
        except HostError as error:
            self.note(error.message)
            return None

    def number(self, name: str) -> int | None:
        """Return the file's decimal number; None if it is absent, negative (sysfs for "unknown") or not a number."""
        text = self.text(name)
        if text is None or text.startswith("-"):
            return None
        value = number(text)
        if value is None:
            self.note(f"{name} holds {text[:40]!r}, not a number")
        return value

    def link(self, name: str, folder: str) -> str:
        """Return the last part of a link that must lead into a folder named ``folder``; empty if it does not."""
        if name not in self.entries:
            return ""
        try:
            target = self.host.sysfs.readlink(self.path(name))
        except HostNotFound:
            return ""
        except HostError as error:
            self.note(error.message)
            return ""
        *_, parent, last = ["", "", *target.split("/")]
        if parent == folder and _NAME.fullmatch(last):
            return last
        self.note(f"the link {name} leads to {target[:80]!r}, not into {folder}")
        return ""

    def children(self, name: str) -> tuple[str, ...]:
        """Return the names in one of its folders; empty if there is none."""
        if name not in self.entries:
            return ()
        try:
            return self.host.sysfs.listdir(self.path(name))
        except HostNotFound:
            return ()
        except HostError as error:
            self.note(error.message)
            return ()
