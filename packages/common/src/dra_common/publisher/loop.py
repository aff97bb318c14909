"""The publisher: one thread that makes the server say what was published last, and one that watches."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from dra_common.deadline import Deadline
from dra_common.errors import Conflict, DraError, Forbidden, Invalid, Throttled, Unauthorized
from dra_common.pacing import Backoff, Pacer
from dra_common.ports import ApiServer
from dra_common.publisher.drops import Dropped, Drops
from dra_common.publisher.session import Session, Synced, selector_of
from dra_common.publisher.status import PublisherStatus, Troubles
from dra_common.publisher.timing import Timing
from dra_common.publisher.watcher import Change, Watcher
from dra_common.readiness import ended
from dra_common.slices import SliceContent
from dra_common.telemetry import PUBLISH_ERRORS, SILENT, Reason, Telemetry

log = logging.getLogger(__name__)

_STALE_TRIES = 5
_CURE = (
    "allow the driver's ServiceAccount get, list, watch, create, update and delete of resourceslices "
    "and get of nodes, on its own node"
)


class Publisher:
    """Publishes the slices of one driver on one node, and repairs them.

    Of two instances of a driver on a node only one may be between :meth:`start` and :meth:`stop`: whatever decides
    which one (a lock, during an upgrade) calls these two. Stopping never deletes slices.

    Args:
        node: name of the Node object; also the pool's name.
        node_uid: looks up the Node's UID. Raises DraError while it cannot.
        drops: what was told of fields that the server does not store; None = nothing yet.
        on_dropped: told of each new set of fields that the server does not store as they are sent, in the publisher's
            thread: what made the slices can make them again without these features.
        on_back: told that the server may be another one by now: it is back after trouble, or a watch did not go on
            from one that ended as agreed. From any thread of this.
    """

    def __init__(  # noqa: PLR0913 - what it connects, wired once, in the composition root
        self,
        api: ApiServer,
        *,
        driver: str,
        node: str,
        node_uid: Callable[[], str],
        drops: Drops | None = None,
        on_dropped: Callable[[Dropped], None] | None = None,
        on_back: Callable[[], None] | None = None,
        timing: Timing | None = None,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._timing = timing or Timing()
        self._node, self._telemetry = node, telemetry
        self._on_dropped, self._on_back = on_dropped or _ignore, on_back or _ignore
        self._drops = drops or Drops(node, telemetry)
        self._troubles = Troubles()
        self._stopping = threading.Event()
        self._watcher = Watcher(
            api,
            selector_of(driver, node),
            on_change=self._note,
            on_gone=self._note_gone,
            on_back=self._on_back,
            is_known=self._troubles.knows,
            backoff=Backoff(self._timing.first, self._timing.most),
            pacer=Pacer(self._timing.burst, self._timing.every),
        )
        self._session = Session(
            api,
            driver=driver,
            node=node,
            node_uid=node_uid,
            on_listed=self._watcher.start_from,
            stopping=self._stopping,
            telemetry=telemetry,
        )
        self._backoff = Backoff(self._timing.first, self._timing.most)
        self._refusals = Backoff(self._timing.refused, self._timing.refused_most)
        self._accepted: tuple[SliceContent, ...] | None = None
        self._repairs = Pacer(self._timing.burst, self._timing.every)
        self._turns = Pacer(self._timing.burst, self._timing.changes)
        self._wake = threading.Condition()  # guards everything below
        self._changes: deque[Change] = deque()
        self._desired: tuple[SliceContent, ...] | None = None
        self._asked = False
        self._due: float | None = None
        self._not_before = 0.0
        self._status = PublisherStatus()
        self._refused = False
        self._threads = [
            threading.Thread(target=self.run, name="publisher", daemon=True),
            threading.Thread(target=self._watcher.run, name="publisher-watch", daemon=True),
        ]

    # ------------------------------------------------------------------ from any thread

    def publish(self, contents: Sequence[SliceContent]) -> None:
        """Make this the pool's content; returns at once. At least one slice, which may be empty."""
        if not contents:
            raise ValueError("a pool has at least one slice; an empty one says that the driver is alive")
        self._want(tuple(contents))

    def withdraw(self) -> None:
        """Delete all slices of this driver and node, for an uninstall; returns at once."""
        self._want(())

    def status(self) -> PublisherStatus:
        """Return where publishing stands now."""
        with self._wake:
            return self._status

    def start(self) -> None:
        """Start publishing, in threads. Called once."""
        for thread in self._threads:
            thread.start()

    def why_dead(self) -> str:
        """Return which of our threads has ended although nobody stopped it, ``""`` if none."""
        return ended(self._threads, stopped=self._stopping.is_set())

    def stop(self) -> None:
        """Write nothing more; a request that is under way is waited for, with a limit. Fine if called again."""
        self._stopping.set()
        self._watcher.stop()
        with self._wake:
            self._wake.notify_all()
        deadline = Deadline.after(self._timing.join)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(deadline.remaining)

    def _want(self, contents: tuple[SliceContent, ...]) -> None:
        with self._wake:
            if contents == self._desired:
                return
            if self._refused:
                self._forget_refusal()
            if self._due is None or not self._asked:
                due = time.monotonic() + self._turns.take()
                self._due = due if self._due is None else min(due, self._due)
            self._desired, self._asked = contents, True
            self._status = replace(self._status, synced=False)
            self._wake.notify_all()

    def _forget_refusal(self) -> None:
        self._refused, self._not_before = False, 0.0
        self._troubles.forget(Invalid)

    # ------------------------------------------------------------------ from the watcher's thread

    def _note(self, change: Change) -> None:
        with self._wake:
            self._changes.append(change)
            self._wake.notify_all()

    def _note_gone(self) -> None:
        with self._wake:
            self._look_after_accepted()
            self._due = self._due or time.monotonic()
            self._wake.notify_all()

    def _look_after_accepted(self) -> bool:
        """What was accepted before is repaired although a change that was refused has to wait; whether that is so."""
        waits = self._refused and self._accepted is not None and self._not_before > 0
        self._not_before = 0.0 if waits else self._not_before
        return waits

    # ------------------------------------------------------------------ the publisher's thread

    def run(self) -> None:
        """Publish and repair until :meth:`stop`; :meth:`start` calls this in a thread."""
        while (desired := self._next()) is not None:
            try:
                result = self._sync(desired)
            except Invalid as error:
                self._take_back(desired)
                self._failed(error, desired)
            except Exception as error:  # noqa: BLE001 - a dead thread would publish nothing any more
                self._failed(error, desired)
            else:
                self._succeeded(desired, result)

    def _next(self) -> tuple[SliceContent, ...] | None:
        """Wait until there is something to do; returns the contents wanted now, None = stop."""
        with self._wake:
            while not self._stopping.is_set():
                self._digest()
                pause = None if self._due is None else max(self._due, self._not_before) - time.monotonic()
                if pause is not None and pause <= 0 and self._desired is not None:
                    self._due = None
                    return self._desired
                self._wake.wait(pause)
        return None

    def _digest(self) -> None:
        """Look through the events; our own writes come back as events too and are no news."""
        news = [change for change in self._changes if self._session.is_news(change)]
        self._changes.clear()
        if not news:
            return
        self._status = replace(self._status, synced=False)
        if self._look_after_accepted():
            self._due = None
        if self._due is None:
            self._due = time.monotonic() + max(self._timing.settle, self._repairs.take())

    def _sync(self, desired: tuple[SliceContent, ...]) -> Synced:
        """One pass, and another one when somebody else wrote at the same time."""
        for _ in range(_STALE_TRIES - 1):
            try:
                return self._session.sync(desired)
            except Conflict:
                log.debug("the slices changed while they were written; reading them again")
        return self._session.sync(desired)

    def _take_back(self, refused: tuple[SliceContent, ...]) -> None:
        """Make the pool whole again with what was accepted last: half a change is no pool for a scheduler."""
        if self._accepted is None or self._accepted == refused:
            return
        try:
            self._sync(self._accepted)
        except Exception as error:  # noqa: BLE001 - the refusal is what has to be told
            log.debug("what was published before cannot be put back: %s", error)

    def _succeeded(self, desired: tuple[SliceContent, ...], result: Synced) -> None:
        if self._stopping.is_set():
            return  # the pass may have been cut short
        dropped = self._session.dropped
        # Before the status: who sees "synced" may rely on having been told.
        if dropped.fields and dropped.fields != self._status.dropped:
            self._drops.tell(dropped)
            self._on_dropped(dropped)
        self._accepted = desired
        with self._wake:
            self._status = PublisherStatus(
                desired == self._desired, result.generation, result.slices, dropped=dropped.fields
            )
            self._asked = desired != self._desired
            recovered = self._troubles.over()
            self._refused, self._not_before = False, 0.0
        self._backoff.reset()
        self._refusals.reset()
        if recovered:
            self._on_back()
        if result.writes or recovered:
            devices = sum(len(part.devices) for part in desired)
            log.info(
                "published: %d devices in %d slices, generation %d (%d writes)",
                devices, result.slices, result.generation, result.writes,
            )  # fmt: skip

    def _failed(self, error: Exception, desired: tuple[SliceContent, ...]) -> None:
        """Plan the next try, and say it once: a line for each kind of trouble until it is over, none for each try."""
        if self._stopping.is_set():
            return  # the connection was cut to stop us
        if isinstance(error, Forbidden | Unauthorized) and not error.cure:
            error.cure = _CURE
        self._telemetry.count(PUBLISH_ERRORS, error=type(error).__name__)
        text = str(error) if isinstance(error, DraError) else repr(error)
        with self._wake:
            self._due = self._due or time.monotonic()
            if isinstance(error, Invalid) and desired != self._desired:
                return  # other content is wanted by now
            self._not_before = time.monotonic() + self._pause(error)
            self._status = replace(self._status, synced=False, error=text)
            self._refused = isinstance(error, Invalid)
            news = self._troubles.is_new(error)
        if news:
            self._tell_failed(error, text)

    def _tell_failed(self, error: Exception, text: str) -> None:
        said = f"the ResourceSlices of node {self._node} are not published: {text}"
        log.error("%s", said, exc_info=None if isinstance(error, DraError) else error)
        if isinstance(error, Invalid):
            self._telemetry.event(Reason.SLICES_REFUSED, said)

    def _pause(self, error: Exception) -> float:
        if isinstance(error, Invalid):
            return self._refusals.next()
        pause = self._backoff.next()
        return max(pause, error.retry_after) if isinstance(error, Throttled) else pause


def _ignore(_dropped: Dropped | None = None) -> None:
    """Tell nobody."""
