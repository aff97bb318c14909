"""Lists, page by page, each from one consistent snapshot."""

from __future__ import annotations

import base64
import itertools
import threading

from dra_common.testing.apiserver.resources import Json, Target
from dra_common.testing.apiserver.selectors import Selector
from dra_common.testing.apiserver.status import Refusal
from dra_common.testing.apiserver.store import Store


class Lists:
    """Serves lists; remembers what is left of the ones that were cut at ``limit``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._rest: dict[str, tuple[str, list[Json]]] = {}
        self._numbers = itertools.count(1)

    def page(self, target: Target, selector: Selector, query: dict[str, str]) -> Json:
        """Return one page. Raises Refusal (410 for a ``continue`` of an expired history)."""
        limit = _limit(query.get("limit", ""))
        token = query.get("continue", "")
        version, items = self._resume(token) if token else self._begin(target, selector)
        metadata: Json = {"resourceVersion": version}
        if limit and len(items) > limit:
            metadata["continue"] = self._keep(version, items[limit:])
            if not selector.terms:
                metadata["remainingItemCount"] = len(items) - limit
            items = items[:limit]
        return as_list(target, metadata, items)

    def expire(self) -> None:
        """Make every ``continue`` handed out until now too old."""
        with self._lock:
            self._rest.clear()

    def _begin(self, target: Target, selector: Selector) -> tuple[str, list[Json]]:
        with self._store.changed:
            items = self._store.all(target.resource, target.namespace)
            return str(self._store.version), [item for item in items if selector.matches(item)]

    def _keep(self, version: str, items: list[Json]) -> str:
        token = base64.urlsafe_b64encode(f"{version}/{next(self._numbers)}".encode()).decode()
        with self._lock:
            self._rest[token] = (version, items)
        return token

    def _resume(self, token: str) -> tuple[str, list[Json]]:
        with self._lock:
            rest = self._rest.get(token)
        if rest is None:
            raise Refusal(
                410, "The provided continue parameter is too old to display a consistent list result."
            )
        return rest


def as_list(target: Target, metadata: Json, items: list[Json]) -> Json:
    """Return a list object; its items carry neither kind nor apiVersion, as the real server's do not."""
    resource = target.resource
    bare = [
        {name: value for name, value in item.items() if name not in ("kind", "apiVersion")} for item in items
    ]
    return {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": bare,
    }


def _limit(text: str) -> int:
    if not text:
        return 0
    if not text.isdigit():
        raise Refusal(400, f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)
