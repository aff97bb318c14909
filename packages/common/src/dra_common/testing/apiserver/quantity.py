"""Quantities: read in any notation, printed in the one canonical form of ``resource.Quantity``."""

from __future__ import annotations

import re
from fractions import Fraction

_TEXT = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(?:(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)|[eE]([+-]?\d+))?$")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"": 0, "Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_KIBI = 1024
"""Below, the real server prints decimal whatever the notation was."""
_NANO = Fraction(1, 10**9)


def parse(text: str) -> Fraction:
    """Return the amount, rounded up to a whole nano unit as the real server does. Raises ValueError."""
    found = _TEXT.match(text)
    if not found:
        raise ValueError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, suffix, exponent = found.groups()
    amount = Fraction(number)
    if exponent:
        amount *= Fraction(10) ** int(exponent)
    elif suffix and suffix.endswith("i"):
        amount *= 1024 ** _BINARY[suffix]
    elif suffix:
        amount *= Fraction(10) ** _DECIMAL[suffix]
    return -((-amount) // _NANO) * _NANO


def canonical(text: str) -> str:
    """Return the one text the API prints: ``1k`` for ``1000``, ``16Gi`` for ``16384Mi``, ``500m`` for ``0.5``.

    Raises ValueError.
    """
    amount = parse(text)
    if text.endswith("i") and abs(amount) >= _KIBI and amount.denominator == 1:
        return _binary(int(amount))
    exponent = _exponent(amount)
    mantissa = amount / Fraction(10) ** exponent
    if re.search(r"[eE][+-]?\d+$", text):
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    suffix = next(name for name, power in _DECIMAL.items() if power == exponent)
    return f"{mantissa}{suffix}"


def _binary(amount: int) -> str:
    suffix = ""
    for name in list(_BINARY)[1:]:
        if amount % 1024:
            break
        amount, suffix = amount // 1024, name
    return f"{amount}{suffix}"


def _exponent(amount: Fraction) -> int:
    """Return the largest multiple of three, -9 to 18, that leaves a whole number."""
    if not amount:
        return 0
    for exponent in range(18, -12, -3):
        if (amount / Fraction(10) ** exponent).denominator == 1:
            return exponent
    raise ValueError("finer than nano")
