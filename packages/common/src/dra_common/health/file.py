"""Health from a file: for site scripts, tests and demonstrations.

.. code-block:: yaml

    - device: 0000-03-00-0-0xe211     # as published, or its PCI address
      severity: critical              # ok, warning, critical or failed
      what: memory                    # in a few words; becomes the taint's value
      message: 3 uncorrectable errors since noon

It is looked at every second, by name: it may be replaced by rename, or be a mounted ConfigMap.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from dra_common.files import read_all
from dra_common.model import Finding, Severity
from dra_common.ports import Report

_log = logging.getLogger(__name__)

LONGEST: Final = 1 << 20
"""Bytes of the file."""
_EVERY = 1.0
_JOIN_SECONDS = 2.0

Stamp = tuple[int, int, int, int]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    device: Annotated[str, StringConstraints(min_length=1)]
    severity: Literal["ok", "warning", "critical", "failed"]
    what: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] = "file"
    message: str = ""


_ENTRIES = TypeAdapter(list[_Entry])


class BadHealthFile(Exception):
    """The file does not say what it should; ``str()`` is one line."""


class FileSource:
    """:class:`dra_common.ports.HealthSource` from a JSON or YAML file; one that is not there says nothing of anybody.

    A file that cannot be understood changes nothing: what it said before stays, and the source is away.

    Args:
        path: the file.
        every: seconds between two looks at it.
    """

    name: str = "file"

    def __init__(self, path: Path, *, every: float = _EVERY) -> None:
        self._path, self._every = path, every
        self._stamp: Stamp | None = None
        self._report: Report | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health-file", daemon=True)
        self._changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        """Read it now, and again whenever it is another one."""
        self._look()
        self._changed = changed
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def report(self) -> Report | None:
        """Return what the file said last."""
        return self._report

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            if self._look():
                self._changed()

    def _look(self) -> bool:
        """Read the file if it is another one; returns whether the report is."""
        before = self._report or Report()
        try:
            stamp = _stamp(self._path)
            if self._report is not None and stamp == self._stamp:
                return False
            self._stamp, self._report = stamp, _read(self._path) if stamp else Report()
        except (BadHealthFile, OSError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            self._report = Report(before.findings, away=f"{self._path}: {said}")
        return self._report != before


def _stamp(path: Path) -> Stamp | None:
    """Return what tells one version of the file from another; None if there is none. Raises OSError, BadHealthFile."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        raise BadHealthFile("is not a regular file")
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> Report:
    # Without waiting: it may be a pipe by now.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        data = read_all(descriptor, LONGEST + 1)
    finally:
        os.close(descriptor)
    if len(data) > LONGEST:
        raise BadHealthFile(f"is longer than {LONGEST} bytes")
    return parse(data)


def parse(data: bytes) -> Report:
    """Return what the bytes of a file say. Raises BadHealthFile."""
    found: defaultdict[str, list[Finding]] = defaultdict(list)
    try:
        for entry in _ENTRIES.validate_python(_decode(data)):
            finding = Finding(entry.what, Severity[entry.severity.upper()], entry.message)
            found[entry.device.lower()].append(finding)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BadHealthFile(f"{place}: {first['msg']}") from None
    return Report({name: tuple(findings) for name, findings in found.items()})


def _decode(data: bytes) -> object:
    """JSON first: it needs no parser in Python, and most of it is YAML of another meaning."""
    try:
        return json.loads(data) if data.strip() else []
    except (ValueError, RecursionError):
        pass
    import yaml  # noqa: PLC0415 - most nodes have no such file

    try:
        # Plain text, but for lists and mappings: `0000:03:00.0` is no number in base 60.
        decoded = yaml.load(data, Loader=yaml.BaseLoader)  # noqa: S506 - makes nothing but text, lists and mappings
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadHealthFile(f"line {line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadHealthFile(f"not YAML: {' '.join(str(error).split())[:200]}") from None
    return decoded or []
