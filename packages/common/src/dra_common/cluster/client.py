"""The API server behind :class:`dra_common.ports.ApiServer`: raw paths, dicts, one family of errors."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from typing import Any

from kubernetes.client import Configuration

from dra_common.cluster import answers
from dra_common.cluster.answers import Call
from dra_common.cluster.transport import Transport
from dra_common.cluster.watch import Watch
from dra_common.errors import Gone
from dra_common.telemetry import SILENT, Counts

Json = dict[str, Any]

_WRITE_TIMEOUT = 30.0
_PAGE = 500
_WATCH_SECONDS = (240, 300)


class ClusterClient:
    """A client that any number of threads may share; there is no rate limit on our side.

    Every call has a timeout, and raises :class:`~dra_common.errors.ClusterError` and its children only.

    Args:
        configuration: where and who, see :func:`dra_common.cluster.config.connect`.
        counts: is told of every request.
        watch_idle: seconds of silence after which a watch counts as broken. Servers send bookmarks every 60 s.
    """

    def __init__(
        self, configuration: Configuration, *, counts: Counts = SILENT, watch_idle: float = 75.0
    ) -> None:
        self._transport = Transport(configuration, counts)
        self._watch_idle = watch_idle

    @property
    def address(self) -> str:
        """The API server's URL."""
        return self._transport.address

    # ------------------------------------------------------------------ reading

    def get(self, path: str, *, timeout: float = 10.0) -> Json:
        """GET one object, in ``timeout`` seconds."""
        return self._exchange(self._call("GET", path), timeout)

    def list(self, path: str, *, query: Mapping[str, str] | None = None, timeout: float = 30.0) -> Json:
        """GET a whole list in ``timeout`` seconds, 500 objects a page.

        Starts over once if the list expires between two pages (410). The items carry no kind and no apiVersion.
        """
        deadline = time.monotonic() + timeout
        try:
            return self._pages(path, dict(query or {}), timeout, deadline)
        except Gone:
            return self._pages(path, dict(query or {}), timeout, deadline)

    def _pages(self, path: str, query: dict[str, str], timeout: float, deadline: float) -> Json:
        call = self._call("GET", path, {**query, "limit": str(_PAGE)})
        whole = self._page(call, timeout, deadline)
        metadata = whole["metadata"]
        page = whole
        while token := page["metadata"].get("continue"):
            page = self._page(
                self._call("GET", path, {**call.query, "continue": str(token)}), timeout, deadline
            )
            whole["items"].extend(page["items"])
        kept = {
            name: value for name, value in metadata.items() if name not in ("continue", "remainingItemCount")
        }
        return {**whole, "metadata": kept}

    def _page(self, call: Call, timeout: float, deadline: float) -> Json:
        left = deadline - time.monotonic()
        if left <= 0:
            raise answers.too_slow(call, timeout)
        page = self._exchange(call, left)
        # Go writes an empty list as null.
        page["items"] = page.get("items") or []
        if not isinstance(page["items"], list) or not isinstance(page.get("metadata"), dict):
            raise answers.garbage(call, 200, json.dumps(sorted(page)).encode())
        return page

    def watch(self, path: str, *, query: Mapping[str, str] | None = None, resource_version: str) -> Watch:
        """Return a watch that starts after ``resource_version``; entering it sends the request.

        The server is asked to end it after four to five minutes (at random, so that the watches of many nodes do
        not all come back at once) and to send bookmarks.
        """
        wanted = {
            **(query or {}),
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(random.randint(*_WATCH_SECONDS)),  # noqa: S311 (spreads load)
        }
        return Watch(self._transport, self._call("GET", path, wanted), idle=self._watch_idle)

    # ------------------------------------------------------------------ writing

    def create(self, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Json:
        """POST; returns the object as stored, or with ``dry_run`` as it would be: admitted, validated, not kept."""
        query = {"dryRun": "All"} if dry_run else None
        return self._exchange(self._call("POST", path, query, body), _WRITE_TIMEOUT)

    def replace(self, path: str, body: Mapping[str, Any]) -> Json:
        """PUT; returns the object as stored. Conflict unless ``metadata.resourceVersion`` is current."""
        return self._exchange(self._call("PUT", path, body=body), _WRITE_TIMEOUT)

    def delete(self, path: str, *, uid: str | None = None, resource_version: str | None = None) -> None:
        """DELETE; NotFound if it is gone already, Conflict if it has another UID or resourceVersion."""
        wanted = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {name: value for name, value in wanted.items() if value is not None}
        body: Json = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if preconditions:
            body["preconditions"] = preconditions
        self._exchange(self._call("DELETE", path, body=body), _WRITE_TIMEOUT)

    def close(self) -> None:
        """End all watches and calls in flight, drop all connections; every later call is Unreachable."""
        self._transport.close()

    # ------------------------------------------------------------------ parts

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Call:
        return Call(method, path, self._transport.address, query or {}, body)

    def _exchange(self, call: Call, timeout: float) -> Json:
        status, body = self._transport.exchange(call, timeout)
        try:
            decoded = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise answers.garbage(call, status, body) from error
        if not isinstance(decoded, dict):
            raise answers.garbage(call, status, body)
        return decoded
