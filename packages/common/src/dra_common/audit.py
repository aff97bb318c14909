"""What is on disk, held against itself: records, holds, CDI files, and what should not be there.

Everything is looked at without a lock first, since every file is whole in itself. What then looks wrong is looked at
again with the claim's lock shared: nobody works on it, so it *is* wrong. Nothing is changed before ``Finding.mend``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Generic

from dra_common.driver import H
from dra_common.errors import CorruptRecord, DeviceHeld, DraError, NewerRecord, StateError
from dra_common.lifecycle import Lifecycle, State
from dra_common.model import ClaimRecord, Phase, is_uid
from dra_common.ports import Locks
from dra_common.recovery import remove_orphan

Key = tuple[str, str | None]
"""Device and share id."""


class Kind(StrEnum):
    """What is wrong; these words are for tools, too."""

    CORRUPT_RECORD = "corrupt-record"
    NEWER_RECORD = "newer-record"
    UNREADABLE = "unreadable"
    SET_ASIDE = "set-aside"
    UNFINISHED_CLAIM = "unfinished-claim"
    HOLD_MISSING = "hold-missing"
    HOLD_TAKEN = "hold-taken"
    HOLD_UNFOUNDED = "hold-unfounded"
    CDI_MISSING = "cdi-missing"
    CDI_WRONG = "cdi-wrong"
    CDI_STALE = "cdi-stale"
    CDI_UNKNOWN = "cdi-unknown"
    ORPHAN = "orphan"
    TEMPORARY = "temporary"
    STRAY = "stray"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Args:
        kind: what is wrong.
        uid: the claim, empty where it concerns none.
        text: the same for people, naming the file or device.
        cure: what to do about it.
        mend: puts it right under the claim's lock, or raises DraError; None where that is not for a program to do.
    """

    kind: Kind
    uid: str
    text: str
    cure: str
    mend: Callable[[], object] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Report:
    """``claims`` is the number of records; ``busy`` are claims that somebody works on, of which nothing is said."""

    claims: int
    findings: tuple[Finding, ...] = ()
    busy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the folders list, at one moment."""

    records: frozenset[str]
    aside: frozenset[str]
    holders: Mapping[Key, str]
    specs: frozenset[str]
    shared: frozenset[str]
    unfinished_specs: frozenset[str]
    unfinished: frozenset[str]
    locks: frozenset[str]
    modes: frozenset[str]

    def uids(self) -> frozenset[str]:
        """Everybody who is named anywhere."""
        holders = frozenset(self.holders.values())
        left = self.specs | self.shared | self.unfinished_specs | self.unfinished | self.locks | self.modes
        return self.records | self.aside | holders | left

    def belongs_to_nobody(self, uid: str) -> bool:
        """Whether there is no record of this claim, good or bad."""
        return uid not in self.records and uid not in self.aside


@dataclass(frozen=True, slots=True)
class Audit(Generic[H]):
    """Looks; what it finds can be mended one by one."""

    lifecycle: Lifecycle[H]
    state: State
    locks: Locks

    def run(self) -> Report:
        """Look at everything. Raises StateError only if the folders cannot be listed."""
        seen = self.seen()
        suspects = [uid for uid in sorted(seen.uids()) if any(self.look(uid, seen))]
        findings, busy = [*self._strays(), *self.look("", seen)], list[str]()
        for uid in suspects:
            found = self._certain(uid)
            findings.extend(found or ())
            if found is None:
                busy.append(uid)
        return Report(len(seen.records), tuple(findings), tuple(busy))

    def _certain(self, uid: str) -> tuple[Finding, ...] | None:
        """Look again while nobody works on the claim; None if somebody always does."""
        try:
            for _ in range(_LOOKS):
                with self._shared(uid) as undisturbed:
                    found = tuple(self.look(uid))
                    # Between two calls a claim has no lock to share: what is really wrong is so twice.
                    if undisturbed() and found == tuple(self.look(uid)) and undisturbed():
                        return found
        except StateError as error:
            return (Finding(Kind.UNREADABLE, uid, error.message, error.cure),)
        return None

    def seen(self) -> _Seen:
        """List everything. Raises StateError."""
        records, specs = self.state.records, self.state.specs
        return _Seen(
            # Holds and files first: a record is made before them and goes after them in no order that matters here,
            # and what changes between two lists is looked at again.
            holders=self.state.holds.holders(),
            specs=specs.uids(),
            shared=self.state.shared.uids(),
            unfinished_specs=specs.unfinished_uids(),
            unfinished=records.unfinished_uids(),
            locks=self.locks.abandoned_uids(),
            modes=self.lifecycle.modes.holders(),
            records=frozenset(records.uids()),
            aside=records.set_aside_uids(),
        )

    def look(self, uid: str, seen: _Seen | None = None) -> Iterator[Finding]:
        """Say what is wrong with one claim, or with what is no claim's (an empty ``uid``).

        Raises StateError only if the folders cannot be listed.
        """
        seen = seen or self.seen()
        if not uid:
            yield from self._emptied()
        elif not is_uid(uid):
            yield from self._not_a_claim(uid, seen)
        elif seen.belongs_to_nobody(uid):
            yield from self._orphan(uid, seen)
        else:
            yield from self._temporary(uid, seen)
            yield from self._set_aside(uid, seen)
            if uid in seen.records:
                yield from self._record(uid, seen)

    def _record(self, uid: str, seen: _Seen) -> Iterator[Finding]:
        try:
            record = self.state.records.load(uid)
        except CorruptRecord as error:
            cure = "`claims repair` sets it aside; its devices stay held until its pod is deleted"
            yield Finding(
                Kind.CORRUPT_RECORD, uid, error.message, cure, partial(self.state.records.set_aside, uid)
            )
        except NewerRecord as error:
            yield Finding(Kind.NEWER_RECORD, uid, error.message, error.cure)
        except StateError as error:
            yield Finding(Kind.UNREADABLE, uid, error.message, error.cure)
        else:
            if record is not None:
                yield from self._claim(record, seen)

    def _claim(self, record: ClaimRecord, seen: _Seen) -> Iterator[Finding]:
        if record.phase is not Phase.PREPARED:
            why = f": {record.error}" if record.error else ""
            text = f"claim {record.ref} is {record.phase}{why}"
            cure = "a running driver undoes it by itself; `claims release` does it now"
            yield Finding(Kind.UNFINISHED_CLAIM, record.ref.uid, text, cure)
        yield from self._holds(record, seen)
        if record.phase is Phase.PREPARED:
            yield from self._specs(record, seen)

    # ------------------------------------------------------------------ holds

    def _holds(self, record: ClaimRecord, seen: _Seen) -> Iterator[Finding]:
        uid, wanted = record.ref.uid, held_by(record)
        for key in wanted:
            holder = seen.holders.get(key) or _in_the_way(key, seen.holders)
            if holder is None or (holder != uid and (not is_uid(holder) or seen.belongs_to_nobody(holder))):
                text = f"device {_shown(key)} of claim {record.ref} is not held"
                yield Finding(Kind.HOLD_MISSING, uid, text, _REPAIR, partial(self._take, key, record))
            elif holder != uid:
                text = f"device {_shown(key)} of claim {record.ref} is held by claim with uid {holder}"
                cure = "both claims have it: delete the pod of one of them, then run `claims repair`"
                yield Finding(Kind.HOLD_TAKEN, uid, text, cure)
        for key in sorted((key for key, holder in seen.holders.items() if holder == uid), key=_shown):
            if key not in wanted:
                text = f"device {_shown(key)} is held by claim {record.ref}, whose record does not have it"
                mend = partial(self.state.holds.release, *key, uid)
                yield Finding(Kind.HOLD_UNFOUNDED, uid, text, _REPAIR, mend)

    def _take(self, key: Key, record: ClaimRecord) -> None:
        holder = self.state.holds.take(*key, record.ref.uid)
        if holder != record.ref.uid:
            msg = f"device {_shown(key)} is held by claim with uid {holder}"
            raise DeviceHeld(
                msg, cure="run `claims repair` again, or delete the pod of one of the two claims"
            )

    # ------------------------------------------------------------------ CDI files

    def _specs(self, record: ClaimRecord, seen: _Seen) -> Iterator[Finding]:
        uid = record.ref.uid
        if not self.lifecycle.is_current(record):
            if uid in seen.specs:
                text = f"claim {record.ref} was prepared in an earlier boot and has a CDI file of then"
                yield Finding(Kind.CDI_STALE, uid, text, _REPAIR, partial(self.state.specs.delete, uid))
            return
        try:
            missing, wrong = self.lifecycle.compare_specs(record)
        except DraError as error:
            text = f"the CDI files of claim {record.ref} cannot be compared: {error.message}"
            yield Finding(Kind.CDI_UNKNOWN, uid, text, error.cure)
            return
        for kind, ids, what in (
            (Kind.CDI_MISSING, missing, "is missing"),
            (Kind.CDI_WRONG, wrong, "is not right"),
        ):
            for name in ids:
                text = f"claim {record.ref}: CDI {name} {what}"
                yield Finding(kind, uid, text, _REPAIR, partial(self.lifecycle.keep, record))

    # ------------------------------------------------------------------ what should not be there

    def _set_aside(self, uid: str, seen: _Seen) -> Iterator[Finding]:
        if uid not in seen.aside:
            return
        for name, found in self.state.records.read_set_aside(uid).items():
            cure = "it is removed when the claim is unprepared: delete its pod, or `claims release` it"
            mend: Callable[[], object] | None = None
            text = f"the claim's record was set aside as {name}"
            if isinstance(found, ClaimRecord) and uid not in seen.records:
                text, cure = f"{text}, and it can be read now", _REPAIR
                mend = partial(self._restore, name, found)
            yield Finding(Kind.SET_ASIDE, uid, text, cure, mend)

    def _restore(self, name: str, record: ClaimRecord) -> None:
        """Put a record back, unless another one came back before it, or somebody else has its devices now."""
        if self.lifecycle.is_known(record.ref.uid):
            return
        for key in held_by(record):
            self._take(key, record)
        self.state.records.restore(record.ref.uid, name)

    def _temporary(self, uid: str, seen: _Seen) -> Iterator[Finding]:
        if uid in seen.unfinished:
            text = "an unfinished record was left by a process that was killed"
            yield Finding(
                Kind.TEMPORARY, uid, text, _REPAIR, partial(self.state.records.drop_unfinished, uid)
            )
        if uid in seen.unfinished_specs:
            text = "an unfinished CDI file was left by a process that was killed"
            yield Finding(Kind.TEMPORARY, uid, text, _REPAIR, partial(self.state.specs.drop_unfinished, uid))

    def _orphan(self, uid: str, seen: _Seen) -> Iterator[Finding]:
        if uid in seen.modes:
            parents = ", ".join(self.lifecycle.modes.used_by(uid))
            text = f"hardware {parents} is set for a claim that this node does not know"
            yield Finding(Kind.ORPHAN, uid, text, "start the driver: it gives the hardware back")
            return
        held = sorted(_shown(key) for key, holder in seen.holders.items() if holder == uid)
        left = [f"device {name} is held" for name in held]
        left += ["there is a CDI file"] if uid in seen.specs | seen.unfinished_specs else []
        left += ["CDI ids of another driver are kept"] if uid in seen.shared else []
        left += ["there is an unfinished record"] if uid in seen.unfinished else []
        left = left or (["there is a lock file"] if uid in seen.locks else [])
        for what in left:
            text = f"{what} for a claim that this node does not know"
            yield Finding(
                Kind.ORPHAN, uid, text, _REPAIR, partial(remove_orphan, self.lifecycle, self.locks, uid)
            )

    def _not_a_claim(self, uid: str, seen: _Seen) -> Iterator[Finding]:
        for key in (key for key, holder in seen.holders.items() if holder == uid):
            text = f"device {_shown(key)} is held by {uid!r}, which is no claim's UID"
            yield Finding(Kind.ORPHAN, uid, text, _REPAIR, partial(self.state.holds.release, *key, uid))

    def _strays(self) -> Iterator[Finding]:
        for path in (*self.state.records.strays(), *self.state.holds.strays()):
            cure = "this driver never reads it: move it away"
            yield Finding(Kind.STRAY, "", f"{path} is not a file of this driver", cure)

    def _emptied(self) -> Iterator[Finding]:
        for device in self.state.holds.emptied():
            text = f"device {device} has a folder of shares and no share"
            yield Finding(Kind.TEMPORARY, "", text, _REPAIR, self.state.holds.tidy)

    @contextmanager
    def _shared(self, uid: str) -> Iterator[Callable[[], bool]]:
        if not is_uid(uid):
            yield lambda: True
            return
        with self.locks.try_shared(uid) as undisturbed:
            yield undisturbed


_LOOKS = 3
_REPAIR = "`claims repair`"


def held_by(record: ClaimRecord) -> tuple[Key, ...]:
    """Return what a claim has to hold: all its devices but those that an administrator only looks at."""
    allocated = (planned.allocated for planned in record.plan.devices)
    return tuple((each.device, each.share_id) for each in allocated if not each.admin_access)


def _in_the_way(key: Key, holders: Mapping[Key, str]) -> str | None:
    """Return who has a device whole of which this is a share, or a share of a device that is wanted whole."""
    device, share = key
    others = (uid for (name, part), uid in holders.items() if name == device and (part is None or not share))
    return next(others, None)


def _shown(key: Key) -> str:
    return f"{key[0]}@{key[1]}" if key[1] else key[0]
