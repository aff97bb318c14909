"""The fake API server and the handles by which a test moves it."""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from dra_common.testing.apiserver.api import Api
from dra_common.testing.apiserver.faults import Fault, Faults
from dra_common.testing.apiserver.features import Features
from dra_common.testing.apiserver.http import Connections
from dra_common.testing.apiserver.messages import Answer, Request, Stream
from dra_common.testing.apiserver.resources import Json, Resource, Target
from dra_common.testing.apiserver.status import Refusal
from dra_common.testing.apiserver.store import Store
from dra_common.testing.apiserver.table import resources

T = TypeVar("T")
_TICK = 0.05
_LAST_WITHOUT_DRA = "1.33"


class FakeApiServer:
    """A behavioural kube-apiserver for DRA on 127.0.0.1, in this process.

    It keeps objects, versions and history, and refuses what the real one refuses; it has no admission plugins, no RBAC
    and no CEL. Use it as a context manager, or call :meth:`start` and :meth:`stop`.

    Args:
        port: 0 = any free port; the same one is used again after :meth:`stop` and :meth:`start`.
        version: the imitated Kubernetes, ``1.34`` to ``1.37``: decides limits and the defaults of the gates; ``1.33``
            has no ``resource.k8s.io/v1``.
        feature_gates: gates that differ from the default; fields of a gate that is off are dropped without a word.
        token: bearer token that is required; None = anybody may do anything.
        bookmark_interval: seconds between bookmarks (the real server: 60).

    Attributes:
        faults: what goes wrong with requests, see :meth:`Faults.add`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        version: str = "1.36",
        feature_gates: Mapping[str, bool] | None = None,
        token: str | None = None,
        bookmark_interval: float = 60.0,
    ) -> None:
        self.faults = Faults()
        self.token = token
        self._store = Store()
        self._bookmark_interval = bookmark_interval
        self._become(version, feature_gates or {})
        self._port = port
        self._latency = 0.0
        self._running = threading.Event()
        self._running.set()
        self._requests: list[Request] = []
        self._connections: Connections | None = None
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Listen; objects of before are still there."""
        self._connections = Connections(("127.0.0.1", self._port), self)
        self._port = self._connections.server_address[1]
        self._thread = threading.Thread(
            target=self._connections.serve_forever,
            kwargs={"poll_interval": 0.02},
            name="fake-apiserver",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Be away: cut every connection, refuse new ones; fine if it is stopped already."""
        if self._connections is None or self._thread is None:
            return
        self._connections.halt()
        self._thread.join()
        self._connections = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def upgrade(self, version: str, feature_gates: Mapping[str, bool] | None = None) -> None:
        """Be another Kubernetes, or the same with other gates, from now on, on the same objects.

        As where several API servers are replaced one by one behind one address: that always answers, and every
        connection is cut. For an older version it is a rollback. 1.33 and older serve no ``resource.k8s.io/v1``.
        """
        self._become(version, feature_gates or {})
        if self._connections:
            self._connections.drop_all()

    def _become(self, version: str, gates: Mapping[str, bool]) -> None:
        served = version != _LAST_WITHOUT_DRA
        self._resources = resources(Features.of(version, gates) if served else None)
        self._store.serve(self._resources.values())
        self._api = Api(
            self._store, self._resources, version=version, bookmark_interval=self._bookmark_interval
        )

    # ------------------------------------------------------------------ address

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self._port}"

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for this server (with the token, if there is one) and return its path."""
        user = {"token": self.token} if self.token else {}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": user}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "current-context": "fake",
        }
        path.write_text(json.dumps(config, indent=2))
        return path

    # ------------------------------------------------------------------ objects

    def serves(self, kind: str) -> bool:
        """Whether this version has objects of a kind."""
        return any(kind in (resource.kind, resource.plural) for resource in self._resources.values())

    def objects(self, kind: str) -> tuple[Json, ...]:
        """Return all objects of a kind (``ResourceSlice`` or ``resourceslices``), ordered by namespace and name."""
        return tuple(copy.deepcopy(self._store.all(self._resource(kind))))

    def get(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """Return one object or None."""
        return copy.deepcopy(self._store.get(self._resource(kind), (namespace, name)))

    def create(self, kind: str, body: Mapping[str, Any]) -> Json:
        """Create an object, its status too. Raises Refusal as the API would, also if the object exists."""
        resource = self._resource(kind)
        metadata = body.get("metadata", {})
        key = (metadata.get("namespace", "") if resource.namespaced else "", metadata.get("name", ""))
        if self._store.get(resource, key) is not None:
            raise Refusal(409, f'{resource.qualified} "{key[1]}" already exists', reason="AlreadyExists")
        return self.put(kind, body)

    def put(self, kind: str, body: Mapping[str, Any]) -> Json:
        """Create or overwrite an object with its status, past immutability and resourceVersion; keeps the UID."""
        return copy.deepcopy(self._api.registry.force(self._resource(kind), body))

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        """Delete an object, finalizers or not. Raises Refusal (404)."""
        target = Target(self._resource(kind), namespace, name)
        self._api.registry.get(target)
        self._store.remove(target.resource, target.key)

    def _resource(self, kind: str) -> Resource:
        for resource in self._resources.values():
            if kind in (resource.kind, resource.plural):
                return resource
        raise ValueError(
            f"{kind} is not served; one of {', '.join(r.kind for r in self._resources.values())}"
        )

    # ------------------------------------------------------------------ observation

    @property
    def requests(self) -> tuple[Request, ...]:
        """Everything that was asked, in order of arrival."""
        with self._store.changed:
            return tuple(self._requests)

    @property
    def writes(self) -> tuple[Request, ...]:
        """The requests that are no GET and no dry run."""
        return tuple(
            request for request in self.requests if request.method != "GET" and not request.is_dry_run
        )

    def forget_requests(self) -> None:
        """Empty the request log."""
        with self._store.changed:
            self._requests.clear()

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return len(self._store.subscriptions)

    def wait_for(self, predicate: Callable[[], T], timeout: float = 60.0, what: str = "") -> T:
        """Wait until ``predicate()`` is true and return its value. Raises TimeoutError with the last requests."""
        deadline = time.monotonic() + timeout
        # Not under the lock: the predicate may itself ask this server.
        while not (value := predicate()):
            if time.monotonic() >= deadline:
                last = ", ".join(f"{request.method} {request.path}" for request in self.requests[-8:])
                raise TimeoutError(f"waited {timeout:g} s for {what or 'a condition'}; last requests: {last}")
            with self._store.changed:
                self._store.changed.wait(_TICK)
        return value

    # ------------------------------------------------------------------ bad moods

    def latency(self, seconds: float) -> None:
        """Answer every request this much later; 0 = at once."""
        self._latency = seconds

    def pause(self) -> None:
        """Accept connections and say nothing, on open watches too."""
        self._running.clear()

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        self._running.set()

    def drop_watches(self) -> int:
        """Cut every open watch in the middle; returns how many."""
        return self._connections.drop_streams() if self._connections else 0

    def expire_history(self, *, as_status: bool = False) -> None:
        """Make every resourceVersion and ``continue`` handed out until now too old.

        A watch from one is answered with an ERROR event, or with HTTP 410 if ``as_status`` is set; the real server
        does either. A ``continue`` is always answered with HTTP 410.
        """
        self._api.expired_as_status = as_status
        self._api.lists.expire()
        self._store.expire()

    def bookmark(self) -> None:
        """Send a bookmark on every watch that asked for bookmarks, now."""
        with self._store.changed:
            for subscription in self._store.subscriptions:
                subscription.bookmark_due = True
            self._store.changed.notify_all()

    # ------------------------------------------------------------------ Application

    def admit(self, request: Request, stopped: Callable[[], bool]) -> Fault | None:
        """Log a request, make it wait, and choose what goes wrong with it."""
        with self._store.changed:
            self._requests.append(request)
            self._store.changed.notify_all()
        self._delay(stopped)
        self.hold(stopped)
        methods = (request.method, "WATCH") if request.is_watch else (request.method,)
        query = "&".join(f"{name}={value}" for name, value in request.query.items())
        return self.faults.take(methods, f"{request.path}?{query}" if query else request.path)

    def _delay(self, stopped: Callable[[], bool]) -> None:
        end = time.monotonic() + self._latency
        while (left := end - time.monotonic()) > 0 and not stopped():
            time.sleep(min(left, _TICK))

    def hold(self, stopped: Callable[[], bool]) -> None:
        """Block while paused."""
        while not self._running.wait(_TICK):
            if stopped():
                return

    def answer(self, request: Request) -> Answer | Stream:
        """Check the token, then do what is asked."""
        if self.token is not None and not self._knows(request.authorization):
            raise Refusal(401, "Unauthorized")
        return self._api.answer(request)

    def _knows(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and token == self.token
