"""Registration of one socket, as a kubelet does it: dial, GetInfo, validate, tell."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc

from dra_common.kubelet._generated import pluginregistration_v1_pb2 as pb
from dra_common.kubelet._generated.pluginregistration_v1_pb2_grpc import RegistrationStub

GET_INFO_SECONDS: Final = 1.0
NOTIFY_SECONDS: Final = 5.0

OWN_CONNECTION: Final = ("grpc.use_local_subchannel_pool", 1)
"""Without it channels of one process to the same socket share a connection, as no two kubelets do."""


class RefusedError(Exception):
    """The driver is not registered, and why."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A validated GetInfo: ``version`` is the first of the driver's list that the kubelet knows."""

    driver: str
    endpoint: str
    version: str
    versions: tuple[str, ...] = ()


class Handshake:
    """One short connection to a registration socket."""

    def __init__(self, path: Path) -> None:
        self._socket = path
        self._channel = grpc.insecure_channel(f"unix:{path}", options=[OWN_CONNECTION])
        self._stub = RegistrationStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def ask(self, known_versions: Sequence[str]) -> Announced:
        """Dial, GetInfo, validate. Raises RefusedError."""
        _require_listener(self._socket)
        try:
            info = self._stub.GetInfo(pb.InfoRequest(), timeout=GET_INFO_SECONDS)
        except grpc.RpcError as error:
            raise RefusedError(
                f"GetInfo on {self._socket} failed: {error.code().name} {error.details()}"
            ) from None
        return self._validate(info, known_versions)

    def tell(self, why_not: str = "") -> None:
        """NotifyRegistrationStatus: success, or the reason of a failure. Raises RefusedError if that call fails."""
        status = pb.RegistrationStatus(plugin_registered=not why_not, error=why_not)
        try:
            self._stub.NotifyRegistrationStatus(status, timeout=NOTIFY_SECONDS)
        except grpc.RpcError as error:
            raise RefusedError(
                f"NotifyRegistrationStatus failed: {error.code().name} {error.details()}"
            ) from None

    def _validate(self, info: pb.PluginInfo, known_versions: Sequence[str]) -> Announced:
        if info.type != "DRAPlugin":
            raise RefusedError(f"no handler registered for plugin type: {info.type} at socket {self._socket}")
        if not info.name:
            raise RefusedError("the driver name is empty")
        if not info.supported_versions:
            raise RefusedError(f"empty list for supported versions of {info.name}")
        spoken = [version for version in info.supported_versions if version in known_versions]
        if not spoken:
            versions = ", ".join(info.supported_versions)
            raise RefusedError(f"none of the versions of {info.name} is supported: {versions}")
        announced = tuple(info.supported_versions)
        return Announced(info.name, info.endpoint or str(self._socket), spoken[0], announced)


def _require_listener(path: Path) -> None:
    """Say at once that a file is a leftover; a kubelet waits the whole dial time, but for each socket on its own."""
    try:
        with socket.socket(socket.AF_UNIX) as trial:
            trial.connect(str(path))
    except OSError as error:
        raise RefusedError(f"nobody answers on {path}: {error.strerror}") from None
