"""Health and identity of Gaudis as Habana's management library knows them.

The library is called in this process, as Intel's Go driver does it: a fault in it ends the driver, which starts again
and finds all that it needs on disk. A process of its own would survive that, at the price of a second interpreter on
every node and a protocol between the two. That the library may hang is provided for: only the thread here waits for it,
and says so.

No number that a function returns makes a device unhealthy. The library also says no while a device is reset after its
last user, and of things that a board does not have; whether a device is lost, the kernel's own status says (source
``sysfs``). Only events do, see :mod:`gaudi_driver.hlml.incidents`, and only those of the device that they are about.

Events are heard from the moment that a device was registered; what happened before, or while this driver was not
running, shows in the kernel's status alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from dra_common.model import Finding, Severity
from dra_common.pacing import Backoff
from dra_common.ports import Report

from gaudi_driver.hlml.incidents import HOLD, PROOF, Incidents
from gaudi_driver.hlml.library import HlmlError, Library
from gaudi_driver.hlml.machine import Machine, Resets
from gaudi_driver.hlml.session import Seen, Session

_log = logging.getLogger(__name__)

_JOIN_SECONDS: Final = 2.0
_FIRST_MILLISECONDS: Final = 1
"""The first wait shows that waiting works; what is known should be told before a second has passed."""
_BREATH: Final = 0.01
"""Seconds between two events, however fast they come."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient the source is, in seconds.

    Args:
        wait: for one event, after which everything else has its turn.
        grace: for which the library may fail before what it said last counts no more.
        hang: after which a call that did not return is called that.
        proof: for which a device has to work after a reset.
        hold: for which a warning is told.
    """

    wait: float = 1.0
    grace: float = 30.0
    hang: float = 30.0
    proof: float = PROOF
    hold: float = HOLD


class HlmlSource:
    """:class:`dra_common.ports.HealthSource` of the management library, by PCI address.

    Tells the attributes ``serial`` and ``uuid`` and the memory of each device, and that it is fine if it can be heard
    and nothing is wrong. A library that is missing, or fails as a whole, is tried again for ever.

    Args:
        load: loads the library; raises HlmlError.
        machine: what the kernel shows.
        interval: returns the seconds between two looks at the devices; asked each time.
        pace: how patient it is.
        backoff: between two tries to use the library.
    """

    name: str = "hlml"

    def __init__(
        self,
        load: Callable[[], Library],
        machine: Machine,
        interval: Callable[[], float],
        *,
        pace: Pace | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._load, self._machine, self._interval = load, machine, interval
        self._pace, self._backoff = pace or Pace(), backoff or Backoff()
        self._incidents = Incidents(self._pace.proof, self._pace.hold)
        self._seen: Mapping[str, Seen] = {}
        self._away = ""
        self._worked: float | None = None
        self._report: Report | None = None
        self._step: tuple[float, str] | None = None
        self._changed: Callable[[], None] = lambda: None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health-hlml", daemon=True)

    # ------------------------------------------------------------------ called from elsewhere

    def start(self, changed: Callable[[], None]) -> None:
        """Begin, in a thread of ours."""
        self._changed = changed
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a call that hangs is left behind."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def report(self) -> Report | None:
        """Return what is known; away if the library did not return from a call for long."""
        report, step = self._report, self._step
        if step is None or time.monotonic() - step[0] <= self._pace.hang:
            return report
        away = (
            f"{step[1]} has not ended for more than {self._pace.hang:g} s; look at the kernel log of the host, and"
            " restart the driver if it does not go on once the devices work"
        )
        return replace(report or Report(), away=away)

    # ------------------------------------------------------------------ our thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._live()
            except HlmlError as error:
                self._rest(str(error))
            except Exception as error:  # noqa: BLE001 - a defect of ours: a dead thread would repeat itself for ever
                _log.exception("the management library could not be asked; trying again")
                self._rest(f"a defect of this driver: {error}")
            self._step = None

    def _live(self) -> None:
        """Use the library until it fails, the machine changes, or we are stopped. Raises HlmlError.

        After a change the library begins anew: it may have looked for devices at its start only.
        """
        self._at("loading libhlml.so")
        with Session(self._load(), self._at) as session:
            began: Resets | None = None
            looked, wait = float("-inf"), _FIRST_MILLISECONDS
            while not self._stopping.is_set():
                resets = self._observe()
                began = resets if began is None else began
                if resets is not None and resets != began:
                    return
                if time.monotonic() - looked >= self._interval():
                    self._seen, looked = session.look(resets or (), self._seen), time.monotonic()
                self._hear(session, wait)
                self._tell_all_is_well()
                wait = round(self._pace.wait * 1000)

    def _observe(self) -> Resets | None:
        """See what the kernel shows, and which events do not count any more."""
        self._at("reading sysfs")
        resets = self._machine.resets()
        if resets is not None:
            self._incidents.observe(resets, self._machine.is_operational, time.monotonic())
        return resets

    def _hear(self, session: Session, milliseconds: int) -> None:
        """Wait for one event. Raises HlmlError."""
        if not session.hears:
            self._step = None
            self._stopping.wait(milliseconds / 1000)
            return
        happened = session.wait(milliseconds)
        if happened is not None:
            address, mask = happened
            where = self._seen.get(address, Seen()).where
            self._incidents.take(address, mask, where, time.monotonic())
            self._stopping.wait(_BREATH)

    def _tell_all_is_well(self) -> None:
        self._worked, self._away = time.monotonic(), ""
        self._backoff.reset()
        self._say()

    def _rest(self, why: str) -> None:
        """Wait for the next try; say that we cannot tell, unless that is new."""
        self._step = None
        if self._worked is None or time.monotonic() - self._worked >= self._pace.grace:
            self._away = why
        self._say()
        self._stopping.wait(self._backoff.next())

    def _at(self, step: str) -> None:
        self._step = time.monotonic(), step

    # ------------------------------------------------------------------ the report

    def _say(self) -> None:
        report = self._made()
        if report != self._report and not self._stopping.is_set():
            self._report = report
            self._changed()

    def _made(self) -> Report:
        incidents = self._incidents.findings()
        looks = {address: (_finding(seen),) for address, seen in self._seen.items()}
        return Report(
            {
                address: (*looks.get(address, ()), *incidents.get(address, ()))
                for address in sorted({*looks, *incidents})
            },
            self._away,
            {address: seen.memory for address, seen in self._seen.items() if seen.memory},
            {address: told for address, seen in self._seen.items() if (told := _attributes(seen))},
        )


def _finding(seen: Seen) -> Finding:
    """Return what a look says of a device by itself."""
    severity = Severity.UNKNOWN if seen.trouble else Severity.OK
    return Finding(HlmlSource.name, severity, seen.trouble)


def _attributes(seen: Seen) -> dict[str, str]:
    return {name: value for name, value in (("serial", seen.serial), ("uuid", seen.uuid)) if value}
