"""The MEI devices of a card: its firmware, for administrators."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dra_common.errors import HostError
from dra_common.pci.facts import Facts, numbered
from dra_common.ports import Host

_MEI = re.compile(r"mei[0-9]+", re.ASCII)


class MeiIndex:
    """The MEI devices of the machine by real path; read when first needed, once for each look at the machine."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._paths: Mapping[str, str] | None = None

    def below(self, real_path: str) -> tuple[str, ...]:
        """Return the names of the MEI devices that are children of the device at ``real_path``."""
        if self._paths is None:
            self._paths = self._read()
        names = tuple(name for name, path in self._paths.items() if path.startswith(f"{real_path}/"))
        return numbered(names, _MEI)

    def _read(self) -> Mapping[str, str]:
        found = {}
        for name in _list(self._host, "class/mei"):
            try:
                found[name] = self._host.sysfs.realpath(f"class/mei/{name}")
            except HostError:
                continue
        return found


def _list(host: Host, path: str) -> tuple[str, ...]:
    try:
        return host.sysfs.listdir(path)
    except HostError:
        return ()


def mei_of(facts: Facts, real_path: str, index: MeiIndex) -> tuple[str, ...]:
    """Return a card's MEI devices: ``<driver>.mei-gscfi.<n>/mei/meiN`` below it, or by the links in ``class/mei``."""
    names: tuple[str, ...] = ()
    for folder in sorted(entry for entry in facts.entries if "mei" in entry):
        names += _list(facts.host, facts.path(f"{folder}/mei"))
    return numbered(names, _MEI) or index.below(real_path)
