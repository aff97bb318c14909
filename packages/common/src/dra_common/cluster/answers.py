"""What the API server's answers, and its silence, mean in terms of :mod:`dra_common.errors`."""

from __future__ import annotations

import copy
import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

import urllib3.exceptions as urllib3_errors

from dra_common.errors import (
    ClusterError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerError,
    Throttled,
    Unauthorized,
    Unreachable,
)

E = TypeVar("E", bound=ClusterError)

_OBJECT = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/[^/]+/(?:namespaces/[^/]+/)?(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?"
)
_LONGEST_TEXT = 300
_LONGEST_MESSAGE = 2000
"""Characters. The message of a 422 lists each cause, and there may be as many as devices."""
_SHORT_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_CLASSES: dict[int, type[ClusterError]] = {
    401: Unauthorized,
    403: Forbidden,
    409: Conflict,
    410: Gone,
}
_CURES = {
    401: "the credentials are not accepted: check the ServiceAccount token or the user of the kubeconfig",
    409: "somebody else wrote it: read the object again, then repeat the change",
    410: "the version asked for is too old: list again",
}
_CURE_SERVER = "look into the API server's log; the request can be repeated"
_CURE_INVALID = (
    "the server does not accept this: check that it is Kubernetes 1.34 or newer, and its feature gates"
)

TRANSPORT_ERRORS = (urllib3_errors.HTTPError, http.client.HTTPException, OSError)
"""What the layers below raise when there is no complete answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as error messages name it; ``address`` is the API server's URL."""

    method: str
    path: str
    address: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def verb(self) -> str:
        """The verb that an RBAC rule must grant."""
        if self.method == "GET":
            if self.query.get("watch"):
                return "watch"
            found = _OBJECT.match(self.path)
            return "list" if found and not found["name"] else "get"
        return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(
            self.method, self.method
        )


def refused(call: Call, status: int, headers: Mapping[str, str], body: bytes) -> ClusterError:
    """Return the error for an answer that is not 2xx."""
    said = _status_message(body)
    message = f"{call}: the API server answered {status}" + (f": {said}" if said else "")
    if status == 429:  # noqa: PLR2004 (HTTP status)
        wait = _retry_after(headers, body)
        return Throttled(
            message, cure=f"it is overloaded; try again in {wait:g} s", status=status, retry_after=wait
        )
    if 300 <= status < 400:  # noqa: PLR2004 (HTTP status)
        return Unreachable(message, cure=_address_cure(call), status=status)
    if status == 404:  # noqa: PLR2004 (HTTP status)
        return NotFound(message, cure=_cure(call, status, said), definite=_names_object(call, body))
    kind = _CLASSES.get(status) or (ServerError if status >= 500 else Invalid)  # noqa: PLR2004 (HTTP status)
    return kind(message, cure=_cure(call, status, said), status=status)


def from_status(call: Call, status: Mapping[str, Any]) -> ClusterError:
    """Return the error for a ``Status`` object inside a watch."""
    code, details = status.get("code"), status.get("details")
    # Only what is looked at: the rest may be too deep to be written again.
    said = status.get("message")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    plain = {
        "message": said if isinstance(said, str) else "",
        "details": {"retryAfterSeconds": seconds if isinstance(seconds, int | float) else None},
    }
    return refused(call, code if isinstance(code, int) else 500, {}, json.dumps(plain).encode())


def garbage(call: Call, status: int, body: bytes) -> Unreachable:
    """Return the error for an answer that no API server gives."""
    start = body[:60].decode("utf-8", "replace").strip()
    message = f"{call}: the answer ({status}) is not what an API server sends: {start!r}"
    cure = f"check that {call.address} is a Kubernetes API server and not a proxy or a login page"
    return Unreachable(message, cure=cure, status=status)


def unreachable(call: Call, error: BaseException, timeout: float) -> Unreachable:
    """Return the error for no answer, half an answer, or silence until ``timeout`` seconds."""
    text = _transport_text(error, timeout)
    cure = _tls_cure(call) if _is_tls(error) else _address_cure(call)
    return Unreachable(f"{call}: {text}", cure=cure)


def too_slow(call: Call, timeout: float) -> Unreachable:
    """Return the error for an answer that did not end in time."""
    return unreachable(call, TimeoutError(), timeout)


def closed(call: Call) -> Unreachable:
    """Return the error for a call on a client that is shut down."""
    return Unreachable(f"{call}: this client was closed", cure="the driver is stopping")


def reworded(error: E, subject: str, cure: str = "") -> E:
    """Return the same error, of the same class, that says first what it is about."""
    named = copy.copy(error)
    named.message = f"{subject}: {error.message}"
    named.args = (named.message,)
    named.cure = cure or error.cure
    return named


# ---------------------------------------------------------------------- words


def _names_object(call: Call, body: bytes) -> bool:
    """Whether a 404 is the API server's own word on the very object that was asked for."""
    found = _OBJECT.match(call.path)
    try:
        status = json.loads(body)
        named = (
            status["kind"],
            status["reason"],
            status["details"]["kind"],
            quote(status["details"]["name"], safe=""),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    return found is not None and named == ("Status", "NotFound", found["plural"], found["name"])


def _status_message(body: bytes) -> str:
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        return " ".join(body[:_LONGEST_TEXT].decode("utf-8", "replace").split())
    said = decoded.get("message") if isinstance(decoded, dict) else None
    return " ".join(said.split())[:_LONGEST_MESSAGE] if isinstance(said, str) else ""


def _retry_after(headers: Mapping[str, str], body: bytes) -> float:
    """Seconds from the header, else from the Status, else 1 (a date in the header counts as none); at most 60.

    Longer pauses, as proxies ask for, would leave a wiped node unrepaired; a number without end would end a thread.
    """
    text = headers.get("Retry-After", "")
    if text.isascii() and text.isdecimal():
        return min(float(text), _LONGEST_PAUSE)
    try:
        seconds = float(json.loads(body)["details"]["retryAfterSeconds"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return _SHORT_PAUSE
    return min(seconds, _LONGEST_PAUSE) if seconds >= 0 else _SHORT_PAUSE


def _cure(call: Call, status: int, said: str) -> str:
    if status == 403:  # noqa: PLR2004 (HTTP status)
        return _rbac_cure(call, said)
    if status == 404:  # noqa: PLR2004 (HTTP status)
        return _missing_cure(call, said)
    return _CURES.get(status) or (_CURE_SERVER if status >= 500 else _CURE_INVALID)  # noqa: PLR2004 (HTTP status)


def _rbac_cure(call: Call, said: str) -> str:
    if "admission" in said.lower():
        return "an admission policy or webhook denied it: see the policy that the message names"
    found = _OBJECT.match(call.path)
    if not found:
        return f'the role needs a nonResourceURLs rule: verb "{call.verb}" on "{call.path}"'
    group = found["group"] or ""
    return f'the RBAC role needs a rule: apiGroups ["{group}"], resources ["{found["plural"]}"], verbs ["{call.verb}"]'


def _missing_cure(call: Call, said: str) -> str:
    # An object that is missing is named by a Status; a group version that is not served answers with plain text.
    found = _OBJECT.match(call.path)
    if found and ("page not found" in said or "could not find the requested resource" in said):
        return "this API group version is not served: resource.k8s.io/v1 needs Kubernetes 1.34 or newer"
    return "it does not exist (any more)"


def _address_cure(call: Call) -> str:
    return (
        f"check that {call.address} is the API server and that this node reaches it (DNS, routes, firewall)"
    )


def _tls_cure(call: Call) -> str:
    return f"check the CA certificate in the kubeconfig or ServiceAccount for {call.address}, and this node's clock"


def _is_tls(error: BaseException) -> bool:
    return isinstance(error, urllib3_errors.SSLError)


def _transport_text(error: BaseException, timeout: float) -> str:
    if isinstance(error, urllib3_errors.NameResolutionError):
        return "the host name does not resolve"
    if isinstance(error, urllib3_errors.NewConnectionError):
        return f"no connection: {_innermost(error)}"
    if isinstance(error, urllib3_errors.ConnectTimeoutError):
        return f"no connection within {timeout:.3g} s"
    if isinstance(error, urllib3_errors.TimeoutError | TimeoutError):
        return f"no answer within {timeout:.3g} s"
    if _is_tls(error):
        return f"no TLS connection: SSLError {' '.join(str(error).split())}"
    return f"the connection broke before the answer was complete: {_innermost(error)}"


def _innermost(error: BaseException) -> str:
    """The kernel's own words, out of the wrappings of the layers."""
    inner = error.__cause__ or error.__context__
    while inner is not None:
        error, inner = inner, inner.__cause__ or inner.__context__
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
