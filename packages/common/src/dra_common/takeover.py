"""In place of another driver of the same name: waits until it is gone, then takes over its claims.

Until both are done nothing is registered, prepared or published, and the driver is not ready; a person can read why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from dra_common.adoption import Adoption
from dra_common.errors import DraError
from dra_common.readiness import Readiness

_log = logging.getLogger(__name__)

_LOOK_AGAIN = 1.0
"""Seconds between looks for the sockets of the other driver."""

_TRY_AGAIN = 5.0
"""Seconds after an adoption that failed as a whole: a full disk, an unreadable machine."""

Pause: TypeAlias = Callable[[float], None]
"""Waits some seconds; what it raises ends the start."""


def wait_for_rivals(find: Callable[[], DraError | None], readiness: Readiness, pause: Pause) -> None:
    """Wait until no other driver of this name answers: two of them would undo each other's work.

    Args:
        find: returns what says that one is there.
        readiness: told why the driver is not ready.
        pause: waits between two looks.

    Raises what ``find`` and ``pause`` raise.
    """
    told = False
    while rival := find():
        readiness.unmet("recovered", str(rival))
        if not told:
            _log.warning("waiting: %s", rival)
        told = True
        pause(_LOOK_AGAIN)
    if told:
        readiness.unmet("recovered", "not yet")
        _log.info("no other driver answers any more: going on")


def adopt_claims(adoption: Adoption[Any], readiness: Readiness, pause: Pause) -> None:
    """Adopt before the kubelet can ask for one of the claims; what keeps all from it is told once and tried again."""
    told = ""
    while True:
        try:
            adoption.run()
        except DraError as error:
            why = f"claims of another driver cannot be adopted yet, it is tried again: {error}"
            readiness.unmet("recovered", why)
            if why != told:
                _log.error("%s", why)
            told = why
            pause(_TRY_AGAIN)
        else:
            return
