"""What the driver of a physical function says of it, in the folder ``qat`` and in debugfs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

from dra_common.pci import Facts
from dra_common.ports import Tree

from qat_driver.services import Services, parse

_SWITCH = {"on": True, "off": False}


@dataclass(frozen=True, slots=True)
class Said:
    """The attributes of one physical function; any of them may be missing.

    Args:
        facts: of the function.
        driver: the kernel driver bound now.
    """

    facts: Facts
    driver: str

    def state(self) -> str:
        """Return what ``state`` says, ``up`` or ``down`` as a rule; empty if it is not there."""
        return self._attribute("state")[:40]

    def services(self) -> Services:
        """Return what it offers: what ``cfg_services`` says, else what its configuration says."""
        return parse(self._attribute("cfg_services") or self._configured())

    def auto_reset(self) -> bool | None:
        """Return what ``auto_reset`` says, None if it is not there."""
        return _SWITCH.get(self._attribute("auto_reset"))

    def _attribute(self, name: str) -> str:
        if "qat" not in self.facts.entries:
            return ""
        return self._text(self.facts.host.sysfs, self.facts.path(f"qat/{name}"))

    def _configured(self) -> str:
        """Return ``ServicesEnabled`` of the section GENERAL; ``cy`` is an old word for both kinds of cryptography."""
        if not self.driver:
            return ""
        path = f"qat_{self.driver}_{self.facts.bdf}/dev_cfg"
        lines = iter(self._text(self.facts.host.debugfs, path).splitlines())
        for line in lines:
            if line.strip() == "[GENERAL]":
                break
        for line in takewhile(lambda line: not line.startswith("["), lines):
            key, _, value = line.partition("=")
            if key.strip() == "ServicesEnabled":
                tokens = ["sym;asym" if token.strip() == "cy" else token for token in value.split(";")]
                return ";".join(tokens)
        return ""

    def _text(self, tree: Tree, path: str) -> str:
        return self.facts.text_at(tree, path) or ""
