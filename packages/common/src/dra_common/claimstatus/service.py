"""The claim engine with somebody who hears what it answers, after it did."""

from __future__ import annotations

from collections.abc import Callable

from dra_common.claimstatus.content import Report
from dra_common.deadline import Deadline
from dra_common.errors import ClusterError, DraError
from dra_common.model import ClaimRef, PreparedDevice
from dra_common.ports import ClaimService

_PREPARED = "Prepared"


class TellingClaims:
    """Implements :class:`~dra_common.ports.ClaimService` by another one's work.

    Args:
        claims: does the work, and is never kept waiting.
        tell: takes a report of a claim; returns at once.
        forget: a claim is being undone: what waits to be told of it is of no use.
        where: the node, for people.
    """

    def __init__(
        self,
        claims: ClaimService,
        *,
        tell: Callable[[Report], None],
        forget: Callable[[str], None],
        where: str,
    ) -> None:
        self._claims, self._tell, self._forget, self._where = claims, tell, forget, where

    def prepare(self, ref: ClaimRef, deadline: Deadline) -> tuple[PreparedDevice, ...]:
        """Prepare one claim, and tell how it went. Raises DraError."""
        try:
            answer = self._claims.prepare(ref, deadline)
        except ClusterError:
            raise  # nobody to tell it to
        except DraError as error:
            self._tell(Report(ref, ready=False, reason=type(error).__name__, message=str(error)))
            raise
        if answer:
            self._tell(Report(ref, ready=True, reason=_PREPARED, message=f"prepared on node {self._where}"))
        return answer

    def unprepare(self, ref: ClaimRef, deadline: Deadline) -> None:
        """Undo one claim. The API server clears the status when the claim is deallocated. Raises DraError."""
        self._forget(ref.uid)
        self._claims.unprepare(ref, deadline)
