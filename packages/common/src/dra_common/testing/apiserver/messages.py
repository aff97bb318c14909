"""Requests and answers, apart from the sockets they travel on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    body: Json | None
    at: float = field(default_factory=time.time)
    authorization: str = ""

    @property
    def is_watch(self) -> bool:
        """Whether it asks for a stream."""
        return self.method == "GET" and self.query.get("watch", "") in ("1", "true")

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing is to be kept of what it writes."""
        return self.query.get("dryRun") == "All"


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; ``body`` is an object, or text for what is not JSON."""

    code: int
    body: Json | str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    """A watch: lines until the iterator ends. None = nothing to say, a chance to notice that the client has gone."""

    lines: Iterator[Json | None]
    close: Callable[[], None]
