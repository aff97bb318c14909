"""The devices flow: look at the machine, take it into the inventory, hand what changed to the publisher."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any

from dra_common.bell import Bell
from dra_common.driver import NO_MODES, Discovery, Driver, Published
from dra_common.errors import DraError
from dra_common.inventory import Inventory, Taints, TaintSource
from dra_common.model import ParentMode, Snapshot
from dra_common.ports import Host, Uevent, UeventSource
from dra_common.problems import Problems
from dra_common.readiness import ended

_log = logging.getLogger(__name__)

_JOIN_SECONDS = 5.0
"""How long a stop waits for a look that hangs in the kernel; its thread does not keep the process alive."""


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds.

    Args:
        rescan: from one look to the next when nothing rings; the guarantee, as events can be lost.
        confirm: from a look that misses a device to the one that decides whether it is gone.
        lasting: during which something is found to be wrong until it is told.
        quiet: without a ring, before rings are answered.
        latest: from the first ring to the answer, however much it rings.
        reconnect: first pause before a lost event source is tried again; it doubles up to ``reconnect_most``.
    """

    rescan: float = 60.0
    confirm: float = 1.0
    lasting: float = 5.0
    quiet: float = 0.1
    latest: float = 1.0
    reconnect: float = 1.0
    reconnect_most: float = 60.0


class Reconciler:
    """Looks again when the doorbell rings and when time is up. Implements :class:`dra_common.ports.Doorbell`.

    Args:
        publish: takes a snapshot whose content changed; called in the thread that looked, so it only hands over.
        held: what claims hold: devices, each with a share id or None. Raises StateError.
        taints: each tells of the hardware that was found, by device name, which taints it has besides those that the
            driver knows of. Raises StateError.
        modes: the parents that are in a mode, by name. Raises StateError.
        seen: is told of the hardware that a look found, by device name, before it is taken in.
        heard: is told of every kernel event.
        uevents: None where there is no event source; the rescan does all then.
    """

    def __init__(  # noqa: PLR0913 - what it connects, wired once, in the composition root
        self,
        driver: Driver[Any],
        host: Host,
        inventory: Inventory,
        *,
        publish: Callable[[Snapshot], None],
        held: Callable[[], Collection[tuple[str, str | None]]],
        taints: Sequence[TaintSource] = (),
        modes: Callable[[], Mapping[str, ParentMode]] = lambda: NO_MODES,
        seen: Callable[[Mapping[str, Any]], None] = lambda _: None,
        heard: Callable[[Uevent], None] = lambda _: None,
        uevents: UeventSource | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._driver, self._host, self._inventory = driver, host, inventory
        self._publish, self._held, self._sources = publish, held, taints
        self._seen, self._modes = seen, modes
        self._timing = timing or Timing()
        self._bell = Bell(self._timing.quiet, self._timing.latest)
        self._looking = Lock()
        self._freeing = Lock()
        self._freed: frozenset[str] = frozenset()
        self._owed: Snapshot | None = None
        self._trouble = ""
        self._problems = Problems(self._timing.lasting)
        self._next_look = 0.0
        self._stopped = False
        self._threads = [Thread(target=self._answer, name="reconcile", daemon=True)]
        self._listener = _Listener(uevents, self.ring, heard, self._timing) if uevents else None
        if self._listener:
            self._threads.append(Thread(target=self._listener.run, name="uevents", daemon=True))
        self.reconciles = 0
        """Looks so far, failed ones too."""

    def ring(self, reason: str) -> None:
        """Look again soon. Never blocks; many rings become one look."""
        self._bell.ring(reason)

    def freed(self, devices: Collection[str]) -> None:
        """Look again soon if one of these devices was published only because it was held. Never blocks."""
        with self._freeing:
            self._freed |= frozenset(devices)  # for a look that is under way, and has read what is held
        if self._inventory.leaving.intersection(devices):
            self.ring("a claim let go of a device that is not to be offered")

    def start(self) -> None:
        """Look once, so that there is something to publish, then go on in threads. Called once."""
        self.reconcile_once()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads at once; a look that hangs in the kernel is left behind. May be called again."""
        self._stopped = True
        self._bell.close()
        if self._listener:
            self._listener.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_JOIN_SECONDS)

    def why_dead(self) -> str:
        """Return which of our threads has ended although nobody stopped it, ``""`` if none."""
        return ended(self._threads, stopped=self._stopped)

    def reconcile_once(self) -> Snapshot:
        """Look now, in this thread, and return what is true after it.

        If the machine or the state on disk cannot be read, the last snapshot stays, and a line is logged when that
        begins, changes its cause, and ends.
        """
        with self._looking:
            try:
                self._look()
            finally:
                self.reconciles += 1
                pause = self._timing.confirm if self._inventory.unconfirmed else self._timing.rescan
                # A look that failed leaves what is due as it was: the next one does not follow at once.
                soon = max(self._problems.due - time.monotonic(), self._timing.confirm)
                self._next_look = time.monotonic() + min(pause, soon)
            return self._inventory.snapshot

    def _answer(self) -> None:
        while (rung := self._bell.wait(self._next_look)) is not None:
            _log.debug("looking at the machine: %s", rung)
            try:
                self.reconcile_once()
            except Exception:  # noqa: BLE001 - a defect of ours: a dead thread would publish old truth for ever
                _log.exception("the look at the machine failed; the last snapshot stays, trying again")

    def _look(self) -> None:
        with self._freeing:
            self._freed = frozenset()
        try:
            before = self._modes()
            found = self._driver.discover(self._host)
            # What is there for a mode was made after that was written down, and goes before that is taken back.
            modes = {**before, **self._modes()}
            held, taints = frozenset(self._held()), self._taints(found)
        except DraError as error:
            self._tell_trouble(str(error))
            return
        self._tell_trouble("")
        self._seen(found.hardware)
        published = self._driver.publish(found.hardware, modes)
        self._problems.take(found.problems, published.problems)
        self._take_in(published, held, taints)
        if self._freed & self._inventory.leaving:
            self.ring("a claim let go of a device during the look")

    def _take_in(
        self, published: Published, holds: frozenset[tuple[str, str | None]], taints: Taints
    ) -> None:
        held, shared = {device for device, _ in holds}, {device for device, share in holds if share}
        changed = self._inventory.update(published, held, taints, shared)
        self._owed = changed or self._owed
        if self._owed:
            _log.info("%d devices, %d held", len(self._owed.devices), len(self._owed.held))
            self._publish(self._owed)
            self._owed = None

    def _taints(self, found: Discovery[Any]) -> Taints:
        each = [source(found.hardware) for source in self._sources]
        named = sorted({name for taints in each for name in taints})
        return {name: tuple(taint for taints in each for taint in taints.get(name, ())) for name in named}

    def _tell_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            _log.error("cannot look at the machine, what was found before stays: %s", trouble)
        elif self._trouble and not trouble:
            _log.info("can look at the machine again")
        self._trouble = trouble


class _Listener:
    """Turns events into rings and gets a lost source back."""

    def __init__(
        self,
        source: UeventSource,
        ring: Callable[[str], None],
        heard: Callable[[Uevent], None],
        timing: Timing,
    ) -> None:
        self._source, self._ring, self._heard, self._timing = source, ring, heard, timing
        self._stopping = Event()
        self._lost = ""

    def run(self) -> None:
        """Listen until :meth:`stop`."""
        pause = self._timing.reconnect
        while not self._stopping.is_set():
            began = time.monotonic()
            self._listen()
            # Only a source that lasted earns a quick retry: one that connects and breaks at once must not spin.
            lasted = time.monotonic() - began > self._timing.reconnect_most
            pause = self._timing.reconnect if lasted else pause
            self._stopping.wait(pause)
            pause = min(2 * pause, self._timing.reconnect_most)

    def stop(self) -> None:
        """End :meth:`run`, from another thread."""
        self._stopping.set()
        self._source.close()

    def _listen(self) -> None:
        try:
            for event in self._source.events():
                if self._lost:
                    _log.info("kernel events are heard again")
                self._lost = ""
                self._heard(event)
                self._ring(f"{event.action} {event.devpath}".rstrip())
            lost = "the source ended"
        except DraError as error:
            lost = str(error)
        if lost != self._lost and not self._stopping.is_set():
            _log.warning("kernel events are not heard, the rescan goes on: %s", lost)
            self._ring("kernel events lost")
        self._lost = lost
