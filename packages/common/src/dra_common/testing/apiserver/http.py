"""HTTP/1.1 with keep-alive; watches are chunked, one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from dra_common.testing.apiserver.faults import Fault
from dra_common.testing.apiserver.messages import Answer, Request, Stream
from dra_common.testing.apiserver.status import Refusal

_POLL = 0.05
"""Seconds between looks whether a silent client has gone."""


class Application(Protocol):
    """What stands behind the sockets."""

    def admit(self, request: Request, stopped: Callable[[], bool]) -> Fault | None:
        """Log the request, delay it, return what is to go wrong with it."""

    def answer(self, request: Request) -> Answer | Stream:
        """Do what the request asks. Raises Refusal."""

    def hold(self, stopped: Callable[[], bool]) -> None:
        """Block while the server is paused."""


class _Gone(Exception):
    """Close this connection now, without another byte."""


class Connections(ThreadingHTTPServer):
    """The listening socket and one thread for each connection; :meth:`halt` ends them all and joins them."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], application: Application) -> None:
        self.application = application
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._streams: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def halt(self) -> None:
        """Stop listening and cut every connection."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._lock:
            connections = dict(self._open)
        for connection, thread in connections.items():
            cut(connection)
            thread.join(timeout=5)

    def drop_streams(self) -> int:
        """Cut the watches only; returns how many."""
        with self._lock:
            streams = list(self._streams)
        for connection in streams:
            cut(connection)
        return len(streams)

    def drop_all(self) -> None:
        """Cut every connection and go on listening."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            cut(connection)

    def opened(self, connection: socket.socket) -> None:
        """Remember a connection; one that was accepted while :meth:`halt` ran is cut here."""
        with self._lock:
            self._open[connection] = threading.current_thread()
        if self.stopping.is_set():
            cut(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._open.pop(connection, None)

    @contextlib.contextmanager
    def streaming(self, connection: socket.socket) -> Iterator[None]:
        """Count a connection among the watches."""
        with self._lock:
            self._streams.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._streams.discard(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay quiet about clients that break off; anything else is a bug here and is shown."""
        if not self.stopping.is_set():
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def cut(connection: socket.socket) -> None:
    """End a connection under the thread that uses it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Buffered: status line, headers and body leave in one packet.
    wbufsize = 1 << 16
    server: Connections

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.server.closed(self.connection)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
        """Say nothing: the request log is the record."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (_Gone, ConnectionError):
            self.close_connection = True

    def do_GET(self) -> None:
        request = self._read()
        # From before the subscription that `FakeApiServer.watches` counts: a watch that is seen can be cut.
        with self.server.streaming(self.connection) if request.is_watch else contextlib.nullcontext():
            self._respond(request)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET  # noqa: N815

    def _respond(self, request: Request) -> None:
        fault = self.server.application.admit(request, self._stopped)
        if self._stopped():
            raise _Gone
        try:
            if fault is not None and not fault.applied:
                self._spoil(
                    fault, request, Answer(200, {"kind": "Status", "apiVersion": "v1", "metadata": {}})
                )
                return
            answer = self.server.application.answer(request)
        except Refusal as refusal:
            answer = _refused(refusal)
        if fault is not None:
            self._spoil(fault, request, answer)
        else:
            self._send(answer)

    def _stopped(self) -> bool:
        return self.server.stopping.is_set()

    def _read(self) -> Request:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b""
        url = urlsplit(self.path)
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = {"": raw.decode(errors="replace")}
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        return Request(
            self.command, url.path, query, body, authorization=self.headers.get("Authorization", "")
        )

    # ------------------------------------------------------------------ answers

    def _send(self, answer: Answer | Stream) -> None:
        if isinstance(answer, Stream):
            self._stream(answer)
            return
        payload = self._head(answer)
        self.wfile.write(payload)
        self.wfile.flush()

    def _head(self, answer: Answer) -> bytes:
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        payload = text.encode()
        self.send_response(answer.code)
        kind = "text/plain; charset=utf-8" if isinstance(answer.body, str) else "application/json"
        self.send_header("Content-Type", answer.headers.get("Content-Type", kind))
        self.send_header("Content-Length", str(len(payload)))
        for name, value in answer.headers.items():
            if name != "Content-Type":
                self.send_header(name, value)
        self.end_headers()
        return payload

    def _stream(self, stream: Stream) -> None:
        try:
            self._stream_head()
            for line in stream.lines:
                self.server.application.hold(self._stopped)
                self._check_client()
                if line is not None:
                    self._chunk(json.dumps(line).encode() + b"\n")
            self._chunk(b"")
        finally:
            stream.close()

    def _stream_head(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _check_client(self) -> None:
        if self._stopped() or self._client_left(0):
            raise _Gone

    def _client_left(self, wait: float) -> bool:
        readable, _, _ = select.select([self.connection], [], [], wait)
        # A client that waits for an answer sends nothing: readable means that it closed.
        return bool(readable)

    # ------------------------------------------------------------------ bad moods

    def _spoil(self, fault: Fault, request: Request, answer: Answer | Stream) -> None:
        if isinstance(answer, Stream):
            answer.close()
        if isinstance(fault.mood, int):
            self._send(_refused(fault.refusal(request.method.lower(), request.path)))
            return
        if fault.mood == "garbage":
            page = Answer(200, "<html><body>captive portal</body></html>", {"Content-Type": "text/html"})
            self._send(page)
            return
        if fault.mood in ("half", "stall"):
            self._half(request, answer)
        while fault.mood in ("hang", "stall") and not self._stopped() and not self._client_left(_POLL):
            pass
        raise _Gone

    def _half(self, request: Request, answer: Answer | Stream) -> None:
        if request.is_watch:
            self._stream_head()
            self._chunk(b'{"type":"ADDED","obj')
            return
        payload = self._head(answer if isinstance(answer, Answer) else Answer(200, {}))
        self.wfile.write(payload[: len(payload) // 2])
        self.wfile.flush()


def _refused(refusal: Refusal) -> Answer:
    headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else {}
    return Answer(refusal.code, refusal.body(), headers)
