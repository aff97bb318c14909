"""HTTP with what kubernetes' ApiClient is made of: its credentials, its TLS, its connection pools; none of its models.

``ApiClient`` with raw paths costs 21 MiB less than the typed APIs, which moreover drop fields they do not know. Its own
``call_api`` turns over everything that a request might have, which takes as long as the request itself.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import weakref
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import cast
from urllib.parse import quote, urlencode

from kubernetes.client import ApiClient, Configuration
from kubernetes.config.config_exception import ConfigException
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ProtocolError

from dra_common.cluster import answers
from dra_common.cluster.answers import TRANSPORT_ERRORS, Call
from dra_common.effects import Step, effect
from dra_common.errors import Unauthorized
from dra_common.telemetry import API_REQUESTS, API_SECONDS, SILENT, Counts

_POOL = 32
_CONNECT = 5.0
_CHUNK = 1 << 16
_CODES = frozenset(int(status) for status in HTTPStatus)
_HEADERS = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "dra-common"}
_NO_ANSWER, _STRANGE = "<error>", "other"


class Transport:
    """One pool of connections to one API server."""

    def __init__(self, configuration: Configuration, counts: Counts = SILENT) -> None:
        self._counts = counts
        # urllib3 would try again by itself: four times the timeout, and a sleep on Retry-After. We decide that.
        configuration.retries = False
        configuration.connection_pool_maxsize = _POOL
        configuration.keep_alive = True
        self.address = str(configuration.host)
        self._client = ApiClient(configuration)
        self._pools = self._client.rest_client.pool_manager
        self._sockets = _track(self._pools)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._sockets.closed

    def close(self) -> None:
        """Cut every connection, also under threads that wait on one; every later call fails."""
        self._sockets.abort()
        self._client.close()  # type: ignore[no-untyped-call]

    def open(self, call: Call, read: float) -> HTTPResponse:
        """Send a request and wait for the answer's head. Raises ClusterError unless the answer is 2xx."""
        response = self._counted(call, read)
        if not 200 <= response.status < 300:  # noqa: PLR2004 (HTTP status)
            body = self.read(call, response, read, time.monotonic() + read)
            raise answers.refused(call, response.status, response.headers, body)
        return response

    def exchange(self, call: Call, timeout: float) -> tuple[int, bytes]:
        """Send a request and read the whole answer within ``timeout`` seconds. Raises ClusterError."""
        deadline = time.monotonic() + timeout
        response = self.open(call, timeout)
        return response.status, self.read(call, response, timeout, deadline)

    def read(self, call: Call, response: HTTPResponse, timeout: float, deadline: float) -> bytes:
        """Read an answer's body to its end. Raises Unreachable."""
        chunks = []
        try:
            while chunk := response.read1(_CHUNK):
                chunks.append(chunk)
                # A read timeout restarts with each packet: a server that trickles would never meet it.
                if time.monotonic() > deadline:
                    raise TimeoutError
        except TRANSPORT_ERRORS as error:
            response.close()
            raise self._lost(call, error, timeout) from error
        response.release_conn()
        return b"".join(chunks)

    def _counted(self, call: Call, read: float) -> HTTPResponse:
        begun = time.monotonic()
        code = _NO_ANSWER
        try:
            response = self._send(call, read)
            code = str(response.status) if response.status in _CODES else _STRANGE
        finally:
            self._counts.count(API_REQUESTS, verb=call.verb, code=code)
            self._counts.observe(API_SECONDS, time.monotonic() - begun, verb=call.verb)
        return response

    def _send(self, call: Call, read: float) -> HTTPResponse:
        deadline = time.monotonic() + read
        try:
            return self._attempt(call, read)
        except ProtocolError as error:
            # Most likely a kept-alive connection that a load balancer has ended: reading again is harmless.
            if call.method != "GET" or self.closed:
                raise self._lost(call, error, read) from error
        except TRANSPORT_ERRORS as error:
            raise self._lost(call, error, read) from error
        try:
            return self._attempt(call, max(0.1, deadline - time.monotonic()))
        except TRANSPORT_ERRORS as error:
            raise self._lost(call, error, read) from error

    def _attempt(self, call: Call, read: float) -> HTTPResponse:
        if self.closed:
            raise answers.closed(call)
        headers = dict(_HEADERS)
        try:
            self._client.update_params_for_auth(
                headers, [], ["BearerToken"], call.path, call.method, call.body
            )
        except (ConfigException, OSError) as error:
            raise _no_credentials(call, error) from error
        with _change(call):
            answer = self._pools.urlopen(
                call.method,
                _url(call),
                redirect=False,
                body=json.dumps(call.body) if call.body is not None else None,
                headers=headers,
                timeout=Timeout(connect=min(_CONNECT, read), read=read),
                preload_content=False,
            )
        return cast("HTTPResponse", answer)

    def _lost(self, call: Call, error: BaseException, timeout: float) -> Exception:
        return answers.closed(call) if self.closed else answers.unreachable(call, error, timeout)


def _url(call: Call) -> str:
    return f"{call.address}{call.path}" + (f"?{urlencode(call.query, quote_via=quote)}" if call.query else "")


def _change(call: Call) -> AbstractContextManager[object]:
    if call.method == "GET" or "dryRun" in call.query:
        return nullcontext()
    return effect(cast("Step", call.method), call.path)


def _no_credentials(call: Call, error: Exception) -> Unauthorized:
    cure = "check the ServiceAccount token file or the exec plugin of the kubeconfig"
    return Unauthorized(f"{call}: the credentials cannot be read: {error}", cure=cure)


class _Sockets:
    """The sockets in use, so that another thread can end a read that would last for minutes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.closed = False

    def add(self, connection: socket.socket | None) -> None:
        if connection is None:
            return
        with self._lock:
            self._open.add(connection)
            if self.closed:
                cut(connection)

    def abort(self) -> None:
        with self._lock:
            self.closed = True
            for connection in list(self._open):
                cut(connection)


def cut(connection: socket.socket) -> None:
    """Wake whoever reads from ``connection``.

    Not ``SSLSocket.shutdown``: that forgets the TLS object, which the reading thread is using.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _track(pools: PoolManager) -> _Sockets:
    """Make every connection of ``pools`` leave its socket in the returned set."""
    sockets = _Sockets()

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class Tls(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    pools.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
    return sockets
