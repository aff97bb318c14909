"""Log lines that carry the request, claim and device they belong to.

``with bind(request=7, claim="ns/name"):`` adds fields to every line logged inside, in this thread and in work handed
to other threads through :func:`contextvars.copy_context`. Nothing here knows who logs what.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal, TextIO

_fields: ContextVar[Mapping[str, str]] = ContextVar("dra_log_fields", default=MappingProxyType({}))

LogFormat = Literal["text", "json"]


@contextmanager
def bind(**fields: object) -> Iterator[None]:
    """Add ``fields`` to every line logged inside the block; inner values win."""
    token = _fields.set({**_fields.get(), **{name: str(value) for name, value in fields.items()}})
    try:
        yield
    finally:
        _fields.reset(token)


def annotate(**fields: object) -> None:
    """Add ``fields`` to the lines logged from now to the end of the enclosing :func:`bind` block, if there is one."""
    if not _fields.get():
        return
    _fields.set({**_fields.get(), **{name: str(value) for name, value in fields.items()}})


def setup(log_format: LogFormat, *, verbose: bool = False, stream: TextIO | None = None) -> None:
    """Send all lines to ``stream`` (standard error). Libraries are heard from WARNING up only."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    level = logging.DEBUG if verbose else logging.INFO
    for name in ("dra_common", "gpu_driver", "gaudi_driver", "qat_driver"):
        logging.getLogger(name).setLevel(level)


class _TextFormatter(logging.Formatter):
    """``2026-01-01T00:00:00.000Z INFO  message  claim=ns/name request=7``."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one line; an exception's traceback follows only at DEBUG or for errors nobody foresaw."""
        pairs = " ".join(f"{name}={_quote(value)}" for name, value in sorted(_fields.get().items()))
        line = f"{_timestamp(record)} {record.levelname:<7} {record.getMessage()}"
        line = f"{line}  {pairs}" if pairs else line
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: ``ts``, ``level``, ``logger``, ``msg`` and the bound fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one line."""
        line = {
            **_fields.get(),
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quote(value: str) -> str:
    return json.dumps(value) if not value or any(char in value for char in ' "=\n') else value
