"""Health as the kernel shows it: what the driver reads of its devices, PCIe error counters, and events.

A device that hangs can hold a reader up for ever. So one thread of its own reads, and when it does not come back the
source is away, while everything else goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from dra_common.driver import HealthKnowledge
from dra_common.errors import HostError
from dra_common.health import aer, incidents
from dra_common.model import Finding, Severity
from dra_common.ports import Host, Report, Uevent

_log = logging.getLogger(__name__)

EVERY: Final = 10.0
"""Seconds from one look at the devices to the next."""
HOLD: Final = 300.0
"""Seconds for which an error that passed is told."""
_LATE: Final = 3.0
"""Looks that may be missed before what was seen no longer counts."""
_JOIN_SECONDS: Final = 2.0
_WAIT_SECONDS: Final = 2.0


class KernelSource:
    """:class:`dra_common.ports.HealthSource` of what sysfs and kernel events show.

    Args:
        knowledge: reads what only the driver understands.
        host: the machine.
        every: seconds between looks.
        hold: seconds for which an error that passed is told.
    """

    name: str = "sysfs"

    def __init__(
        self, knowledge: HealthKnowledge[Any], host: Host, *, every: float = EVERY, hold: float = HOLD
    ) -> None:
        self._knowledge, self._host, self._every, self._hold = knowledge, host, every, hold
        self._lock = threading.Condition()  # guards all below
        self._hardware: Mapping[str, Any] = {}
        self._wanted, self._done = 0, 0
        self._incidents = incidents.NONE
        self._mended: set[str] = set()
        self._began: float | None = None
        self._stopping = False
        self._report: Report | None = None
        self._errors: dict[str, aer.Errors] = {}
        self._changed: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="health-sysfs", daemon=True)

    # ------------------------------------------------------------------ called from elsewhere

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to look; there is nothing to be seen before :meth:`seen`."""
        self._changed = changed
        self._report = Report()
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a look that hangs is left behind."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def report(self) -> Report | None:
        """Return what was seen last, if that is not too long ago."""
        with self._lock:
            report, began = self._report, self._began
        late = began is not None and time.monotonic() - began > _LATE * self._every
        if report is None or not late:
            return report
        return replace(
            report, away=f"a look at the devices hangs in the kernel since {_LATE * self._every:.0f} s"
        )

    def seen(self, hardware: Mapping[str, Any]) -> None:
        """A look at the machine found this, by device name. What is new of it is looked at before this returns.

        It waits for two seconds at most: what is published next should say how new devices are.
        """
        with self._lock:
            if hardware == self._hardware:
                return
            self._hardware = hardware
            wanted = self._ask()
            self._lock.wait_for(lambda: self._done >= wanted or self._stopping, _WAIT_SECONDS)

    def heard(self, event: Uevent) -> None:
        """Take in a kernel event. Never blocks."""
        with self._lock:
            after, mended = incidents.after(self._incidents, event), incidents.mended(event)
            if mended:
                self._mended.add(mended)
            if mended or after is not self._incidents:
                self._incidents = after
                self._ask()

    def _ask(self) -> int:
        self._wanted += 1
        self._lock.notify_all()
        return self._wanted

    # ------------------------------------------------------------------ our thread

    def _run(self) -> None:
        while self._wait():
            try:
                changed = self._look()
            except Exception:  # noqa: BLE001 - a defect of ours: a dead thread would say for ever what was true once
                _log.exception("the health of the devices could not be read; trying again")
                changed = False
            if changed:
                self._changed()

    def _wait(self) -> bool:
        """Wait for the next look; returns whether there is to be one."""
        with self._lock:
            self._began = None
            self._lock.wait_for(lambda: self._wanted > self._done or self._stopping, self._every)
            self._began = time.monotonic()
            return not self._stopping

    def _look(self) -> bool:
        with self._lock:
            wanted, hardware, told = self._wanted, self._hardware, self._incidents
            mended, self._mended = self._mended, set()
        self._errors = {name: errors for name, errors in self._errors.items() if name not in mended}
        found = {self._address(name, one): self._examine(name, one, told) for name, one in hardware.items()}
        report = Report({name: findings for name, findings in found.items() if findings})
        with self._lock:
            changed, self._report, self._done = report != self._report, report, wanted
            self._lock.notify_all()
        return changed

    def _address(self, name: str, hardware: Any) -> str:  # noqa: ANN401 - the driver's own
        """Return the PCI address of a device, by which those that depend on it know it, too; else its name."""
        return next(filter(incidents.is_address, self._knowledge.names(hardware)), name)

    def _examine(self, name: str, hardware: Any, told: incidents.Incidents) -> tuple[Finding, ...]:  # noqa: ANN401 - see above
        address = self._address(name, hardware)
        try:
            signs = self._knowledge.signs(hardware, self._host)
        except HostError as error:
            signs = (Finding(self.name, Severity.UNKNOWN, error.message),)
        heard = told.get(address, {})
        # What an event told is told better than what is seen of it.
        return (*(one for one in signs if one.what not in heard), *heard.values(), *self._pcie(address))

    def _pcie(self, address: str) -> tuple[Finding, ...]:
        if not incidents.is_address(address):
            return ()
        fatal, nonfatal = (aer.counted(self._host, address, one) for one in ("fatal", "nonfatal"))
        now = time.monotonic()
        before = self._errors.get(address, aer.Errors())
        errors = aer.look(before, fatal, nonfatal, now=now, hold=self._hold)
        self._errors[address] = errors
        return aer.findings(errors, now)
