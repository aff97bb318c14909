"""One life of the kubelet's plugin manager: what is registered follows the sockets in the registry."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dra_common.testing.kubelet.answers import KubeletCallError, Registered
from dra_common.testing.kubelet.endpoint import Endpoint
from dra_common.testing.kubelet.handshake import Announced, Handshake, RefusedError
from dra_common.testing.kubelet.health import HealthCache, HealthRules, choose

log = logging.getLogger(__name__)

SocketId = tuple[int, int, int]
"""Device, inode, time of binding: another one at the same path is another socket."""

_MAX_RETRY_SECONDS: Final = 122.0
_LAST_ANSWERS: Final = 2.0
"""Seconds that a kubelet needs to read what a driver answered before it went away."""


@dataclass(slots=True)
class _Socket:
    """A socket in the registry and how far its registration got."""

    path: Path
    identity: SocketId
    retry_delay: float
    retry_at: float = 0.0
    announced: Announced | None = None
    endpoint: Endpoint | None = None
    was_told: bool = False


class Registrar:
    """Stepped by one thread, asked by others.

    Args:
        registry_dir: ``plugins_registry``.
        versions: services that this kubelet knows.
        retry_delay: seconds until a failed registration is tried again, doubled after every failure.
        changed: guards the state, and is notified after every change.
        health: how it deals with the health of devices.
    """

    def __init__(
        self,
        registry_dir: Path,
        versions: Sequence[str],
        retry_delay: float,
        changed: threading.Condition,
        health: HealthRules,
    ) -> None:
        self._registry = registry_dir
        self._versions = tuple(versions)
        self._retry_delay = retry_delay
        self._changed = changed
        self._rules = health
        self.health = HealthCache(changed)
        self._sockets: dict[Path, _Socket] = {}
        self._drivers: set[str] = set()
        self._refusals: list[str] = []
        self.registrations = 0

    def step(self) -> None:
        """Deregister what is gone, register what is new or due again, keep connections up."""
        found = dict(_sockets_below(self._registry))
        self._forget_gone(found)
        self._register_new(found)
        for socket in self._sockets.values():
            if socket.endpoint and socket.endpoint.look_after():
                self._notify()

    def close(self) -> None:
        """Drop everything without a word to the drivers."""
        self._forget_gone({})

    @property
    def registered(self) -> tuple[Registered, ...]:
        """Driver instances, the oldest registration first."""
        with self._changed:
            return tuple(
                Registered(known.driver, path, known.endpoint, known.version, endpoint.connected)
                for path, known, endpoint in self._instances()
            )

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why registrations failed."""
        with self._changed:
            return tuple(self._refusals)

    def usable(self) -> dict[str, bool]:
        """Every driver that was ever registered, and whether one of its instances is connected."""
        with self._changed:
            connected = {known.driver for _, known, endpoint in self._instances() if endpoint.connected}
            return {driver: driver in connected for driver in self._drivers}

    def endpoint(self, driver: str | None) -> Endpoint:
        """Return the newest connected instance, else the newest. Raises KubeletCallError, ValueError (ambiguous)."""
        with self._changed:
            fitting = [
                (known, endpoint)
                for _, known, endpoint in self._instances()
                if driver in (None, known.driver)
            ]
        if len({known.driver for known, _ in fitting}) > 1:
            raise ValueError("several drivers are registered: say which")
        if not fitting:
            raise KubeletCallError(f"DRA driver {driver or 'of any name'} is not registered")
        return next((each for _, each in reversed(fitting) if each.connected), fitting[-1][1])

    def _instances(self) -> Iterator[tuple[Path, Announced, Endpoint]]:
        for path, socket in self._sockets.items():
            if socket.announced and socket.endpoint and socket.was_told:
                yield path, socket.announced, socket.endpoint

    def _forget_gone(self, found: dict[Path, SocketId]) -> None:
        for path, socket in list(self._sockets.items()):
            if found.get(path) != socket.identity:
                with self._changed:
                    del self._sockets[path]
                if socket.endpoint:
                    socket.endpoint.finish(_LAST_ANSWERS)
                self._notify()

    def _register_new(self, found: dict[Path, SocketId]) -> None:
        for path, identity in found.items():
            socket = self._sockets.get(path)
            if socket is None:
                socket = _Socket(path, identity, self._retry_delay)
                with self._changed:
                    self._sockets[path] = socket
            if socket.announced is None and time.monotonic() >= socket.retry_at:
                self._register(socket)

    def _register(self, socket: _Socket) -> None:
        try:
            with Handshake(socket.path) as handshake:
                self._shake_hands(handshake, socket)
        except RefusedError as error:
            log.warning("not registered: %s", error)
            socket.retry_at = time.monotonic() + socket.retry_delay
            socket.retry_delay = min(socket.retry_delay * 2, _MAX_RETRY_SECONDS)
            with self._changed:
                self._refusals.append(str(error))
        self._notify()

    def _shake_hands(self, handshake: Handshake, socket: _Socket) -> None:
        """Raise RefusedError unless the driver is registered and knows it."""
        try:
            announced = handshake.ask(self._versions)
            self._refuse_twice(announced)
        except RefusedError as error:
            _tell_quietly(handshake, str(error))
            raise
        self._add(socket, announced)
        try:
            handshake.tell()
        except RefusedError:
            self._drop(socket)
            raise
        self._confirm(socket, announced)

    def _refuse_twice(self, announced: Announced) -> None:
        for each in self.registered:
            if (each.driver, each.endpoint) == (announced.driver, announced.endpoint):
                raise RefusedError(f"endpoint already registered: {announced.driver} at {announced.endpoint}")

    def _add(self, socket: _Socket, announced: Announced) -> None:
        endpoint = Endpoint(announced.endpoint)
        with self._changed:
            socket.announced, socket.endpoint = announced, endpoint

    def _confirm(self, socket: _Socket, announced: Announced) -> None:
        with self._changed:
            socket.was_told = True
            self._sockets[socket.path] = self._sockets.pop(socket.path)  # the newest is last
            self._drivers.add(announced.driver)
            self.registrations += 1
        service = choose(announced.versions, self._rules)
        if service and socket.endpoint:
            socket.endpoint.watch_health(announced.driver, service, self.health, self._rules)

    def _drop(self, socket: _Socket) -> None:
        endpoint = socket.endpoint
        with self._changed:
            socket.announced = socket.endpoint = None
        if endpoint:
            endpoint.close()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _tell_quietly(handshake: Handshake, why_not: str) -> None:
    """Tell of a failure; a driver answers that with an error of its own, which changes nothing."""
    try:
        handshake.tell(why_not)
    except RefusedError as error:
        log.debug("%s", error)


def _sockets_below(folder: Path) -> Iterator[tuple[Path, SocketId]]:
    """Find sockets as a kubelet does: recursively, without names that begin with a dot."""
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(root, name)
            try:
                found = path.lstat()
            except OSError:
                continue
            if stat.S_ISSOCK(found.st_mode) and not name.startswith("."):
                yield path, (found.st_dev, found.st_ino, found.st_mtime_ns)
