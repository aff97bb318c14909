"""From a request to an answer: which resource, which verb."""

from __future__ import annotations

import random
from collections.abc import Mapping

from dra_common.testing.apiserver.listing import Lists, as_list
from dra_common.testing.apiserver.messages import Answer, Request, Stream
from dra_common.testing.apiserver.registry import Registry
from dra_common.testing.apiserver.resources import Json, Resource, Target, find
from dra_common.testing.apiserver.selectors import Selector, parse
from dra_common.testing.apiserver.status import Refusal
from dra_common.testing.apiserver.store import Store
from dra_common.testing.apiserver.watching import WatchLines

_TRUE = ("1", "true")


class Api:
    """The REST API on a store.

    Args:
        resources: plural name -> what is served.
        version: major and minor of the imitated Kubernetes, ``1.36``.
        bookmark_interval: seconds between the bookmarks of a watch that asks for them.
    """

    def __init__(
        self, store: Store, resources: Mapping[str, Resource], *, version: str, bookmark_interval: float
    ) -> None:
        self.registry = Registry(store)
        self.lists = Lists(store)
        self.expired_as_status = False
        self._store = store
        self._resources = resources
        self._version = version
        self._bookmark_interval = bookmark_interval

    def answer(self, request: Request) -> Answer | Stream:
        """Answer one request. Raises Refusal."""
        if request.path == "/version":
            return Answer(200, self._server_version())
        if request.path in ("/healthz", "/livez", "/readyz"):
            return Answer(200, "ok")
        target = find(self._resources, request.path)
        if target is None:
            return Answer(404, "404 page not found\n")
        if target.name:
            return self._one(request, target)
        return self._many(request, target)

    def _server_version(self) -> Json:
        major, _, minor = self._version.partition(".")
        return {
            "major": major,
            "minor": minor,
            "gitVersion": f"v{self._version}.0",
            "platform": "linux/amd64",
        }

    def _one(self, request: Request, target: Target) -> Answer:
        match request.method, target.subresource:
            case "GET", _:
                return Answer(200, self.registry.get(target))
            case "PUT", _:
                return Answer(200, self.registry.replace(target, _body(request)))
            case "DELETE", "":
                return Answer(200, self.registry.delete(target, request.body))
        raise _not_allowed()

    def _many(self, request: Request, target: Target) -> Answer | Stream:
        if request.method == "POST":
            return Answer(201, self.registry.create(target, _body(request), dry_run=request.is_dry_run))
        selector = self._selector(request, target)
        if request.is_watch:
            return self._watch(request, target, selector)
        if request.method == "GET":
            return Answer(200, self.lists.page(target, selector, request.query))
        if request.method == "DELETE":
            deleted = self.registry.delete_collection(target, selector)
            return Answer(200, as_list(target, {"resourceVersion": str(self._store.version)}, deleted))
        raise _not_allowed()

    def _selector(self, request: Request, target: Target) -> Selector:
        if request.query.get("labelSelector"):
            raise Refusal(400, "label selectors are not served by this fake API server")
        if request.query.get("sendInitialEvents") in _TRUE:
            raise Refusal(400, "sendInitialEvents is not served by this fake API server")
        return parse(request.query.get("fieldSelector", ""), target.resource)

    # ------------------------------------------------------------------ watches

    def _watch(self, request: Request, target: Target, selector: Selector) -> Stream:
        version = _version(request.query.get("resourceVersion", ""))
        try:
            subscription = self._store.subscribe(target.resource, version)
        except Refusal as refusal:
            if refusal.code != 410 or self.expired_as_status:  # noqa: PLR2004 (HTTP status)
                raise
            return Stream(iter([{"type": "ERROR", "object": refusal.body()}]), close=lambda: None)
        lines = WatchLines(self._store, target, selector, subscription).lines(
            timeout=_timeout(request.query.get("timeoutSeconds", "")),
            bookmarks=self._bookmark_interval if request.query.get("allowWatchBookmarks") in _TRUE else None,
        )
        return Stream(lines, close=lambda: self._store.unsubscribe(subscription))


def _body(request: Request) -> Json:
    if not isinstance(request.body, dict) or "" in request.body:
        raise Refusal(
            400, "the body of the request was in an unknown format - accepted media types: application/json"
        )
    return request.body


def _version(text: str) -> int:
    if text and not text.isdigit():
        raise Refusal(400, f'invalid resource version "{text}"')
    return int(text or 0)


def _timeout(text: str) -> float:
    # Without a limit the real server takes 30 to 60 minutes at random.
    return float(text) if text.isdigit() and int(text) else random.uniform(1800, 3600)  # noqa: S311


def _not_allowed() -> Refusal:
    return Refusal(405, "the server does not allow this method on the requested resource")
