"""Ids that a driver learns at run time by ``new_id``."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from dra_common.simulate.errnos import refuse
from dra_common.simulate.function import Function
from dra_common.simulate.profile import FunctionSpec

_ANY = 0xFFFFFFFF
_WORD = 0xFFFF
_HEX = re.compile(r"(?:0[xX])?[0-9a-fA-F]+")
_FIELDS = 6
_WITH_DATA = 7
_SHORTEST = 2


@dataclass(frozen=True, slots=True)
class DynamicId:
    """One line of ``new_id``: ``VVVV DDDD [SV SD CLASS MASK [DATA]]``, hexadecimal; left out = any."""

    vendor: int
    device: int
    subvendor: int = _ANY
    subdevice: int = _ANY
    class_: int = 0
    class_mask: int = 0

    @classmethod
    def parse(cls, text: str) -> DynamicId:
        """Read the written text. Raises EINVAL when there are not even a vendor and a device.

        Private data has to be that of an id of the driver's table; those of simulated drivers have none.
        """
        numbers: list[int] = []
        for word in text.split()[:_WITH_DATA]:
            if not _HEX.fullmatch(word):
                break
            numbers.append(int(word, 16))
        if len(numbers) < _SHORTEST or any(numbers[_FIELDS:]):
            raise refuse(errno.EINVAL, repr(text))
        return cls(*numbers[:_FIELDS])

    def imagined(self) -> Function:
        """Make up a function of these ids: a driver that would take it has this id already (``new_id_store``)."""
        return Function(
            FunctionSpec(
                bdf="0000:00:00.0",
                vendor=f"0x{self.vendor & _WORD:04x}",
                device=f"0x{self.device & _WORD:04x}",
                subsystem_vendor=f"0x{self.subvendor & _WORD:04x}",
                subsystem_device=f"0x{self.subdevice & _WORD:04x}",
                class_=f"0x{self.class_ & 0xFFFFFF:06x}",
            ),
        )

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
