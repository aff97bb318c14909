"""Finding the functions of one kind on the PCI bus.

All functions are looked at, bound or not. Vendor, class and device id must be readable; whatever else cannot be read is
unknown. One bad device costs one line of text, never another device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from dra_common.errors import HostError, HostNotFound
from dra_common.pci.facts import PCI_DEVICES, Facts
from dra_common.pci.names import is_bdf, split_name
from dra_common.ports import Host

_TRIES = 3
_HEX4 = re.compile(r"0x[0-9a-f]{4}", re.ASCII)
_HEX6 = re.compile(r"0x[0-9a-f]{6}", re.ASCII)


class Found(Protocol):
    """What a driver makes of a function."""

    @property
    def name(self) -> str:
        """As published."""

    @property
    def driver(self) -> str:
        """The kernel driver that was bound when it was read; empty = none."""


F = TypeVar("F", bound=Found)


@dataclass(slots=True)
class Scan(Generic[F]):
    """One look at the bus for functions of a vendor and some classes.

    Args:
        vendor: as sysfs prints it, ``0x8086``.
        classes: beginnings of the class: base class and subclass, ``0x0300``.
        read: makes a device of the facts of a function; gets its device id and its real path below sysfs.
        problems: one line for each thing that was left out or could not be read.
    """

    host: Host
    vendor: str
    classes: tuple[str, ...]
    read: Callable[[Facts, str, str], F]
    problems: list[str] = field(default_factory=list)

    def all(self) -> Iterator[F]:
        """Yield every one. Raises HostError if the bus cannot be listed."""
        for bdf in self.host.sysfs.listdir(PCI_DEVICES):
            if is_bdf(bdf):
                try:
                    yield from self._at(bdf)
                except HostError as error:
                    if not self._has_gone(bdf, error):
                        self._left_out(bdf, error)

    def named(self, names: Collection[str]) -> Iterator[F]:
        """Yield those with these published names, reading no others; an address may hold another device by now."""
        for name in sorted(set(names)):
            place = split_name(name)
            if place is not None:
                yield from (found for found in self.one(place[0]) if found.name == name)

    def one(self, bdf: str) -> tuple[F, ...]:
        """Return the one at an address, if there is one."""
        try:
            return tuple(self._at(bdf))
        except HostNotFound:
            return ()
        except HostError as error:
            self._left_out(bdf, error)
            return ()

    def _has_gone(self, bdf: str, error: HostError) -> bool:
        """Whether it was pulled since it was listed: the kernel takes it out of the bus's list first."""
        return isinstance(error, HostNotFound) and bdf not in self.host.sysfs.listdir(PCI_DEVICES)

    def _left_out(self, bdf: str, error: HostError) -> None:
        self.problems.append(f"{bdf}: left out: {error}")

    def _at(self, bdf: str) -> Iterator[F]:
        """Yield what is at this address, or nothing. Raises HostError if one of the three essential files is bad."""
        if self._essential(bdf, "vendor", _HEX4) != self.vendor:
            return
        if not self._essential(bdf, "class", _HEX6).startswith(self.classes):
            return
        yield self._settled(bdf, self._essential(bdf, "device", _HEX4))

    def _settled(self, bdf: str, device_id: str) -> F:
        """Read a function, again if anything is wrong with it, and tell what two reads on end have found.

        Half a truth is no problem: its kernel driver may go, or come, or do both, while it is read.
        """
        device, wrong = self._heard(bdf, device_id)
        for _ in range(_TRIES):
            if not wrong:
                break
            before = wrong
            device, wrong = self._heard(bdf, device_id)
            if wrong == before and self._driver(bdf) == device.driver:
                self.problems += wrong
                break
        return device

    def _heard(self, bdf: str, device_id: str) -> tuple[F, list[str]]:
        """Read a function; return it with what is wrong, which is told to nobody yet."""
        wrong: list[str] = []
        real_path = self._real_path(bdf)
        facts = Facts(self.host, bdf, lambda line: wrong.append(f"{bdf}: {line}"))
        return self.read(facts, device_id, real_path), wrong

    def _driver(self, bdf: str) -> str:
        return Facts(self.host, bdf, lambda _: None).link("driver", "drivers")

    def _essential(self, bdf: str, name: str, form: re.Pattern[str]) -> str:
        path = f"{PCI_DEVICES}/{bdf}/{name}"
        text = self.host.sysfs.read(path).strip()
        if not form.fullmatch(text):
            raise HostError(f"{path} holds {text[:40]!r}, not a hexadecimal number such as {self.vendor}")
        return text

    def _real_path(self, bdf: str) -> str:
        """Resolve the device. A link to another device would be that device a second time, under a wrong name."""
        real_path = self.host.sysfs.realpath(f"{PCI_DEVICES}/{bdf}")
        if real_path.rpartition("/")[2] != bdf:
            raise HostError(f"{PCI_DEVICES}/{bdf} leads to another device, {real_path}")
        return real_path
