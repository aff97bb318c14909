"""Semantic versions 2.0.0, for attributes of that type and for CEL's ``semver()``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"(0|[1-9]\d*)"
_IDENTIFIER = r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
    rf"(?:-(?P<pre>{_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
_PARTS = 3


@dataclass(frozen=True, slots=True)
class Semver:
    """One version. Build metadata is dropped: it counts neither for order nor for equality."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, *, normalize: bool = False) -> Semver:
        """Return the version that ``text`` is; ``normalize`` accepts ``v1.2`` and leading zeros. Raises ValueError."""
        match = _SEMVER.fullmatch(_normalized(text) if normalize else text)
        if not match:
            msg = f"{text!r} is not a semantic version"
            raise ValueError(msg)
        pre = tuple(match["pre"].split(".")) if match["pre"] else ()
        return cls(int(match[1]), int(match[2]), int(match[3]), pre)

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        return f"{text}-{'.'.join(self.pre)}" if self.pre else text

    def compare(self, other: Semver) -> int:
        """Return -1, 0 or 1 by precedence (Semantic Versioning 2.0.0, item 11)."""
        mine, theirs = self._key(), other._key()
        return (mine > theirs) - (mine < theirs)

    def _key(self) -> tuple[int, int, int, bool, list[tuple[bool, int, str]]]:
        # Numbers stand before words, a version with a pre-release before the one without.
        pre = [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in self.pre]
        return self.major, self.minor, self.patch, not self.pre, pre


def _normalized(text: str) -> str:
    parts = text.removeprefix("v").split(".", _PARTS - 1)
    if len(parts) < _PARTS and not all(part.isdigit() for part in parts):
        return text
    parts += ["0"] * (_PARTS - len(parts))
    return ".".join(re.sub(r"^0+(?=\d)", "", part) for part in parts)
