"""While the driver serves: finishes what nobody else finishes, and removes claims that are certainly over.

.. code-block:: text

    record                               claim, as the API server says     what is done
    preparing, unpreparing, failed       not asked                         undone, as by the start
    prepared, of an earlier boot         gone, or another UID              removed: nothing of it can run
    prepared, of this boot               gone, or another UID              told once: its container may still run
    prepared                             there, or no definite answer      nothing; asked again, less and less often
    none, but a hold or file             not asked                         removed

Acts only on claims whose lock it can take at once, and only in the instance whose turn it is. What fails is tried again
after pauses that double.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from threading import Event, Thread
from typing import Any, Generic

from dra_common.deadline import Deadline
from dra_common.driver import H
from dra_common.errors import ClusterError, CorruptRecord, DraError, NewerRecord, NotFound
from dra_common.lifecycle import Lifecycle, State
from dra_common.log import bind
from dra_common.model import ClaimRecord, Phase
from dra_common.ports import ClaimReader, Locks
from dra_common.recovery import orphan_uids, remove_orphan
from dra_common.telemetry import GC_ACTIONS, SILENT, Reason, Telemetry

_log = logging.getLogger(__name__)

_LONGEST_PAUSE = 10
"""Periods between two looks at a claim that stays as it is."""
_PARENT_WAIT = _ANSWER_WAIT = 5.0
_JOIN_SECONDS = 5.0
_FIRST = 5.0
"""Seconds from the beginning of our turn to the first pass."""


class Verdict(Enum):
    """What is to be done about a record."""

    UNDO = "undone"
    REMOVE = "removed"
    TELL = "told"
    ASK = "asked"
    KEEP = "kept"


def judge(record: ClaimRecord, boot_id: str, *, gone: bool | None = None) -> Verdict:
    """Return what the rules say. ``gone`` is what the API server says of the claim, None as long as it is not asked."""
    if record.phase is not Phase.PREPARED:
        return Verdict.UNDO
    if gone is None:
        # An adopted claim has no name until the kubelet asks for it, and without one nobody can be asked about it.
        return Verdict.ASK if record.ref.is_named else Verdict.KEEP
    if not gone:
        return Verdict.KEEP
    return Verdict.TELL if record.boot_id == boot_id else Verdict.REMOVE


def is_gone(claim: Mapping[str, Any] | NotFound, uid: str) -> bool:
    """Whether an answer of the API server means that the claim with this UID is over, beyond doubt."""
    if isinstance(claim, NotFound):
        return claim.definite
    found = claim.get("metadata", {}).get("uid")
    return isinstance(found, str) and found not in ("", uid)


@dataclass(slots=True)
class _Pause:
    """When a claim, or the API server, is looked at next; ``about`` is what was found there, a change looks anew."""

    about: object = None
    times: int = 0
    until: float = 0.0
    said: str = ""

    def over(self, about: object, now: float) -> bool:
        if about != self.about:
            self.about, self.times, self.until = about, 0, 0.0
        return now >= self.until

    def again(self, period: float, now: float) -> None:
        self.until = now + period * min(2**self.times, _LONGEST_PAUSE)
        self.times = min(self.times + 1, 16)


@dataclass(slots=True)
class Collector(Generic[H]):
    """One pass each ``period`` seconds, in a thread of its own between :meth:`begin` and :meth:`end`.

    Implements :class:`dra_common.turn.Duty`.

    Args:
        lifecycle: the steps of one claim.
        state: what is on disk.
        locks: claim and parent locks.
        claims: how the API server is asked for a claim.
        period: seconds between two passes, and the shortest pause after a failure.
    """

    lifecycle: Lifecycle[H]
    state: State
    locks: Locks
    claims: ClaimReader
    telemetry: Telemetry = SILENT
    period: float = 60.0
    clock: Callable[[], float] = time.monotonic
    _pauses: dict[str, _Pause] = field(default_factory=dict, init=False)
    _server: _Pause = field(default_factory=_Pause, init=False)
    _trouble: str = field(default="", init=False)
    _stopping: Event = field(default_factory=Event, init=False)
    _thread: Thread | None = field(default=None, init=False)

    def begin(self) -> None:
        """Begin; the first pass comes soon: the instance before us may have been killed in the middle of something."""
        self._stopping.clear()
        self._thread = Thread(target=self._run, name="garbage", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End after the claim at hand; may be called again, or without a begin."""
        self._stopping.set()
        if self._thread:
            self._thread.join(_JOIN_SECONDS)

    def collect(self) -> None:
        """Look at everything once. Raises StateError only if the state folders cannot be listed."""
        # Lock files of calls come and go: to look at one that just went would make it again for a moment.
        orphans = sorted(orphan_uids(self.state, self.locks.abandoned_uids(), self.lifecycle.modes))
        uids = self.state.records.uids()
        self._pauses = {uid: self._pauses.get(uid, _Pause()) for uid in (*orphans, *uids)}
        for uid in orphans:
            with self._guarded(uid) as pause:
                self._sweep(uid, pause)
        for uid in uids:
            if self._stopping.is_set():
                return
            with self._guarded(uid) as pause:
                self._look(uid, pause)
        self.state.holds.tidy()

    def _run(self) -> None:
        pause = min(self.period, _FIRST)
        while not self._stopping.wait(pause):
            pause = self.period
            try:
                self.collect()
                self._trouble = ""
            except Exception as error:  # noqa: BLE001 - whatever it is, the next pass may work
                if str(error) != self._trouble:
                    _log.error("garbage collection: %s", error, exc_info=not isinstance(error, DraError))
                self._trouble = str(error)

    @contextmanager
    def _guarded(self, uid: str) -> Iterator[_Pause]:
        """One claim's trouble is told when it begins or changes, and stops no other claim."""
        pause = self._pauses[uid]
        with bind(uid=uid):
            try:
                yield pause
            except Exception as error:  # noqa: BLE001 - a defect of a driver: other claims are not to suffer
                pause.again(self.period, self.clock())
                if str(error) != pause.said:
                    _log.error("claim not collected: %s", error, exc_info=not isinstance(error, DraError))
                    self.telemetry.count(GC_ACTIONS, action="failed")
                    if isinstance(error, NewerRecord):
                        self.telemetry.event(Reason.RECORD_TOO_NEW, str(error))
                pause.said = str(error)

    def _sweep(self, uid: str, pause: _Pause) -> None:
        if not pause.over("orphan", self.clock()):
            return
        with self.locks.try_claim(uid) as locked:
            if not locked or not remove_orphan(self.lifecycle, self.locks, uid):
                return
        if pause.said != "orphan":  # it is there again at once: something that cannot be removed
            self._done("orphan", "removed what belongs to no claim")
        pause.said = "orphan"
        pause.again(self.period, self.clock())

    def _look(self, uid: str, pause: _Pause) -> None:
        try:
            record = self.state.records.load(uid)  # without its lock: a file is always whole
        except CorruptRecord:
            with self.locks.try_claim(uid) as locked:
                if locked:
                    self.lifecycle.load(uid)
            return
        if record is None or not pause.over((record.phase, record.boot_id), self.clock()):
            return
        with bind(claim=record.ref.full_name):
            verdict = self._judge(record)
            if verdict is Verdict.TELL:
                self._tell(record, pause)
            elif verdict in (Verdict.UNDO, Verdict.REMOVE):
                self._act(record, verdict)
            if verdict is not Verdict.ASK:
                pause.again(self.period, self.clock())

    def _judge(self, record: ClaimRecord) -> Verdict:
        verdict = judge(record, self.lifecycle.boot_id)
        if verdict is Verdict.ASK:
            return judge(record, self.lifecycle.boot_id, gone=self._ask(record))
        return verdict

    def _ask(self, record: ClaimRecord) -> bool | None:
        """Whether the claim is certainly over; a server that gives no answer is left alone for a while."""
        now = self.clock()
        if not record.ref.is_named or not self._server.over(None, now):
            return None
        try:
            gone = is_gone(self._read(record), record.ref.uid)
        except ClusterError as error:
            self._server.again(self.period, now)
            _log.debug("the API server does not say whether the claim is over: %s", error)
            return None
        self._server = _Pause()
        return gone

    def _read(self, record: ClaimRecord) -> Mapping[str, Any] | NotFound:
        try:
            return self.claims.read(record.ref, Deadline.after(2 * _ANSWER_WAIT))
        except NotFound as error:
            return error

    def _act(self, seen: ClaimRecord, verdict: Verdict) -> None:
        """Undo what was seen, if it is still so and nobody works on it."""
        uid = seen.ref.uid
        with self.locks.try_claim(uid) as locked:
            record = self.lifecycle.load(uid) if locked else None
            if record is None or (record != seen and verdict is Verdict.REMOVE):
                return
            if record.phase is Phase.PREPARED and verdict is Verdict.UNDO:
                return
            with self.locks.parents(record.plan.parents, Deadline.after(_PARENT_WAIT)):
                if verdict is Verdict.REMOVE:
                    self.lifecycle.undo(record)
                    self._done(
                        "removed", "removed: prepared in an earlier boot, and the API server has it no more"
                    )
                else:
                    self.lifecycle.settle(record)
                    self._done("undone", f"undone: it was {record.phase}, and nobody worked on it")
            if not self.lifecycle.is_known(uid):
                self.locks.forget_claim(uid)

    def _tell(self, record: ClaimRecord, pause: _Pause) -> None:
        text = (
            f"claim {record.ref} is prepared here, and the API server has it no more: its containers may still run"
            f" (when none does: `claims release {record.ref.uid}`)"
        )
        if pause.said != text:
            _log.warning("%s", text)
            self.telemetry.count(GC_ACTIONS, action="told")
            self.telemetry.event(Reason.CLAIM_GONE, text)
        pause.said = text

    def _done(self, action: str, what: str) -> None:
        _log.info("garbage: %s", what)
        self.telemetry.count(GC_ACTIONS, action=action)
