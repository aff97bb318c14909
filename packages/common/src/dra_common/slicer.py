"""Turns snapshots into slices that this API server understands, as soon as it is known what that is."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Collection, Sequence

from dra_common.errors import ClusterError, SliceError, Throttled
from dra_common.model import Snapshot
from dra_common.pacing import Backoff
from dra_common.publisher.status import Troubles
from dra_common.slices import (
    COSTS,
    GATES,
    FeatureName,
    ServerFeatures,
    SliceContent,
    Withdrawn,
    to_slices,
)
from dra_common.telemetry import PUBLISH_ERRORS, SILENT, Reason, Telemetry

_log = logging.getLogger(__name__)

_HOUR = 3600.0
"""Seconds from one look at the server to the next; shortened by up to a tenth, so that nodes do not come in step."""

Probe = Callable[[Collection[FeatureName]], Collection[FeatureName]]
"""Returns those of some features that the server has off. Raises ClusterError if it cannot be told."""


class Slicer:
    """Between the reconciler, which knows the devices, and the publisher, which knows the server.

    The server is looked at before anything is published, each hour, and when it may be another one, as after trouble: a
    control plane may have been upgraded, or rolled back, and its feature gates set otherwise.

    Args:
        publish: takes the contents of all slices; returns at once.
        version: asks the server for its (major, minor) version. Raises ClusterError.
        probe: asks the server for its feature gates, without leaving anything there.
        off: features that are never used, by a setting.
        every: seconds between two looks at the server.
    """

    def __init__(
        self,
        driver: str,
        *,
        publish: Callable[[Sequence[SliceContent]], None],
        version: Callable[[], tuple[int, int]],
        probe: Probe = lambda _features: (),
        off: Collection[FeatureName] = (),
        every: float = _HOUR,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._driver, self._publish, self._version, self._probe = driver, publish, version, probe
        self._forced, self._every, self._telemetry = tuple(off), every, telemetry
        self._lock = threading.Lock()  # guards all that is made
        self._snapshot: Snapshot | None = None
        self._server: ServerFeatures | None = None
        self._learned = frozenset[FeatureName]()
        self._dropped = frozenset[FeatureName]()
        self._withdrawn: tuple[Withdrawn, ...] = ()
        self._broken = ""
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._backoff, self._troubles = Backoff(), Troubles()
        self._thread = threading.Thread(target=self._watch_server, name="server-version", daemon=True)

    def start(self) -> None:
        """Begin to ask for the server's version; until it is known nothing is published. Called once."""
        for feature in self._forced:
            _log.info("not used in ResourceSlices, as set: %s; %s", GATES[feature], COSTS[feature])
        self._thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._stopping.set()
        self._wake.set()

    def look_again(self) -> None:
        """The server may be another one by now: look at it soon. Returns at once; from any thread."""
        self._wake.set()

    def take(self, snapshot: Snapshot) -> None:
        """Publish this snapshot from now on; one that is older than what was taken before changes nothing.

        Looks at the machine and changes of health come from two threads, and may overtake one another on the way here.
        """
        with self._lock:
            if self._snapshot is None or snapshot.generation >= self._snapshot.generation:
                self._snapshot = snapshot
                self._make()

    def without(self, features: Collection[FeatureName]) -> None:
        """The server turned out to lack ``features``: make the slices again, safely, without them."""
        with self._lock:
            self._dropped |= frozenset(features)
            if not self._learned.issuperset(features):
                self._learned |= frozenset(features)
                self._make()

    # ------------------------------------------------------------------ slices

    def _make(self) -> None:
        if self._snapshot is None or self._server is None:
            return
        features = self._server.without(*self._learned)
        try:
            slices = to_slices(self._snapshot, driver=self._driver, features=features)
        except SliceError as error:
            self._tell_broken(error)
            return
        if self._broken:
            _log.info("the slices can be made again")
        self._broken = ""
        for one in slices.withdrawn:
            if one not in self._withdrawn:
                _log.warning("%s", one)
        self._withdrawn = slices.withdrawn
        self._publish(slices.contents)

    def _tell_broken(self, error: SliceError) -> None:
        said = f"the slices published before stay: {error}"
        if said == self._broken:
            return
        self._broken = said
        _log.error("%s", said)
        self._telemetry.count(PUBLISH_ERRORS, error=type(error).__name__)
        self._telemetry.event(Reason.SLICES_REFUSED, said)

    # ------------------------------------------------------------------ the server

    def _watch_server(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._look()
                self._backoff.reset()
                self._troubles.over()
                pause = self._every * random.uniform(0.9, 1.0)  # noqa: S311 - spreads load, guards nothing
            except Exception as error:  # noqa: BLE001 - a dead thread might leave the node unpublished for ever
                pause = self._failed(error)
            self._wake.wait(pause)

    def _look(self) -> None:
        """Learn what the server is now, and make the slices anew if that changed."""
        version = self._version()
        before = self._server
        server = ServerFeatures.of(version).without(*self._forced)
        is_new = before is None or before.version != server.version
        if is_new:
            _log.info("the API server is Kubernetes %d.%d", *version)
        asked = server.on if is_new else self._learned & server.on
        off = self._ask(asked)
        with self._lock:
            # What was dropped while the answer was on its way counts for more than the answer.
            learned = (self._learned - asked) | off | self._dropped
            changed = is_new or learned != self._learned
            self._server, self._learned = server, learned
            if changed:
                self._make()

    def _ask(self, features: frozenset[FeatureName]) -> frozenset[FeatureName]:
        """Return which of these are off; what cannot be told stays as it was."""
        with self._lock:
            self._dropped = frozenset()
        try:
            return frozenset(self._probe(features))
        except ClusterError as error:
            _log.debug("the server does not tell its features, they show when slices are written: %s", error)
            return self._learned & features

    def _failed(self, error: Exception) -> float:
        """Plan the next try. Once something is published, the publisher tells of an outage, not this."""
        foreseen = isinstance(error, ClusterError)
        if self._troubles.is_new(error) and (self._server is None or not foreseen):
            text, traceback = (str(error), None) if foreseen else (repr(error), error)
            said = "nothing is published until the API server tells its version: %s"
            _log.warning(said, text, exc_info=traceback)
        pause = self._backoff.next()
        return max(pause, error.retry_after) if isinstance(error, Throttled) else pause
