"""Refusals of the simulated kernel and its way to read numbers from text."""

from __future__ import annotations

import errno
import os
import re

_NUMBER = re.compile(r"\+?(?:0[xX][0-9a-fA-F]+|[0-9]+)\n?")


def refuse(code: int, what: str = "") -> OSError:
    """Return the error to raise, for example ``raise refuse(errno.EBUSY, "numvfs")``."""
    return OSError(code, os.strerror(code), what)


def parse_unsigned(text: str, bits: int) -> int:
    """Read a number as ``kstrtou16`` and friends do: base by prefix, one final newline; EINVAL otherwise."""
    if not _NUMBER.fullmatch(text):
        raise refuse(errno.EINVAL, repr(text))
    digits = text.lstrip("+").rstrip("\n").lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    try:
        number = int(digits, base)
    except ValueError as bad_octal:
        raise refuse(errno.EINVAL, repr(text)) from bad_octal
    if number >= 1 << bits:
        raise refuse(errno.EINVAL, repr(text))
    return number


def parse_bool(text: str) -> bool:
    """Read a truth value as ``kstrtobool`` does: it looks at the first letter, of ``on``/``off`` at the second too."""
    word = text[:2].lower()
    if word[:1] in {"y", "t", "1"} or word == "on":
        return True
    if word[:1] in {"n", "f", "0"} or word == "of":
        return False
    raise refuse(errno.EINVAL, repr(text))
