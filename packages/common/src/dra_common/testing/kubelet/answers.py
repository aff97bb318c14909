"""What the fake kubelet tells its user, without gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dra_common.model import PreparedDevice


@dataclass(frozen=True, slots=True)
class ClaimAnswer:
    """The driver's answer for one claim; with an ``error`` a kubelet ignores the devices and does not start the pod."""

    devices: tuple[PreparedDevice, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Registered:
    """A driver instance that was accepted.

    Args:
        socket: its registration socket.
        endpoint: its DRA socket.
        version: the one of its ``supported_versions`` that is spoken.
        connected: whether there is a connection to the endpoint at this moment.
    """

    driver: str
    socket: Path
    endpoint: str
    version: str
    connected: bool


class KubeletCallError(Exception):
    """A call as a whole failed; ``code`` is the gRPC status (``UNAVAILABLE``), or empty if the answer broke a rule."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code
