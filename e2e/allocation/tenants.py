"""Random claims on GPUs that may be divided, and where each of them could be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.driver import DRIVER

from allocation.case import Dice, Json
from allocation.hardware import WHOLE, Load, Pf, Place

SHARES, MACHINES = "gpu-vf.intel.com", "gpu-vfio.intel.com"
MODES = (1, 2, 4)
_MINE = f'device.attributes["{DRIVER}"]'
_VFIO = {"apiVersion": "gpu.intel.com/v1alpha1", "kind": "GpuConfig", "binding": "vfio"}


@dataclass(frozen=True, slots=True)
class Want:
    """A part of a request: what the API is told, and what of the hardware that means."""

    body: Json
    places: frozenset[Place]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A claim: its spec, the places that would do for each of its devices, whether two may not be the same one.

    ``vfio``: it is for a virtual machine.
    """

    spec: Json
    slots: tuple[frozenset[Place], ...]
    apart: bool = False
    vfio: bool = False

    def fits(self, load: Load) -> bool:
        """Whether it could be given what it wants."""
        return load.fits(self.slots, apart=self.apart)


class Agency:
    """Makes up claims."""

    def __init__(self, dice: Dice, pfs: Sequence[Pf]) -> None:
        self.dice = dice
        self.pfs = pfs
        self._kinds: dict[str, tuple[int, Callable[[], Tenant]]] = {
            "whole": (5, lambda: self._claim(self._whole())),
            "machine": (2, lambda: self._claim(self._whole(MACHINES))),
            "share": (4, lambda: self._claim(self._share())),
            "mode": (6, lambda: self._claim(self._share(mode=True))),
            "memory": (6, lambda: self._claim(self._share(memory=True))),
            "pair": (3, lambda: self._claim(self._share(), self._share(mode=dice.chance(0.5)))),
            "share and whole": (2, lambda: self._claim(self._share(mode=True), self._whole())),
            "twice": (1, self._twice),
            "alternatives": (3, self._alternatives),
        }

    def tenant(self) -> tuple[str, Tenant]:
        """Make up one; what kind it is, and what it wants."""
        kind = self.dice.choices(list(self._kinds), [weight for weight, _ in self._kinds.values()])[0]
        return kind, self._kinds[kind][1]()

    def _whole(self, device_class: str = DRIVER) -> Want:
        one = self.dice.choice(self.pfs) if self.dice.chance(0.5) else None
        body = _body(device_class, f'{_MINE}.model == "{one.model}"' if one else "")
        return Want(body, frozenset(Place(pf.name) for pf in self.pfs if one in (None, pf)))

    def _share(self, *, mode: bool = False, memory: bool = False) -> Want:
        vfs = self.dice.choice(MODES) if mode else None
        one = self.dice.choice(self.pfs) if self.dice.chance(0.2) else None
        least = self.dice.choice((1, 1024, 2048, 3000, 4096, 8000, 8192, 12000)) if memory else 0
        selectors = [f'{_MINE}.mode == "vf{vfs}"'] if vfs else []
        selectors += [f'{_MINE}.parent == "{one.address}"'] if one else []
        body = _body(SHARES, *selectors)
        if least:
            body["capacity"] = {"requests": {"memory": f"{least}Mi"}}
        places = {
            place
            for pf in self.pfs
            for place in pf.places
            if one in (None, pf) and place.vfs != WHOLE and vfs in (None, place.vfs)
            if pf.shares[place.vfs] >= least
        }
        return Want(body, frozenset(places))

    def _claim(self, *wants: Want) -> Tenant:
        requests = [{"name": f"r{number}", "exactly": want.body} for number, want in enumerate(wants)]
        return self._tenant(requests, tuple(want.places for want in wants))

    def _twice(self) -> Tenant:
        want = self._whole() if self.dice.chance(0.5) else self._share(mode=True)
        request = {"name": "r0", "exactly": want.body | {"count": 2}}
        return self._tenant([request], (want.places, want.places), apart=True)

    def _alternatives(self) -> Tenant:
        wants = [self._whole(), self._share(mode=True), self._share(memory=True)]
        self.dice.shuffle(wants)
        choices = [{"name": f"s{number}", **want.body} for number, want in enumerate(wants)]
        together = frozenset[Place]().union(*(want.places for want in wants))
        return self._tenant([{"name": "r0", "firstAvailable": choices}], (together,))

    def _tenant(
        self, requests: list[Json], slots: tuple[frozenset[Place], ...], *, apart: bool = False
    ) -> Tenant:
        spec: Json = {"devices": {"requests": requests}}
        machine = any(each.get("exactly", {}).get("deviceClassName") == MACHINES for each in requests)
        if not machine and self.dice.chance(0.3):
            spec["devices"]["config"] = [{"opaque": {"driver": DRIVER, "parameters": _VFIO}}]
            machine = True
        return Tenant(spec, slots, apart, machine)


def _body(device_class: str, *selectors: str) -> Json:
    body: Json = {"deviceClassName": device_class}
    expressions = [{"cel": {"expression": each}} for each in selectors if each]
    return body | ({"selectors": expressions} if expressions else {})
