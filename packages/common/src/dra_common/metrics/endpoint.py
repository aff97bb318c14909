"""A small HTTP server that nobody can make hang: every connection has one request, one deadline, and little room.

Probes and scrapes are answered in threads of their own, never behind a prepare. Connections beyond a limit cost the
oldest one its place, so that a client which sends nothing cannot keep a probe out.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Final

from dra_common.deadline import Deadline

_log = logging.getLogger(__name__)

MOST_CONNECTIONS: Final = 16
_HARD_LIMIT: Final = 2 * MOST_CONNECTIONS
"""Threads, also of connections that were cut but whose answer is still being made."""

REQUEST_SECONDS: Final = 10.0
"""From the connection to the last byte of the answer."""

_LARGEST_REQUEST: Final = 16 * 1024
_METHODS: Final = ("GET", "HEAD")
_JOIN_SECONDS: Final = 2.0
_EXHAUSTION: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_EXHAUSTED_PAUSE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and content type of an answer."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Route = Callable[[], Answer]
"""Answers one path; called in the thread of the connection."""


class HttpEndpoint:
    """Serves ``routes`` on one TCP address from :meth:`start` to :meth:`stop`.

    Args:
        host: an IP address, or empty for all addresses of the host.
        port: 0 is any free one.
        routes: path -> what answers it; every other path is 404.
    """

    def __init__(
        self, host: str, port: int, routes: Mapping[str, Route], *, seconds: float = REQUEST_SECONDS
    ) -> None:
        self._host, self._wanted, self._routes, self._seconds = host, port, routes, seconds
        self._lock = threading.Lock()
        self._open: dict[socket.socket, bool] = {}
        """Connections in the order in which they came -> whether they still have their place."""
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self.port: int | None = None

    def start(self) -> None:
        """Listen; :attr:`port` tells where. An address that is taken is one warning: devices can be served anyway."""
        try:
            self._listener = _listen(self._host, self._wanted)
        except OSError as error:
            where = f"{self._host}:{self._wanted}"
            _log.warning(
                "no metrics: cannot listen on %s: %s; set another --http-endpoint", where, error.strerror
            )
            return
        self.port = self._listener.getsockname()[1]
        _log.info("metrics, healthz and readyz on port %d", self.port)
        self._thread = threading.Thread(target=self._accept, args=(self._listener,), name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and cut what is open; fine if it never listened."""
        if self._listener is None or self._thread is None:
            return
        self._stopping.set()
        # Closing alone does not wake a thread that waits in accept(2).
        _cut(self._listener)
        self._thread.join(_JOIN_SECONDS)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                _cut(connection)
        self._listener = self._thread = self.port = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except ConnectionError:
                continue  # it went away before we looked
            except OSError as error:
                if error.errno not in _EXHAUSTION or self._stopping.wait(_EXHAUSTED_PAUSE):
                    return
                continue
            self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        with self._lock:
            self._make_room()
            full = len(self._open) >= _HARD_LIMIT
            if not full:
                self._open[connection] = True
        if full:
            connection.close()
            return
        try:
            threading.Thread(target=self._serve, args=(connection,), name="http-request", daemon=True).start()
        except RuntimeError:  # no thread can be made at the moment
            self._close(connection)

    def _make_room(self) -> None:
        placed = [connection for connection, has_place in self._open.items() if has_place]
        if len(placed) >= MOST_CONNECTIONS:
            self._open[placed[0]] = False
            _cut(placed[0])

    def _serve(self, connection: socket.socket) -> None:
        try:
            _Handler(connection, self._routes, Deadline.after(self._seconds))
        except (OSError, ValueError) as error:  # it left, trickles, or sends garbage: its own affair
            _log.debug("HTTP request not answered: %s", error)
        finally:
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.pop(connection, None)
        connection.close()


class _Handler(BaseHTTPRequestHandler):
    """One request; parsing is the library's, limits and words are ours."""

    server_version, sys_version = "dra", ""
    error_message_format, error_content_type = "%(code)d %(message)s\n", "text/plain; charset=utf-8"

    def __init__(self, connection: socket.socket, routes: Mapping[str, Route], deadline: Deadline) -> None:
        self._routes, self._deadline = routes, deadline
        super().__init__(connection, "", None)  # type: ignore[arg-type]  # neither address nor server is used

    def setup(self) -> None:
        self.connection = self.request
        self.rfile = io.BufferedReader(_Receiver(self.request, self._deadline))
        self.wfile = io.BytesIO()  # collected, and sent in one piece by finish()

    def finish(self) -> None:
        self.request.settimeout(_left(self._deadline))
        # With a timeout, sendall(2) bounds the whole of it, however slowly the client reads.
        self.request.sendall(self.wfile.getvalue())  # type: ignore[attr-defined]
        self.request.shutdown(socket.SHUT_WR)

    def handle(self) -> None:
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(_LARGEST_REQUEST)
        if self.raw_requestline and self.parse_request():
            self._respond()

    def _respond(self) -> None:
        if self.command not in _METHODS:
            return self._reply(Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n"), allow=True)
        route = self._routes.get(self.path.partition("?")[0])
        if route is None:
            text = f"there are {', '.join(self._routes)}\n"
            return self._reply(Answer(HTTPStatus.NOT_FOUND, text.encode()))
        return self._reply(_answered(route))

    def _reply(self, answer: Answer, *, allow: bool = False) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        if allow:
            self.send_header("Allow", ", ".join(_METHODS))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: probes come every few seconds."""


def _answered(route: Route) -> Answer:
    try:
        return route()
    except Exception:  # noqa: BLE001 - a defect of ours is told, and the connection answered
        _log.exception("an HTTP request failed")
        return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"see the driver's log\n")


class _Receiver(io.RawIOBase):
    """Bytes of a connection until its deadline, and not many of them."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection, self._deadline = connection, deadline
        self._room = _LARGEST_REQUEST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer)[: self._room]  # type: ignore[arg-type]
        if not view:
            raise ValueError("the request is too large")
        # A timeout by itself starts anew with every byte.
        self._connection.settimeout(_left(self._deadline))
        count = self._connection.recv_into(view)
        self._room -= count
        return count


def _left(deadline: Deadline) -> float:
    """Seconds to wait; raises TimeoutError if there are none, as 0 would mean "do not wait at all"."""
    if deadline.passed:
        raise TimeoutError
    return max(deadline.remaining, 0.001)


def _listen(host: str, port: int) -> socket.socket:
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _cut(connection: socket.socket) -> None:
    """End whatever another thread does with it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
