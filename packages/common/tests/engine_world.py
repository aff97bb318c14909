"""What a node's claim engine has promised, and whether the disk, the hardware and a container runtime agree."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dra_common.errors import DraError
from dra_common.model import (
    ClaimRecord,
    ClaimRef,
    ContainerEdits,
    DeviceNode,
    Edits,
    Phase,
    PlannedDevice,
)
from dra_common.testing.bench import Bench, config, soon
from dra_common.testing.cdi import resolve
from dra_common.testing.knobs import MOST, Knob, KnobDriver

DEVICES = ("a", "b", "c")
"""Each taken whole, or looked at by an administrator."""
SHARED = "shared"
"""A device of which one claim has all, or several have shares, as long as they have any."""
SPLIT = "s"
"""A device that is given whole, or in 2 or 3 parts: as ``s-x2`` and ``s-x3``."""
ALL = (*DEVICES, SHARED, SPLIT)
_PARENT = f"parent-{SPLIT}"


class MoodyKnobs(KnobDriver):
    """Knobs of which some are ``watched``: their containers get a second CDI id.

    What a device is like decides about ids, as with a GPU that is rebound to another kernel driver.
    """

    def __init__(self) -> None:
        super().__init__()
        self.watched: set[str] = set()

    def edits(self, device: PlannedDevice, hardware: Knob, dev_root: str) -> Edits:
        edits = super().edits(device, hardware, dev_root)
        if hardware.name not in self.watched:
            return edits
        return {**edits, "spy": ContainerEdits(device_nodes=(DeviceNode("/dev/spy"),))}


@dataclass(frozen=True)
class Ask:
    """What one claim asks for. ``parts``: device and how it is used (``whole``, ``admin``, or a share id)."""

    parts: tuple[tuple[str, str], ...]
    level: int = 0

    @property
    def devices(self) -> frozenset[str]:
        return frozenset(device for device, _ in self.parts)

    @property
    def knobs(self) -> frozenset[str]:
        return frozenset(knob(device) for device in self.devices)

    @property
    def exclusive(self) -> frozenset[tuple[str, str]]:
        """What nobody else may have at the same time."""
        return frozenset(part for part in self.parts if part[1] != "admin")

    @property
    def whole(self) -> frozenset[str]:
        return frozenset(device for device, how in self.parts if how == "whole")

    def results(self) -> list[dict[str, Any]]:
        return [{"device": device, **_way(how)} for device, how in self.parts]


def knob(device: str) -> str:
    """Return the hardware of a device."""
    return device.partition("-x")[0]


def _way(how: str) -> dict[str, Any]:
    return {"whole": {}, "admin": {"adminAccess": True}}.get(how, {"shareID": how})


@dataclass
class Promise:
    """An answer that the kubelet has: it may have started containers with it."""

    ids: tuple[tuple[str, ...], ...]
    answer: object
    nature: frozenset[str]
    usable: bool = True


class World:
    """One node, two instances of the driver on its state, the claims that come and go, and what was promised."""

    def __init__(self, root: Path, asks: tuple[Ask, ...]) -> None:
        bench = Bench(root, ALL)
        bench.make_splittable(SPLIT)
        bench.driver = self.driver = MoodyKnobs()
        bench.start()
        self.instances = [bench, copy.copy(bench)]
        self.instances[1].start()
        for device in ALL:
            bench.knob(device).write_text(f"{self.base}\n")
        self.root, self.asks = root, asks
        self.promises: dict[str, Promise] = {}
        self.strange: set[str] = set()
        """Devices whose setting is nobody's record any more: plugged in anew, or their record was damaged."""
        self.refs = [self._claim(bench, number, ask) for number, ask in enumerate(asks)]

    @property
    def base(self) -> int:
        """What devices are set to when nobody has set them: another value in each boot."""
        return 1 + self.bench.boot % 2

    @property
    def bench(self) -> Bench:
        return self.instances[0]

    def _claim(self, bench: Bench, number: int, ask: Ask) -> ClaimRef:
        configs = [config(ask.level)] if ask.level else []
        return bench.claim(f"c{number}", *ask.results(), config=configs)

    def ref(self, number: int) -> ClaimRef:
        return self.refs[number % len(self.refs)]

    def ask(self, uid: str) -> Ask:
        return next(ask for ref, ask in zip(self.refs, self.asks, strict=True) if ref.uid == uid)

    # ------------------------------------------------------------------ what the kubelet and the operator do

    def prepare(self, number: int, instance: int = 0) -> None:
        """The kubelet's call; keeps the answer and compares it with the one before."""
        bench, ref = self.instances[instance], self.ref(number)
        promise, must, held = self.promises.get(ref.uid), self._must_succeed(ref), self._held(ref.uid)
        try:
            answer = bench.engine.prepare(ref, soon())
        except (DraError, RuntimeError) as error:
            self._check_refusal(error, must=must)
            if promise:
                promise.usable = False
            assert self.busy or self.driver.broken or self._held(ref.uid) <= held, (
                "refused, yet it took something"
            )
            return
        assert promise is None or answer == promise.answer, f"the answer changed from {promise} to {answer}"
        ids = tuple(device.cdi_ids for device in answer)
        assert [device.device for device in answer] == [device for device, _ in self.ask(ref.uid).parts]
        self.promises[ref.uid] = Promise(ids, answer, self._nature(ref.uid))

    def unprepare(self, number: int, instance: int = 0) -> None:
        """The kubelet's call: its containers are gone, nothing of the claim may stay."""
        bench, ref = self.instances[instance], self.ref(number)
        try:
            bench.engine.unprepare(ref, soon())
        except (DraError, RuntimeError) as error:
            self._check_refusal(error, must=False)
            self.forget(ref.uid)
            return
        self.promises.pop(ref.uid, None)
        assert not [name for name in bench.leftovers() if ref.uid in name]
        assert ref.uid not in bench.holds.holders().values()

    def recover(self, _number: int = 0, instance: int = 0) -> None:
        """What a process does at start."""
        try:
            done = self.instances[instance].recover()
        except DraError:
            return
        for uid in done.failed:
            if promise := self.promises.get(uid):
                promise.usable = False

    def forget(self, uid: str) -> None:
        """An unprepare that did not finish: nothing is promised any more, unless it has not come to write down that."""
        record = self.record(uid)
        if record is None or not record.answer or record.phase is Phase.UNPREPARING:
            self.promises.pop(uid, None)

    def _held(self, uid: str) -> set[tuple[str, str | None]]:
        return {key for key, holder in self.bench.holds.holders().items() if holder == uid}

    def _must_succeed(self, ref: ClaimRef) -> bool:
        ask, holders = self.ask(ref.uid), self.bench.holds.holders()
        taken = [
            holder
            for device, how in ask.exclusive
            for (held, share), holder in holders.items()
            if held == device and (how == "whole" or share in (None, how))
        ]
        promise = self.promises.get(ref.uid)
        return (
            not self.driver.broken
            and (self.bench.claims.down is None or self.bench.lifecycle.peek(ref.uid))
            and ask.level <= MOST
            and all(self.bench.knob(device).exists() for device in ask.knobs)
            and self._has_room(ref.uid, ask)
            and {*taken} <= {None, ref.uid}
            and (promise.nature == self._nature(ref.uid) if promise else not self._has_answer(ref.uid))
            and not any(isinstance(record, Exception) for record in self.records().values())
        )

    def _has_answer(self, uid: str) -> bool:
        """Whether something is promised that the kubelet was not told of: the disk failed after the last write."""
        record = self.record(uid)
        return record is not None and bool(record.answer)

    def _has_room(self, uid: str, ask: Ask) -> bool:
        """Whether nobody is in the way of a claim for the device that can be split."""
        wanted = [device for device in ask.devices if knob(device) == SPLIT]
        users = [(record.ref.uid, use) for record in self._current() for use in record.plan.uses]
        if not wanted:
            return True
        if not {*self._noted()} <= {uid, *(user for user, _ in users)}:
            return False  # somebody whose record is lost
        others = [use for user, use in users if user != uid]
        parts = int(wanted[0].partition("-x")[2] or 0)
        if others:
            return {use.mode for use in others} == {f"x{parts}"} and len(others) < parts
        return self.bench.split(SPLIT) == 0 or bool(users)

    def _noted(self) -> Collection[str]:
        """Who has the device that can be split, by its own file."""
        try:
            mode = self.bench.parents.load(_PARENT)
        except DraError:
            return ()
        return mode.holders if mode and mode.boot_id == self.bench.lifecycle.boot_id else ()

    def _check_refusal(self, error: Exception, *, must: bool) -> None:
        assert not must or self.busy, f"refused without a reason: {error}"
        assert isinstance(error, DraError) or any("bug" in name for name in self.driver.broken), repr(error)

    _mode_damaged = False
    """In this boot, what the device that can be split is used for was lost: a record is all that knows it."""

    busy = False
    """The other instance may be in the way, or the disk."""

    def _nature(self, uid: str) -> frozenset[str]:
        return self.ask(uid).devices & self.driver.watched

    # ------------------------------------------------------------------ what must hold, always

    def records(self) -> Mapping[str, ClaimRecord | Exception]:
        found: dict[str, ClaimRecord | Exception] = {}
        for uid in self.bench.records.uids():
            try:
                record = self.bench.records.load(uid)
            except DraError as error:
                found[uid] = error
            else:
                assert record
                found[uid] = record
        return found

    def record(self, uid: str) -> ClaimRecord | None:
        record = self.records().get(uid)
        return record if isinstance(record, ClaimRecord) else None

    def check_no_device_is_given_twice(self) -> None:
        owners: dict[tuple[str, str], str] = {}
        for uid in self.promises:
            for part in self.ask(uid).exclusive:
                assert part not in owners, f"{part} was given to {owners[part]} and to {uid}"
                owners[part] = uid
        for device, how in owners:
            uids = {uid for (other, _), uid in owners.items() if other == device}
            assert how != "whole" or len(uids) == 1, f"{device} was given whole and in shares to {uids}"
        uses = [
            use for record in self._current() for use in record.plan.uses if record.ref.uid in self.promises
        ]
        assert len({use.mode for use in uses}) <= 1, f"given in two modes at once: {uses}"
        assert len({use.part for use in uses}) == len(uses), f"a part was given twice: {uses}"

    def check_what_was_promised_is_on_record(self) -> None:
        for uid, promise in self.promises.items():
            record = self.record(uid)
            assert record, f"{uid} has an answer and no record"
            assert record.answer == promise.answer, f"{uid}: {record}"

    def check_records_name_only_what_is_held(self) -> None:
        holders = self.bench.holds.holders()
        for uid, record in self.records().items():
            if isinstance(record, ClaimRecord):
                for one in (planned.allocated for planned in record.plan.devices):
                    assert one.admin_access or holders.get((one.device, one.share_id)) == uid, one

    def check_what_was_returned_resolves(self) -> None:
        for uid, promise in self.promises.items():
            if promise.usable and promise.nature == self._nature(uid):
                ids = [name for names in promise.ids for name in names]
                nodes = set(resolve(ids, [self.root / "cdi"]).device_nodes) if ids else set()
                mine = {f"/dev/{device}" for device in self.ask(uid).knobs}
                assert mine <= nodes <= {*mine, "/dev/spy"}, f"{uid} gets {nodes}"

    def check_hardware_is_as_recorded(self) -> None:
        changed: dict[str, set[int]] = {}
        for record in self._current():
            for planned in record.plan.devices:
                if planned.undo:
                    sure = self.bench.lifecycle.is_current(record)
                    level, before = (int(str(planned.undo[name])) for name in ("level", "before"))
                    changed[planned.allocated.device] = {level} if sure else {level, before}
        for device in {*ALL} - self.strange:
            if self.bench.knob(device).exists():
                assert self.bench.level(device) in changed.get(device, {self.base}), f"{device}: {changed}"
        self._check_split()

    def _check_split(self) -> None:
        """The device is split as its claims need it, and whole without any."""
        users = [record for record in self._current() for use in record.plan.uses if use.after]
        wanted = {int(str(use.after)) for record in users for use in record.plan.uses}
        if not any(self.bench.lifecycle.is_current(record) for record in users):
            wanted.add(0)
        if SPLIT not in self.strange:
            assert self.bench.split(SPLIT) in wanted, f"{users}"

    def _current(self) -> list[ClaimRecord]:
        """The records of this boot."""
        boot_id = self.bench.lifecycle.boot_id
        records = (record for record in self.records().values() if isinstance(record, ClaimRecord))
        return [record for record in records if record.boot_id == boot_id]

    # ------------------------------------------------------------------ what befalls the node

    def unplug(self, device: str) -> None:
        self.bench.knob(device).unlink(missing_ok=True)
        self.strange.add(device)

    def plug_all(self) -> None:
        for device in ALL:
            if not self.bench.knob(device).exists():
                self.bench.knob(device).write_text(f"{self.base}\n")

    def damage(self, number: int, data: bytes) -> None:
        """Somebody wrote over a record; what it said to undo cannot be undone before the next boot."""
        ref = self.ref(number)
        path = self.root / f"state/claims/{ref.uid}.json"
        if path.exists() and not (SPLIT in self.ask(ref.uid).knobs and self._mode_damaged):
            path.write_bytes(data)
            self.strange |= self.ask(ref.uid).knobs
            self.promises.pop(ref.uid, None)

    def damage_mode(self, data: bytes) -> None:
        """Somebody wrote over what the device that can be split is used for; only good records can tell it again."""
        path = self.root / f"state/hardware/{_PARENT}.json"
        if path.exists() and SPLIT not in self.strange:
            path.write_bytes(data)
            self._mode_damaged = True

    def lose_specs(self) -> None:
        """Somebody empties the folder of the container runtime; the next answer has to resolve again."""
        for path in (self.root / "cdi").glob("*"):
            path.unlink()
        for promise in self.promises.values():
            promise.usable = False

    def reboot(self, *, power_cut: bool = False) -> None:
        """A power cut loses links that were not yet on the disk: nobody waits for them."""
        for link in (self.root / "state/held").rglob("*") if power_cut else ():
            if link.is_symlink():
                link.unlink()
        gone = [name for name in ALL if not self.bench.knob(name).exists()]
        self.bench.reboot()
        for name in {*ALL} - {*gone}:
            self.bench.knob(name).write_text(f"{self.base}\n")
        self.instances[1] = copy.copy(self.bench)
        self.instances[1].start()
        self.strange, self._mode_damaged = {*gone}, False
        for promise in self.promises.values():
            promise.usable = False

    def check_the_end(self) -> None:
        """Once the trouble is over everything can be unprepared, nothing stays, and every device can be given."""
        self.plug_all()
        for number, ref in enumerate(self.refs):
            self.unprepare(number)
            assert ref.uid not in self.promises
        self.recover()
        # What was set aside of hardware goes with the next claim that uses it.
        assert [name for name in self.bench.leftovers() if ".corrupt-" not in name] == []
        self.check_hardware_is_as_recorded()
        ref = self.bench.claim("last", *ALL, config=[config(3)])
        assert len(self.bench.engine.prepare(ref, soon())) == len(ALL)
        self.bench.engine.unprepare(ref, soon())
        assert self.bench.leftovers() == []
