"""Ids that a driver learns at run time by ``new_id``."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from dra_common.simulate.errnos import refuse
from dra_common.simulate.function import Function

_ANY = 0xFFFFFFFF
_HEX = re.compile(r"(?:0[xX])?[0-9a-fA-F]+")
_FIELDS = 6
_SHORTEST = 2


@dataclass(frozen=True, slots=True)
class DynamicId:
    """One line of ``new_id``: ``VVVV DDDD [SV SD CLASS MASK]``, hexadecimal; left out = any."""

    vendor: int
    device: int
    subvendor: int = _ANY
    subdevice: int = _ANY
    class_: int = 0
    class_mask: int = 0

    @classmethod
    def parse(cls, text: str) -> DynamicId:
        """Read the written text. Raises EINVAL when there are not even a vendor and a device."""
        numbers: list[int] = []
        for word in text.split()[:_FIELDS]:
            if not _HEX.fullmatch(word):
                break
            numbers.append(int(word, 16))
        if len(numbers) < _SHORTEST:
            raise refuse(errno.EINVAL, repr(text))
        return cls(*numbers)

    def matches(self, function: Function) -> bool:
        """Whether this id covers the function."""
        spec = function.spec
        pairs = [
            (self.vendor, spec.vendor),
            (self.device, spec.device),
            (self.subvendor, spec.subsystem_vendor),
            (self.subdevice, spec.subsystem_device),
        ]
        ids = all(wanted in {_ANY, int(actual, 16)} for wanted, actual in pairs)
        return ids and (self.class_ ^ int(spec.class_, 16)) & self.class_mask == 0
