"""What is stored, in which order it changed, and who is watching."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from dra_common.testing.apiserver.resources import Json, Key, Resource
from dra_common.testing.apiserver.status import Refusal


@dataclass(frozen=True, slots=True)
class Change:
    """One write: the object after it (before it, for DELETED, with the version of the deletion)."""

    version: int
    resource: Resource
    type: str
    object: Json
    previous: Json | None = None


class Subscription:
    """The changes of one resource since a version, for one watch."""

    def __init__(self, resource: Resource, backlog: Iterable[Change], version: int) -> None:
        self.resource = resource
        self.pending = deque(backlog)
        self.version = version
        self.bookmark_due = False


class Store:
    """Objects and their history; every method is safe from any thread, ``changed`` is notified after each write.

    Stored objects are never modified in place: a write stores a new dict.
    """

    def __init__(self, history: int = 4096) -> None:
        self.changed = threading.Condition(threading.RLock())
        self._objects: dict[Resource, dict[Key, Json]] = {}
        self._history: deque[Change] = deque()
        self._limit = history
        self._version = 1
        self._oldest = 1
        self._subscriptions: list[Subscription] = []

    @property
    def version(self) -> int:
        """The resourceVersion of the newest write."""
        with self.changed:
            return self._version

    def get(self, resource: Resource, key: Key) -> Json | None:
        """Return one object."""
        with self.changed:
            return self._objects.get(resource, {}).get(key)

    def all(self, resource: Resource, namespace: str = "") -> list[Json]:
        """Return all objects (of one namespace), ordered by namespace and name as etcd orders keys."""
        with self.changed:
            items = sorted(self._objects.get(resource, {}).items())
            return [item for key, item in items if not namespace or key[0] == namespace]

    def put(self, resource: Resource, key: Key, item: Json) -> Json:
        """Store ``item`` under a new resourceVersion and tell the watches."""
        with self.changed:
            objects = self._objects.setdefault(resource, {})
            previous = objects.get(key)
            stored = self._stamped(item)
            objects[key] = stored
            self._record("MODIFIED" if previous else "ADDED", resource, stored, previous)
            return stored

    def remove(self, resource: Resource, key: Key) -> Json:
        """Delete an object that is there and tell the watches."""
        with self.changed:
            previous = self._objects[resource].pop(key)
            stored = self._stamped(previous)
            self._record("DELETED", resource, stored, previous)
            return stored

    def _stamped(self, item: Json) -> Json:
        self._version += 1
        return {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}}

    def _record(self, kind: str, resource: Resource, item: Json, previous: Json | None) -> None:
        change = Change(self._version, resource, kind, item, previous)
        self._history.append(change)
        if len(self._history) > self._limit:
            self._oldest = self._history.popleft().version
        for subscription in self._subscriptions:
            if subscription.resource is resource:
                subscription.pending.append(change)
        self.changed.notify_all()

    def serve(self, resources: Iterable[Resource]) -> None:
        """Go on with other rules for the same kinds, as after an upgrade: objects stay, the history is forgotten."""
        with self.changed:
            now = {resource.kind: resource for resource in resources}
            if self._objects:
                self._objects = {now.get(old.kind, old): objects for old, objects in self._objects.items()}
                self.expire()

    # ------------------------------------------------------------------ watches

    def subscribe(self, resource: Resource, version: int) -> Subscription:
        """Start a watch after ``version``; 0 = begin with the objects of now. Raises Refusal (410, 504)."""
        with self.changed:
            backlog = self._present(resource) if version == 0 else self._since(resource, version)
            subscription = Subscription(resource, backlog, version or self._version)
            self._subscriptions.append(subscription)
            return subscription

    def _present(self, resource: Resource) -> list[Change]:
        return [Change(self._version, resource, "ADDED", item) for item in self.all(resource)]

    def _since(self, resource: Resource, version: int) -> list[Change]:
        if version < self._oldest:
            raise Refusal(410, f"too old resource version: {version} ({self._oldest})")
        if version > self._version:
            message = f"Too large resource version: {version}, current: {self._version}"
            raise Refusal(504, message, retry_after=1)
        return [
            change for change in self._history if change.resource is resource and change.version > version
        ]

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a watch."""
        with self.changed:
            self._subscriptions.remove(subscription)
            self.changed.notify_all()

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """The open watches."""
        with self.changed:
            return tuple(self._subscriptions)

    def expire(self) -> None:
        """Forget the history: no version handed out until now can be watched from. Open watches go on."""
        with self.changed:
            self._version += 1
            self._oldest = self._version
            self._history.clear()
            self.changed.notify_all()
