"""The API server over HTTPS with plain dicts, from outside of the node's network."""

import http.client
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from harness.errors import HarnessError
from harness.node import SERVICE
from harness.sandbox import Sandbox

Json = dict[str, Any]
JSON = "application/json"
TIMEOUT = 30.0
MERGE = "application/merge-patch+json"


class ApiError(HarnessError):
    """An answer that is not a success: ``status`` is the HTTP status, ``body`` the ``Status`` object if it was one."""

    def __init__(self, message: str, status: int, body: Json) -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class Unanswered(HarnessError):
    """No connection, or it was cut."""


class _Connection(http.client.HTTPSConnection):
    """Made inside the node's network, whichever network the caller is in."""

    def __init__(self, sandbox: Sandbox, context: ssl.SSLContext) -> None:
        super().__init__(SERVICE, 443, timeout=TIMEOUT, context=context)
        self._sandbox = sandbox
        self._tls = context

    def connect(self) -> None:
        plain = self._sandbox.connect(SERVICE, 443, TIMEOUT)
        self.sock = self._tls.wrap_socket(plain, server_hostname=SERVICE)


class Api:
    """Requests as one user; safe to use from several threads. Connections are kept until ``close()``."""

    def __init__(self, sandbox: Sandbox, certificate: str, token: str) -> None:
        self._sandbox = sandbox
        self._context = ssl.create_default_context(cadata=certificate)
        # The API server's own certificate says less than a strict check of Python 3.13 wants.
        self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._token = token
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []

    def close(self) -> None:
        """Close the connections that nobody is using."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        kind: str = JSON,
        query: Mapping[str, str | int] | None = None,
    ) -> Json:
        """Make one request; the object that was answered, or ``{"text": …}`` if it was not JSON.

        Raises ``ApiError`` for a status of 400 or more, ``Unanswered`` if there was no answer.
        """
        full = f"{path}?{urlencode(query)}" if query else path
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind, "Accept": JSON}
        data = None if body is None else json.dumps(body)
        status, text = self._exchange(method, full, data, headers)
        answer = _parse(text)
        if status >= http.HTTPStatus.BAD_REQUEST:
            raise ApiError(
                f"{method} {full}: {status}: {answer.get('message', text.strip())}", status, answer
            )
        return answer

    def get(self, path: str, **query: str | int) -> Json:
        """Read an object or a list."""
        return self.request("GET", path, query=query)

    def items(self, path: str, **query: str | int) -> list[Json]:
        """Read the objects of a list."""
        found: list[Json] = self.get(path, **query)["items"]
        return found

    def find(self, path: str) -> Json | None:
        """Read an object, or None if there is none."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == http.HTTPStatus.NOT_FOUND:
                return None
            raise

    @contextmanager
    def watch(self, path: str, **query: str | int) -> Iterator[Iterator[Json]]:
        """Watch a list, from the resource version that it had when it was read, or from one in ``query``.

        The watch has begun when the block does. Events are objects with ``type`` and ``object``; ``Unanswered`` is
        raised in their place if the server ends them, or after ``TIMEOUT`` seconds without any.
        """
        since = query or {"resourceVersion": self.get(path)["metadata"]["resourceVersion"]}
        connection = _Connection(self._sandbox, self._context)
        headers = {"Authorization": f"Bearer {self._token}", "Accept": JSON}
        try:
            connection.request("GET", f"{path}?{urlencode({'watch': 'true'} | since)}", headers=headers)
            answer = connection.getresponse()
            yield _events(answer, path)
        finally:
            connection.close()

    def create(self, path: str, body: Mapping[str, object]) -> Json:
        """Create an object; ``path`` is that of its list."""
        return self.request("POST", path, body)

    def replace(self, path: str, body: Mapping[str, object]) -> Json:
        """Write a whole object."""
        return self.request("PUT", path, body)

    def merge(self, path: str, body: Mapping[str, object]) -> Json:
        """Change some fields of an object (JSON merge patch)."""
        return self.request("PATCH", path, body, kind=MERGE)

    def delete(self, path: str, **options: object) -> Json:
        """Delete an object; ``options`` are fields of DeleteOptions, such as ``gracePeriodSeconds``."""
        return self.request("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1"} | options)

    def _exchange(
        self, method: str, path: str, data: str | None, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        request = (method, path, data, dict(headers))
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            try:
                return self._once(kept, *request)
            except TimeoutError as error:
                raise Unanswered(f"{method} {path}: {error!r}") from None
            except (OSError, http.client.HTTPException):
                pass  # it was closed while nobody used it
        try:
            return self._once(_Connection(self._sandbox, self._context), *request)
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(f"{method} {path}: {error!r}") from None

    def _once(self, connection: _Connection, *request: Any) -> tuple[int, str]:  # noqa: ANN401 # as request() takes it
        try:
            connection.request(*request)
            answer = connection.getresponse()
            result = answer.status, answer.read().decode()
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)
        return result


def _events(answer: http.client.HTTPResponse, path: str) -> Iterator[Json]:
    try:
        for line in answer:
            yield json.loads(line)
    except (OSError, http.client.HTTPException) as error:
        raise Unanswered(f"watch of {path}: {error!r}") from None
    raise Unanswered(f"watch of {path}: the server has ended it")


def _parse(text: str) -> Json:
    try:
        answer = json.loads(text)
    except ValueError:
        return {"text": text}
    return answer if isinstance(answer, dict) else {"text": text}
