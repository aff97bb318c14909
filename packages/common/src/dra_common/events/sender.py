"""The thread that writes Events; whoever has something to tell never waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import Any, Final

from dra_common.errors import ClusterError, Conflict, Forbidden, Invalid, NotFound, Throttled
from dra_common.events.objects import EVENTS_PATH, new_event, with_more
from dra_common.events.waiting import Limits, Occurrence, Waiting
from dra_common.ports import ApiServer
from dra_common.telemetry import EVENTS, SILENT, Counts, Reason

_log = logging.getLogger(__name__)

_REMEMBERED: Final = 64
"""Events written lately, whose series can be counted on."""
_JOIN_SECONDS: Final = 1.0


class Events:
    """Writes Events on the Node object; implements :class:`dra_common.telemetry.Tells`.

    Best effort: what the API server will not take is dropped, what it cannot take now waits, within limits. Without the
    right to create Events one line says so, and nothing is sent until the next start.

    Args:
        driver: reports them, ``gpu.intel.com``.
        node: name of the Node object.
        counts: is told what became of each.
    """

    def __init__(
        self,
        api: ApiServer,
        driver: str,
        node: str,
        *,
        counts: Counts = SILENT,
        limits: Limits | None = None,
    ) -> None:
        self._api, self._driver, self._node, self._counts = api, driver, node, counts
        self._limits = limits or Limits()
        self._wake = threading.Condition()  # guards the next two
        self._waiting = Waiting(self._limits)
        self._off = False
        self._written: OrderedDict[tuple[Reason, str], tuple[float, dict[str, Any]]] = OrderedDict()
        self._pause = self._limits.retry
        self._told = False
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        """Begin to write, also what was told before. Called once."""
        self._thread.start()

    def stop(self) -> None:
        """Write nothing more; what waits is dropped. Fine if called again."""
        with self._wake:
            self._off = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def event(self, reason: Reason, note: str) -> None:
        """Tell the cluster, some time. Never blocks, never raises."""
        with self._wake:
            if not self._off:
                self._waiting.add(reason, note)
                self._wake.notify_all()

    def _run(self) -> None:
        while (occurrence := self._next()) is not None:
            try:
                self._write(occurrence)
                self._done("written")
            except Forbidden as error:
                self._give_up(error)
            except (Conflict, Invalid, NotFound) as error:
                self._drop(error)
            except ClusterError as error:
                self._again(occurrence, error)
            except Exception:  # noqa: BLE001 - a defect of ours must not cost the Events to come
                _log.exception("an Event was not written")

    def _next(self) -> Occurrence | None:
        with self._wake:
            while not self._off:
                occurrence = self._waiting.take()
                if occurrence is not None:
                    return occurrence
                self._wake.wait(self._waiting.pause())
        return None

    def _write(self, occurrence: Occurrence) -> None:
        """Count the same Event on, or write a new one. Raises ClusterError."""
        key = (occurrence.reason, occurrence.note)
        at, known = self._written.pop(key, (0.0, {}))
        now = time.monotonic()
        stored = self._count_on(known, occurrence) if known and now - at < self._limits.series else None
        if stored is None:
            body = new_event(occurrence, driver=self._driver, node=self._node, number=time.time_ns())
            stored, at = self._api.create(EVENTS_PATH, body), now
        self._written[key] = (at, stored)
        while len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)

    def _count_on(self, known: dict[str, Any], occurrence: Occurrence) -> dict[str, Any] | None:
        """PUT the Event with a longer series; None if it is gone or was changed by somebody."""
        try:
            return self._api.replace(
                f"{EVENTS_PATH}/{known['metadata']['name']}", with_more(known, occurrence)
            )
        except (NotFound, Conflict):
            return None

    # ------------------------------------------------------------------ what became of it

    def _done(self, result: str) -> None:
        self._counts.count(EVENTS, result=result)
        self._pause = self._limits.retry
        self._told = False

    def _give_up(self, error: ClusterError) -> None:
        _log.info("no Events are written until the next start: %s", error)
        self._counts.count(EVENTS, result="dropped")
        with self._wake:
            self._off = True

    def _drop(self, error: ClusterError) -> None:
        self._counts.count(EVENTS, result="dropped")
        self._tell("an Event was dropped: %s", error)

    def _again(self, occurrence: Occurrence, error: ClusterError) -> None:
        """Let it wait with the others; the API server gets a rest."""
        self._counts.count(EVENTS, result="failed")
        self._tell("Events wait for the API server: %s", error)
        with self._wake:
            self._waiting.add(
                occurrence.reason, occurrence.note, count=occurrence.count, last=occurrence.last
            )
            pause = max(self._pause, error.retry_after) if isinstance(error, Throttled) else self._pause
            until = time.monotonic() + pause
            while not self._off and (left := until - time.monotonic()) > 0:
                self._wake.wait(left)
        self._pause = min(2 * self._pause, self._limits.retry_most)

    def _tell(self, text: str, error: ClusterError) -> None:
        """Log the first of a row of troubles; the others are debug lines."""
        _log.log(logging.DEBUG if self._told else logging.INFO, text, error)
        self._told = True
