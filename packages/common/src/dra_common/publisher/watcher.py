"""A watch of this node's slices that never ends and never spins."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dra_common.errors import ClusterError, DraError, Gone, Throttled
from dra_common.pacing import Backoff, Pacer
from dra_common.ports import ApiServer, EventStream, WatchEvent
from dra_common.publisher.compare import digest
from dra_common.publisher.sync import SLICES

log = logging.getLogger(__name__)

_BREATH = 0.1
"""Seconds between a watch that ended as agreed and the next one."""

_AGREED = 240.0
"""Seconds that a watch lasts at least when nobody cuts it short: the client asks for so much, or more.

A kube-apiserver that is told to stop ends its watches in good order, too; behind a load balancer the next one is opened
at once, perhaps by a server of another version.
"""

_WORTH_TELLING = 2
"""Failures in a row, without an event between them."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a doorbell needs to know of an event."""

    name: str
    version: str
    deleted: bool
    digest: str = ""


class Watcher:
    """Reports changes since the version given to :meth:`start_from`, and asks for a new list when that is too old.

    Args:
        selector: field selector of the slices to watch.
        on_change: called for each event but bookmarks, in this thread.
        on_gone: called when a new list is needed; the answer is :meth:`start_from`.
        on_back: called when a watch is open, unless the one before it ended as agreed: the server may be another one
            than before. A change of it from here on cuts this watch.
        is_known: whether somebody told of this trouble already, who is to tell its end too.
        backoff: pauses after a watch that failed or gave nothing.
        pacer: how often a watch may begin, whatever became of those before.
        agreed: seconds that a watch lasts if nobody cuts it short.
    """

    def __init__(  # noqa: PLR0913 - what it connects, wired once, by the publisher
        self,
        api: ApiServer,
        selector: str,
        *,
        on_change: Callable[[Change], None],
        on_gone: Callable[[], None],
        on_back: Callable[[], object] = lambda: None,
        is_known: Callable[[Exception], bool] = lambda _error: False,
        backoff: Backoff,
        pacer: Pacer | None = None,
        agreed: float = _AGREED,
    ) -> None:
        self._api, self._query = api, {"fieldSelector": selector}
        self._on_change, self._on_gone, self._on_back = on_change, on_gone, on_back
        self._is_known = is_known
        self._backoff, self._pacer, self._agreed = backoff, pacer or Pacer(), agreed
        self._version = ""
        self._listed = threading.Condition()
        self._stopping = threading.Event()
        self._failures = 0
        self._told = False
        self._deaf = False
        self._unsure = True
        self._stream: EventStream | None = None

    def start_from(self, version: str) -> None:
        """Watch from this list on, unless a watch with a version of its own is going on."""
        with self._listed:
            if not self._version:
                self._version = version
                self._listed.notify_all()

    def stop(self) -> None:
        """Report nothing more and end :meth:`run`, from another thread."""
        self._stopping.set()
        if self._stream is not None:
            self._stream.close()
        with self._listed:
            self._listed.notify_all()

    def run(self) -> None:
        """Watch until :meth:`stop`."""
        self._pacer.take()  # for the first watch; each attempt then takes the turn of the next
        while self._wait_for_version():
            self._stopping.wait(self._attempt())

    def _attempt(self) -> float:
        """Follow one watch to its end; returns the pause before the next.

        A watch that gave nothing in no time counts as failed, and so does one that is too old again and again:
        either would otherwise become a loop at the speed of the network. So would watches that end after each event,
        which the pacer slows down.
        """
        return max(self._end_of_watch(), self._pacer.take())

    def _end_of_watch(self) -> float:
        try:
            if self._follow():
                return _BREATH
        except Gone:
            self._relist()
        except Throttled as error:
            self._report(error)
            return max(error.retry_after, self._backoff.next())
        except ClusterError as error:
            self._report(error)
            if error.status or self._deaf:
                # It may never give us a watch (RBAC), or not from this version (restored from a backup, its versions
                # began anew), or a proxy keeps the events to itself: the list finds what a watch would have told.
                self._relist()
        except Exception as error:  # noqa: BLE001 - a dead thread would hear of nothing any more
            self._report(error)
        return self._backoff.next()

    def _follow(self) -> bool:
        """Take the events of one watch; returns whether it was of any use."""
        heard, self._deaf, began = False, False, time.monotonic()
        unsure, self._unsure = self._unsure, True
        self._stream = self._api.watch(SLICES, query=self._query, resource_version=self._version)
        try:
            with self._stream as events:
                if unsure:
                    self._on_back()
                # Asked after the request is under way: from here on stop() can end it.
                for event in () if self._stopping.is_set() else events:
                    if self._stopping.is_set():
                        break
                    heard = True
                    self._take(event)
            self._unsure = time.monotonic() - began < self._agreed
        finally:
            lasted = time.monotonic() - began > self._backoff.most
            self._deaf = lasted and not heard
        return heard or lasted

    def _take(self, event: WatchEvent) -> None:
        metadata = event.object["metadata"]
        self._version = metadata["resourceVersion"]
        self._backoff.reset()
        self._failures = 0
        if self._told:
            self._told = False
            log.info("the watch of ResourceSlices is back")
        if event.type != "BOOKMARK":
            deleted = event.type == "DELETED"
            self._on_change(Change(metadata["name"], self._version, deleted, digest(event.object)))

    def _wait_for_version(self) -> bool:
        with self._listed:
            self._listed.wait_for(lambda: self._version or self._stopping.is_set())
        return not self._stopping.is_set()

    def _relist(self) -> None:
        with self._listed:
            self._version = ""
        self._on_gone()

    def _report(self, error: Exception) -> None:
        """Say that the watch is lost, once, if it was not just cut: load balancers and upgrades do that all day."""
        self._failures += 1
        ours = not isinstance(error, DraError)
        if self._told or self._stopping.is_set() or self._is_known(error):
            return
        if self._failures < _WORTH_TELLING and not ours:
            return
        self._told = True
        text, traceback = (repr(error), error) if ours else (str(error), None)
        log.warning("the watch of ResourceSlices is lost, it is tried again: %s", text, exc_info=traceback)
