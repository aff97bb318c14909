"""Whether this driver is ready and alive, and why not.

Ready: it has recovered its claims, listens, and the kubelet has accepted it. Alive: nothing is broken that only a new
start can mend. Both answers come from memory and from checks that never block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

Condition = Literal["recovered", "serving", "registered"]
"""``recovered``: recovery at start is over. ``serving``: the sockets are open. ``registered``: the kubelet said yes."""

CONDITIONS: Final[tuple[Condition, ...]] = ("recovered", "serving", "registered")

LivenessCheck = Callable[[], str]
"""Returns why the process needs a new start, or ``""``. Called at every probe: never blocks, never raises."""


class Readiness:
    """Conditions that all have to hold, and checks of which none may complain. Safe to use from all threads."""

    def __init__(self, conditions: Sequence[Condition] = CONDITIONS) -> None:
        self._lock = threading.Lock()
        self._unmet: dict[Condition, str] = dict.fromkeys(conditions, "not yet")
        self._order = tuple(conditions)
        self._checks: list[LivenessCheck] = []

    def met(self, condition: Condition) -> None:
        """The condition holds from now on. A condition that this driver does not have is ignored."""
        with self._lock:
            self._unmet.pop(condition, None)

    def unmet(self, condition: Condition, why: str) -> None:
        """The condition does not hold (any more); ``why`` is a few words for a person."""
        if condition in self._order:
            with self._lock:
                self._unmet[condition] = why

    def add_check(self, check: LivenessCheck) -> None:
        """Ask ``check`` at every probe."""
        with self._lock:
            self._checks.append(check)

    def conditions(self) -> Mapping[Condition, str]:
        """Return every condition, in order -> why it does not hold, ``""`` if it does."""
        with self._lock:
            return {name: self._unmet.get(name, "") for name in self._order}

    @property
    def alive(self) -> bool:
        """Whether no check complains."""
        return not self.why_dead()

    @property
    def ready(self) -> bool:
        """Whether all conditions hold and the process is alive."""
        return not self.why_not()

    def why_dead(self) -> str:
        """Return what the checks complain about, ``""`` if alive."""
        with self._lock:
            checks = tuple(self._checks)
        return "; ".join(filter(None, (check() for check in checks)))

    def why_not(self) -> str:
        """Return everything that keeps the driver from being ready, ``""`` if ready: ``registered: not yet``."""
        unmet = [f"{name}: {why}" for name, why in self.conditions().items() if why]
        return "; ".join(filter(None, (*unmet, self.why_dead())))


def ended(threads: Iterable[threading.Thread], *, stopped: bool) -> str:
    """Return which of ``threads`` were started and have ended, as a liveness check says it; ``""`` when stopped."""
    dead = [thread.name for thread in threads if thread.ident is not None and not thread.is_alive()]
    return f"thread {', '.join(dead)} has ended" if dead and not stopped else ""
