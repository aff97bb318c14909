"""What GPUs can do that claims may have divided, known from nothing but the hardware: whole, or so many equal VFs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from allocation.case import Json

WHOLE = 0
"""In place of a number of VFs: nobody else has any of it."""
MIB = 2**20


class Impossible(Exception):
    """More was given than there is."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A PF, and how many VFs it has for whoever is given one of them."""

    pf: str
    vfs: int = WHOLE

    @property
    def most(self) -> int:
        """How many can be there at once."""
        return self.vfs or 1

    def __str__(self) -> str:
        return f"{self.pf}-vf{self.vfs}" if self.vfs else self.pf


@dataclass(frozen=True, slots=True)
class Pf:
    """A PF as published: name, PCI address, model, and the MiB that a share has, by number of VFs."""

    name: str
    address: str
    model: str
    shares: Mapping[int, int]

    @property
    def places(self) -> frozenset[Place]:
        """Every way to have it or a part of it."""
        return frozenset(Place(self.name, vfs) for vfs in (WHOLE, *self.shares))


@dataclass(frozen=True, slots=True)
class Load:
    """Who is where, as numbers."""

    there: Mapping[str, tuple[Place, int]]

    def more(self, place: Place) -> "Load | None":
        """Add one; None if the hardware cannot."""
        now, count = self.there.get(place.pf, (place, 0))
        if now != place or count >= place.most:
            return None
        return Load({**self.there, place.pf: (place, count + 1)})

    def fits(self, slots: Sequence[frozenset[Place]], *, apart: bool) -> bool:
        """Whether one more in each of these is possible, at the same time; ``apart``: in different ones."""
        if not slots:
            return True
        for place in slots[0]:
            others = [slot - {place} for slot in slots[1:]] if apart else slots[1:]
            more = self.more(place)
            if more and more.fits(others, apart=apart):
                return True
        return False


def place_of(device: str) -> Place:
    """Give the place that the name of a published device means."""
    pf, _, count = device.rpartition("-vf")
    return Place(pf, int(count)) if pf else Place(device)


def results(claim: Json) -> list[Json]:
    """Give what a claim was allocated, device by device."""
    found: list[Json] = claim.get("status", {}).get("allocation", {}).get("devices", {}).get("results", [])
    return found


def load_of(claims: Iterable[Json]) -> Load:
    """Add up what claims have. Raises Impossible if the hardware cannot do that."""
    load, shares = Load({}), set()
    for claim in claims:
        for result in results(claim):
            place, share = place_of(result["device"]), result.get("shareID", "")
            more = load.more(place)
            if more is None or (bool(share), share in shares) != (bool(place.vfs), False):
                raise Impossible(f"{claim['metadata']['name']} was given {result} beside {load}")
            load = more
            shares |= {share} - {""}
    return load


def pfs_of(devices: Mapping[str, Json]) -> tuple[Pf, ...]:
    """Read the PFs and what they can be divided into from what is published."""
    shares: dict[str, dict[int, int]] = {}
    for name, device in devices.items():
        place = place_of(name)
        if place.vfs:
            amount = device["attributes"]["vfMemoryMiB"]["int"]
            shares.setdefault(place.pf, {})[place.vfs] = amount
    return tuple(
        Pf(name, _text(device, "pciAddress"), _text(device, "model"), shares.get(name, {}))
        for name, device in sorted(devices.items())
        if not place_of(name).vfs
    )


def _text(device: Json, attribute: str) -> str:
    return str(device["attributes"][attribute]["string"])
