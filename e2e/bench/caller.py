"""The kubelet's part of a conversation with the driver, on a connection of its own to the driver's socket."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from dra_common.model import ClaimRef
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.kubelet.endpoint import Endpoint
from harness.errors import HarnessError
from harness.waiting import wait_for

# As a kubelet.
PATIENCE = 45.0


class CallFailed(HarnessError):
    """The driver refused a claim, or did not answer."""


class Caller:
    """Prepares and unprepares claims once the context is entered; safe to use from several threads."""

    def __init__(self, socket: Path) -> None:
        self._endpoint = Endpoint(str(socket))

    def __enter__(self) -> Self:
        wait_for(self._connected, "a connection to the driver", PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._endpoint.close()

    def _connected(self) -> bool:
        self._endpoint.look_after()
        return self._endpoint.connected

    def prepare(self, claims: Sequence[ClaimRef]) -> None:
        """One NodePrepareResources call. Raises CallFailed."""
        try:
            answers = self._endpoint.prepare(claims, PATIENCE)
        except KubeletCallError as error:
            raise CallFailed(f"prepare: {error}") from None
        _check("prepare", {uid: answer.error for uid, answer in answers.items()})

    def unprepare(self, claims: Sequence[ClaimRef]) -> None:
        """One NodeUnprepareResources call. Raises CallFailed."""
        try:
            answers = self._endpoint.unprepare(claims, PATIENCE)
        except KubeletCallError as error:
            raise CallFailed(f"unprepare: {error}") from None
        _check("unprepare", answers)


def _check(what: str, errors: dict[str, str]) -> None:
    for uid, error in errors.items():
        if error:
            raise CallFailed(f"{what} of claim {uid}: {error}")
