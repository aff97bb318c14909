"""What is wrong with devices, told once when it begins and once when it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

_log = logging.getLogger(__name__)


class Problems:
    """Remembers what was told.

    A kernel driver is bound before it has started its device, which takes xe some seconds: whatever a look finds to be
    wrong meanwhile is no problem if a later one does not find it. What is wrong at the first look is told at once.

    Args:
        lasting: seconds that something has to be wrong until it is told.
    """

    def __init__(self, lasting: float) -> None:
        self._lasting = lasting
        self._began: dict[str, float] | None = None
        self._told: tuple[str, ...] = ()

    @property
    def due(self) -> float:
        """When to look again at what was not told yet (monotonic clock); infinity if there is nothing."""
        began = (at for problem, at in (self._began or {}).items() if problem not in self._told)
        return min(began, default=float("inf")) + self._lasting

    def take(self, found: Sequence[str], decided: Sequence[str]) -> None:
        """Tell what a look at the machine found, one line each, and what else is wrong, which does not have to last."""
        now = time.monotonic()
        known = self._began if self._began is not None else dict.fromkeys(found, now - self._lasting)
        self._began = {problem: known.get(problem, now) for problem in found}
        lasting = (problem for problem, began in self._began.items() if now - began >= self._lasting)
        self._tell((*lasting, *decided))

    def _tell(self, problems: tuple[str, ...]) -> None:
        for problem in problems:
            if problem not in self._told:
                _log.warning("%s", problem)
        for problem in self._told:
            if problem not in problems:
                _log.info("no longer: %s", problem)
        self._told = problems
