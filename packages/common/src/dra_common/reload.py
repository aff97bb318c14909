"""The configuration that is in use: read at the start, and again when its file changes.

A change is seen by looking at the file's numbers every few seconds: a mounted ConfigMap changes by the swap of a
symbolic link somewhere above, which no event of the file itself tells.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Any

from dra_common.driver import Driver
from dra_common.errors import SettingsError
from dra_common.policy import DriverPolicy, PolicyKind, changes, effective
from dra_common.readiness import ended
from dra_common.telemetry import CONFIG_LOADS, SILENT, Reason, Samples, Telemetry

_log = logging.getLogger(__name__)

PERIOD = 3.0
"""Seconds from one look at the file to the next."""

_Seen = tuple[int, ...] | None


class Configuration:
    """Gives a driver its policy, now and whenever the file changes. A bad file at the start raises SettingsError.

    Args:
        file: None = there is none; flags alone decide, once.
        flags: those fields of the policy that were given as flags or variables, by their names in Python.
        period: seconds from one look at the file to the next.
    """

    def __init__(
        self,
        driver: Driver[Any],
        file: Path | None,
        flags: Mapping[str, object],
        node: str,
        *,
        period: float = PERIOD,
    ) -> None:
        self._driver, self._file, self._flags, self._node = driver, file, flags, node
        self._period = period
        self._telemetry: Telemetry = SILENT
        self._changed: Callable[[str], None] = lambda _: None
        self._trouble = ""
        self._stopping = Event()
        self._thread = Thread(target=self._watch, name="configuration", daemon=True)
        # Before it is read: a change in between is then seen by the first look.
        self._seen = _numbers(file)
        self._policy = self._load()
        if self._policy is not None:
            driver.configure(self._policy)

    def start(self, telemetry: Telemetry, changed: Callable[[str], None]) -> None:
        """Look at the file from now on, in a thread. ``changed`` is told after the driver has another policy."""
        self._telemetry, self._changed = telemetry, changed
        if self._file:
            telemetry.count(CONFIG_LOADS, result="success")
            _log.info("configuration %s is in use", self._file)
            self._thread.start()

    def stop(self) -> None:
        """End the thread. May be called again, and without a start."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(self._period)

    def why_dead(self) -> str:
        """Return that the thread has ended although nobody stopped it, ``""`` if it has not."""
        return ended([self._thread], stopped=self._stopping.is_set())

    def current(self) -> Samples:
        """Return 1 while what is in use is what the file says, else 0; nothing without a file."""
        return {(): 0 if self._trouble else 1} if self._file else {}

    def look(self) -> None:
        """Read the file again if it has changed; a bad one changes nothing."""
        numbers = _numbers(self._file)
        if numbers == self._seen:
            return
        self._seen = numbers
        try:
            policy = self._load()
        except SettingsError as error:
            self._refuse(str(error))
            return
        self._take(policy)

    def _watch(self) -> None:
        while not self._stopping.wait(self._period):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - a defect of ours: a dead thread would never read the file again
                _log.exception("the look at the configuration failed, trying again")

    def _load(self) -> DriverPolicy | None:
        kind = self._driver.policy_kind
        if kind is None:
            return None
        file = _read(self._file, kind) if self._file else None
        return effective(kind, file, self._node, self._flags)

    def _take(self, policy: DriverPolicy | None) -> None:
        self._telemetry.count(CONFIG_LOADS, result="success")
        before, self._policy = self._policy, policy
        names = changes(before, policy) if before and policy else ()
        if names or self._trouble:
            said = f"{', '.join(names)} changed" if names else "nothing changed"
            _log.info("configuration %s was read again: %s", self._file, said)
        self._trouble = ""
        if policy is not None and names:
            self._driver.configure(policy)
            self._changed("the configuration has changed")

    def _refuse(self, trouble: str) -> None:
        self._telemetry.count(CONFIG_LOADS, result="error")
        if trouble == self._trouble:
            return
        self._trouble = trouble
        _log.error("the configuration was changed and is not used, what was in use before stays: %s", trouble)
        self._telemetry.event(Reason.CONFIG_REFUSED, f"the configuration in use stays: {trouble}")


def _read(file: Path, kind: PolicyKind) -> DriverPolicy:
    from dra_common.policy_file import read_policy  # noqa: PLC0415 - loads YAML, which a driver without a file spares

    return read_policy(file, kind)


def _numbers(file: Path | None) -> _Seen:
    """Return what changes when the file does, links followed; None if it is not there."""
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
