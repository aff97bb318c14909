"""``qat_rl``, agreements on the rate of ring pairs: ABI document sysfs-driver-qat_rl, ``adf_sysfs_rl.c``, ``adf_rl.c``.

Attributes are the arguments of what is written to ``sla_op``. All agreements go when the device goes down.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from dra_common.simulate import Function, Machine, parse_unsigned, refuse

from qat_driver.simulation.facts import RING_PAIRS, has_qat_folder, services_of, since

_WHOLE = 1000
"""Permille of a service of the device."""
_SERVICES = ("sym", "asym", "dc", "decomp")
_MASK = re.compile(r"(?:0[xX])?[0-9a-fA-F]{1,16}\n?", re.ASCII)


def add(machine: Machine, pf: Function) -> None:
    """Add the folder without any agreement, where the kernel has it."""
    if has_qat_folder(machine, pf) and since(machine, 6, 8):
        _Limits(machine, pf).add()


def remove(machine: Machine, pf: Function) -> None:
    """Remove it; fine if it is not there."""
    machine.remove(_folder(pf))


def _folder(pf: Function) -> str:
    return f"{pf.folder}/qat_rl"


@dataclass(slots=True)
class _Agreement:
    """What some ring pairs have of a service: permille that they surely have, and the most that they get."""

    rings: int
    service: str
    cir: int
    pir: int


@dataclass(slots=True)
class _Limits:
    """The agreements of a device while it is up, and what is written before the next operation."""

    machine: Machine
    pf: Function
    agreed: dict[int, _Agreement] = field(default_factory=dict)
    rings: int = 0
    number: int = 0
    cir: int = 0
    pir: int = 0
    service: str = ""

    def add(self) -> None:
        stores: dict[str, tuple[str, Callable[[str], None]]] = {
            "rp": ("0x0", self._store_rings),
            "id": ("0", self._store_number),
            "cir": ("0", self._store_cir),
            "pir": ("0", self._store_pir),
            # It cannot be read before it is written.
            "srv": ("", self._store_service),
            "cap_rem": (str(_WHOLE), self._store_asked),
        }
        for name, (text, store) in stores.items():
            self.machine.add_file(f"{_folder(self.pf)}/{name}", text, store=store)
        self.machine.add_file(f"{_folder(self.pf)}/sla_op", "", store=self._store_operation, mode=0o200)

    def _store_rings(self, text: str) -> None:
        if not _MASK.fullmatch(text):
            raise refuse(errno.EINVAL, repr(text))
        self.rings = int(text, 16)
        self._show()

    def _store_number(self, text: str) -> None:
        self.number = parse_unsigned(text, 31)
        self._show()

    def _store_cir(self, text: str) -> None:
        self.cir = parse_unsigned(text, 32)
        self._show()

    def _store_pir(self, text: str) -> None:
        self.pir = parse_unsigned(text, 32)
        self._show()

    def _store_service(self, text: str) -> None:
        self.service = self._enabled(text)
        self._show()

    def _store_asked(self, text: str) -> None:
        left = _WHOLE - self._given(self._enabled(text))
        self.machine.set_file(f"{_folder(self.pf)}/cap_rem", str(left))

    def _store_operation(self, text: str) -> None:
        operations = {
            "add": self._add,
            "update": self._update,
            "rm": self._remove,
            "rm_all": self.agreed.clear,
            "get": self._get,
        }
        operation = operations.get(text.removesuffix("\n"))
        if operation is None:
            raise refuse(errno.EINVAL, repr(text))
        operation()
        self._show()

    def _add(self) -> None:
        service = self._enabled(self.service)
        taken = any(agreement.rings & self.rings for agreement in self.agreed.values())
        if not self.rings or self.rings >> RING_PAIRS or taken:
            raise refuse(errno.EINVAL, f"ring pairs {self.rings:#x}")
        self._check_rates(service)
        self.number = next(number for number in range(RING_PAIRS) if number not in self.agreed)
        self.agreed[self.number] = _Agreement(self.rings, service, self.cir, self.pir)

    def _update(self) -> None:
        agreement = self._named()
        self._check_rates(agreement.service, besides=agreement)
        agreement.cir, agreement.pir = self.cir, self.pir

    def _remove(self) -> None:
        self._named()
        del self.agreed[self.number]

    def _get(self) -> None:
        agreement = self._named()
        self.rings, self.service = agreement.rings, agreement.service
        self.cir, self.pir = agreement.cir, agreement.pir

    def _named(self) -> _Agreement:
        if self.number not in self.agreed:
            raise refuse(errno.EINVAL, f"no agreement {self.number}")
        return self.agreed[self.number]

    def _check_rates(self, service: str, besides: _Agreement | None = None) -> None:
        left = _WHOLE - self._given(service) + (besides.cir if besides else 0)
        if not self.cir <= self.pir <= _WHOLE or self.cir > left:
            raise refuse(errno.EINVAL, f"cir {self.cir}, pir {self.pir}, {left} are left")

    def _given(self, service: str) -> int:
        return sum(agreement.cir for agreement in self.agreed.values() if agreement.service == service)

    def _enabled(self, text: str) -> str:
        service = text.removesuffix("\n")
        if service not in _SERVICES or service not in services_of(self.machine, self.pf).split(";"):
            raise refuse(errno.EINVAL, repr(text))
        return service

    def _show(self) -> None:
        texts = {
            "rp": f"{self.rings:#x}",
            "id": str(self.number),
            "cir": str(self.cir),
            "pir": str(self.pir),
            "srv": self.service,
        }
        for name, text in texts.items():
            self.machine.set_file(f"{_folder(self.pf)}/{name}", text)
