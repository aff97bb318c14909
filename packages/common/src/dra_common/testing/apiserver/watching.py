"""The lines of one watch."""

from __future__ import annotations

import time
from collections.abc import Iterator

from dra_common.testing.apiserver.resources import Json, Target
from dra_common.testing.apiserver.selectors import Selector
from dra_common.testing.apiserver.store import Change, Store, Subscription

_TICK = 0.1
"""Seconds after which a watch with nothing to say looks up."""


class WatchLines:
    """Turns changes into ADDED, MODIFIED, DELETED and BOOKMARK lines for one selector."""

    def __init__(self, store: Store, target: Target, selector: Selector, subscription: Subscription) -> None:
        self._store = store
        self._target = target
        self._selector = selector
        self._subscription = subscription

    def lines(self, *, timeout: float, bookmarks: float | None) -> Iterator[Json | None]:
        """Yield lines for ``timeout`` seconds, with a bookmark each ``bookmarks`` seconds and one at the end."""
        end = time.monotonic() + timeout
        next_bookmark = time.monotonic() + (bookmarks or 0)
        while (now := time.monotonic()) < end:
            yield from self._ready()
            if bookmarks is not None and (now >= next_bookmark or self._asked()):
                next_bookmark = now + bookmarks
                yield self._bookmark()
            yield None
            self._wait(min(_TICK, end - now))
        if bookmarks is not None:
            yield self._bookmark()

    def _ready(self) -> Iterator[Json]:
        while self._subscription.pending:
            change = self._subscription.pending.popleft()
            self._subscription.version = change.version
            line = self._line(change)
            if line is not None:
                yield line

    def _line(self, change: Change) -> Json | None:
        """Return the event as this selector sees it: an object that leaves the selection is DELETED for it."""
        if self._target.namespace and change.object["metadata"].get("namespace") != self._target.namespace:
            return None
        before = self._selector.matches(change.previous)
        after = self._selector.matches(change.object) and change.type != "DELETED"
        if after:
            return {"type": "MODIFIED" if before else "ADDED", "object": change.object}
        return {"type": "DELETED", "object": change.object} if before else None

    def _asked(self) -> bool:
        asked, self._subscription.bookmark_due = self._subscription.bookmark_due, False
        return asked

    def _bookmark(self) -> Json:
        resource = self._target.resource
        with self._store.changed:
            caught_up = not self._subscription.pending
            version = self._store.version if caught_up else self._subscription.version
        metadata = {"resourceVersion": str(version), "creationTimestamp": None}
        return {
            "type": "BOOKMARK",
            "object": {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata},
        }

    def _wait(self, seconds: float) -> None:
        with self._store.changed:
            if not self._subscription.pending and not self._subscription.bookmark_due and seconds > 0:
                self._store.changed.wait(seconds)
