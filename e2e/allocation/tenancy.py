"""Claims that come and go on divided GPUs: the real scheduler gives, the real driver prepares, and all is checked."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.caller import Caller
from dra_common.model import ClaimRef
from harness.driver import Driver
from harness.node import NAME
from harness.waiting import wait_for

from allocation.case import Dice, Json
from allocation.hardware import WHOLE, Impossible, Load, Pf, load_of, place_of, results
from allocation.stage import Stage
from allocation.tenants import Agency, Tenant

PATIENCE = 60.0
"""Seconds within which whoever fits is let in."""
CROWD = 8
"""As many come at once at most, and as many wait."""


@dataclass(slots=True)
class Tenancy:
    """A node with a driver, without a kubelet: its part is played here.

    Args:
        stage: where claims and pods are created.
        gpus: the driver.
        caller: a connection to it.
        pfs: what there is.
        dice: chance.
    """

    stage: Stage
    gpus: Driver
    caller: Caller
    pfs: Sequence[Pf]
    dice: Dice
    counts: Counter[str] = field(default_factory=Counter)
    _tenants: dict[str, Tenant] = field(default_factory=dict)
    _prepared: dict[str, ClaimRef] = field(default_factory=dict)

    def run(self, claims: int) -> Counter[str]:
        """Let so many claims come, one group after the other, and go again; what there was of each kind.

        Raises Impossible for what the hardware cannot do, NotInTime if somebody waits in vain, CallFailed if the driver
        refuses what the scheduler gave.
        """
        agency = Agency(self.dice, self.pfs)
        while claims:
            group = min(claims, self.dice.randint(1, CROWD))
            self._come(agency, group)
            claims -= group
            self._live()
            self._go(self._leaving())
        while self._tenants:
            self._go(set(self._prepared) or set(self._tenants))
            self._live()
        return self.counts

    def _come(self, agency: Agency, group: int) -> None:
        names = [f"claim-{self.counts['claims'] + number}" for number in range(group)]
        for name in names:
            kind, self._tenants[name] = agency.tenant()
            self.counts[kind] += 1
            self.counts["claims"] += 1
        self.stage.each(names, self._bring)

    def _bring(self, name: str) -> None:
        if self.stage.ask(name, self._tenants[name].spec) is None:
            raise Impossible(f"the API server does not take {self._tenants[name].spec}")
        self.stage.bring(name, NAME)

    def _live(self) -> None:
        (claims,) = wait_for(self._settled, "everybody who fits to be let in", PATIENCE, interval=0.1)
        new = [name for name in claims if name not in self._prepared]
        refs = {name: _ref(claims[name]) for name in new}
        self.dice.shuffle(new)
        self.stage.each(self._calls(new), lambda call: self.caller.prepare([refs[name] for name in call]))
        self._prepared |= refs
        self.counts["prepared"] += len(new)
        self.counts["for machines"] += sum(self._tenants[name].vfio for name in new)
        self.counts["waiting"] += len(self._tenants) - len(claims)
        self._check(claims)

    def _settled(self) -> tuple[dict[str, Json]]:
        """Give the claims that have something, by name; an assertion fails while another one could have it, too."""
        claims = self.stage.claims()
        given = {name: claim for name, claim in claims.items() if results(claim)}
        load = load_of(given.values())
        for name, claim in given.items():
            self._fulfils(name, claim)
        late = [name for name in self._tenants if name not in given and self._tenants[name].fits(load)]
        assert not late, f"{late} wait beside {load}"  # noqa: S101 # what is said if it is late
        return (given,)

    def _fulfils(self, name: str, claim: Json) -> None:
        places = [place_of(result["device"]) for result in results(claim)]
        slots = self._tenants[name].slots
        right = len(places) == len(slots) and all(map(frozenset.__contains__, slots, places))
        if not right or (self._tenants[name].apart and len(set(places)) < len(places)):
            raise Impossible(f"{name} wants one of each of {slots}, and was given {places}")

    def _calls(self, names: Sequence[str]) -> Iterator[Sequence[str]]:
        """Cut into calls as a kubelet makes them: a call is for a pod, which may have several claims."""
        while names:
            size = self.dice.choice((1, 1, 2, 3))
            yield names[:size]
            names = names[size:]

    def _leaving(self) -> set[str]:
        """Choose who goes: some of those who have something, or all, and some who wait."""
        holders = sorted(self._prepared)
        gone = set(holders if self.dice.chance(0.3) else self.dice.some(holders, 0)) if holders else set()
        waiting = sorted(self._tenants.keys() - self._prepared)
        most = CROWD - len(waiting)
        return gone | {name for name in waiting if self.dice.chance(0.2)} | set(waiting[: max(0, -most)])

    def _go(self, names: set[str]) -> None:
        """End pods in the kubelet's order: unprepared, then gone; what is free then is free for everybody."""
        holders = [name for name in names if name in self._prepared]
        self.dice.shuffle(holders)
        refs = {name: self._prepared.pop(name) for name in holders}
        self.stage.each(
            self._calls(holders), lambda call: self.caller.unprepare([refs[name] for name in call])
        )
        self.stage.end(names)
        for name in names:
            del self._tenants[name]

    # What there is on the node.

    def _check(self, claims: dict[str, Json]) -> None:
        load = load_of(claims.values())
        for pf in self.pfs:
            self._check_pf(pf, load, claims)
        nodes = Counter(node for ref in self._prepared.values() for node in self._nodes(ref))
        twice = [node for node, count in nodes.items() if count > 1]
        if twice:
            raise Impossible(f"containers of two claims have {twice}")

    def _check_pf(self, pf: Pf, load: Load, claims: dict[str, Json]) -> None:
        place, count = load.there.get(pf.name, (None, 0))
        folder = self.gpus.machine / f"sys/bus/pci/devices/{pf.address}"
        vfs = place.vfs if place else WHOLE
        machines = sum(
            place_of(result["device"]) == place and self._tenants[name].vfio
            for name, claim in claims.items()
            for result in results(claim)
        )
        functions = [folder / f"virtfn{number}" for number in range(vfs)] if vfs else [folder]
        drivers = [link.readlink().name for each in functions if (link := each / "driver").is_symlink()]
        found = (folder / "sriov_numvfs").read_text().strip(), len(drivers), _machines(drivers)
        wanted = str(vfs), count if vfs else 1, machines
        if found != wanted:
            raise Impossible(f"{pf.name} has {found}, not {wanted}: VFs, bound, on VFIO; for {load}")

    def _nodes(self, ref: ClaimRef) -> set[str]:
        """Name the device nodes that a claim's container has for itself."""
        specs = [json.loads(path.read_text()) for path in self.gpus.specs(ref.uid)]
        edits = [device["containerEdits"] for spec in specs for device in spec["devices"]]
        paths = {node["path"] for edit in edits for node in edit.get("deviceNodes", ())}
        mine = {path for path in paths if "/dri/" in path or path.startswith("/dev/vfio/devices/")}
        if not mine:
            raise Impossible(f"{ref} has nothing: {paths}")
        return mine


def _machines(drivers: Sequence[str]) -> int:
    return sum(driver.endswith("vfio-pci") for driver in drivers)


def _ref(claim: Json) -> ClaimRef:
    found = claim["metadata"]
    return ClaimRef(found["namespace"], found["name"], found["uid"])
