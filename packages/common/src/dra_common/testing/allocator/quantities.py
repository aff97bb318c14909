"""Quantities as Kubernetes reads them (``resource.Quantity``), exact."""

from __future__ import annotations

import re
from fractions import Fraction

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(\d+\.?\d*|\.\d+))(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE](?P<exponent>[+-]?\d{1,3}))?"
)
_BINARY = {letter + "i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {letter: Fraction(1000) ** power for power, letter in enumerate("num", -3)}
_SUFFIXES = {
    **_BINARY,
    **_DECIMAL,
    **{letter: Fraction(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
}


def parse_quantity(text: str) -> Fraction:
    """Return the amount that ``text`` (``8Gi``, ``500m``, ``1e3``) means, in base units. Raises ValueError."""
    match = _QUANTITY.fullmatch(text)
    if not match:
        msg = f"{text!r} is not a quantity"
        raise ValueError(msg)
    number = Fraction(match["number"])
    if match["exponent"]:
        return number * Fraction(10) ** int(match["exponent"])
    return number * _SUFFIXES.get(match["suffix"] or "", Fraction(1))
