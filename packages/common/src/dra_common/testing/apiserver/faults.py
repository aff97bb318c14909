"""Bad moods: what the fake API server does instead of answering properly."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Literal

from dra_common.testing.apiserver.status import Refusal

Mood = int | Literal["drop", "hang", "half", "stall", "garbage"]
"""An HTTP status; or: close without an answer, stay silent, break off in the middle, fall silent there, send HTML."""


@dataclass(slots=True)
class Fault:
    """One rule; ``hits`` counts the requests it has spoilt."""

    mood: Mood
    method: str | None
    path: re.Pattern[str]
    left: int | None
    retry_after: int
    message: str
    applied: bool
    hits: int = field(default=0)

    def refusal(self, method: str, path: str) -> Refusal:
        """Return the Status for an HTTP status, worded as the real server does."""
        code = self.mood if isinstance(self.mood, int) else 500
        message = self.message or _MESSAGES.get(code, "injected fault").format(method=method, path=path)
        return Refusal(code, message, retry_after=self.retry_after)


_MESSAGES = {
    400: "the server could not understand the request",
    401: "Unauthorized",
    403: 'forbidden: User "system:serviceaccount:default:test" cannot {method} path "{path}"',
    404: "the server could not find the requested resource",
    409: "Operation cannot be fulfilled: the object has been modified",
    410: "The provided continue parameter is too old to display a consistent list result",
    422: "the object is invalid",
    429: "too many requests, please try again later",
    500: "Internal error occurred: etcdserver: request timed out",
    503: "the server is currently unable to handle the request",
    504: "Timeout: request did not complete within the allotted timeout",
}


class Faults:
    """The rules in force; the first that matches a request and is not used up applies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []

    def add(
        self,
        *,
        status: Mood,
        method: str | None = None,
        path: str = "",
        count: int | None = None,
        retry_after: int = 0,
        message: str = "",
        applied: bool = False,
    ) -> Fault:
        """Spoil requests.

        Args:
            status: an HTTP status, ``drop``, ``hang``, ``half``, ``stall`` or ``garbage``.
            method: ``GET``, ``POST`` …, or ``WATCH``; None = any (a watch is a ``GET`` too).
            path: a regular expression searched in the path with its query.
            count: for how many requests; None = until :meth:`clear`.
            retry_after: seconds, sent as ``Retry-After``.
            message: the Status' text instead of the usual one.
            applied: do what was asked, and spoil only the answer: the write that the client thinks has failed.
        """
        rule = Fault(status, method, re.compile(path), count, retry_after, message, applied)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Be well again."""
        with self._lock:
            self._rules.clear()

    def take(self, methods: tuple[str, ...], path: str) -> Fault | None:
        """Return the rule for this request and count it."""
        with self._lock:
            for rule in self._rules:
                if (
                    rule.left != 0
                    and (rule.method is None or rule.method in methods)
                    and rule.path.search(path)
                ):
                    rule.hits += 1
                    if rule.left is not None:
                        rule.left -= 1
                    return rule
        return None
