"""Kernel uevents over netlink, by libudev. The only module that imports pyudev, and not before it is needed.

Events are taken from the kernel's own multicast group, not from udevd's: udevd sends only into its own network
namespace, so a pod without hostNetwork hears nothing from it, while the kernel's group is heard in every one.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Protocol

from dra_common.errors import HostError
from dra_common.ports import Uevent

SUBSCRIBED = Uevent("subscribed", "")
"""The first event of every subscription: whatever happened before it was not heard."""

OVERFLOW = Uevent("overflow", "")
"""Events came faster than they were read and some are lost (netlink(7), ENOBUFS)."""


class Monitor(Protocol):
    """What is used of ``pyudev.Monitor``."""

    def fileno(self) -> int:
        """Return the netlink socket."""

    def poll(self, timeout: float) -> Any:  # noqa: ANN401 - pyudev has no types
        """Return the next device, or None if there is none in ``timeout`` seconds. Raises OSError."""


class KernelUevents:
    """:class:`dra_common.ports.UeventSource` on the kernel's netlink group.

    Args:
        subsystems: which to listen to, for example ``("pci", "drm")``; empty means all.
        connect: makes a started monitor; replaced only where an error of the socket itself is wanted.
    """

    def __init__(
        self, subsystems: Sequence[str], *, connect: Callable[[Sequence[str]], Monitor] | None = None
    ) -> None:
        self._subsystems = tuple(subsystems)
        self._connect = connect or subscribe
        self._lock = Lock()
        self._closed = False
        self._wakers: set[int] = set()

    def events(self) -> Iterator[Uevent]:
        """Yield SUBSCRIBED, then events until :meth:`close`; OVERFLOW where some were lost.

        Raises HostError when there is no subscription or it broke; call again for a new one.
        """
        with self._waker() as waker:
            if self._closed:
                return
            monitor = self._connect(self._subsystems)
            yield SUBSCRIBED
            poller = select.poll()
            poller.register(waker, select.POLLIN)
            poller.register(monitor.fileno(), select.POLLIN)
            while not self._closed:
                poller.poll()
                yield from self._drain(monitor)

    def close(self) -> None:
        """End every :meth:`events` at once, from any thread, for good."""
        with self._lock:
            self._closed = True
            for waker in self._wakers:
                os.eventfd_write(waker, 1)

    @contextmanager
    def _waker(self) -> Iterator[int]:
        waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        with self._lock:
            self._wakers.add(waker)
        try:
            yield waker
        finally:
            with self._lock:
                self._wakers.discard(waker)
            os.close(waker)

    def _drain(self, monitor: Monitor) -> Iterator[Uevent]:
        try:
            while not self._closed and (device := monitor.poll(0)) is not None:
                yield _uevent(device)
        except OSError as error:
            # poll(2) reports a full buffer as POLLERR, which pyudev raises without an errno and without clearing it.
            number = error.errno or _socket_error(monitor.fileno())
            if number != errno.ENOBUFS:
                raise _lost(
                    f"the netlink socket failed: {os.strerror(number) if number else error}", number
                ) from None
            yield OVERFLOW


def _uevent(device: Any) -> Uevent:  # noqa: ANN401 - pyudev has no types
    """Return the event; with its properties if it is a ``change``, of which they tell what has changed."""
    action = device.action or ""
    properties = dict(device.properties) if action == "change" else None
    return Uevent(action, device.device_path or "", device.subsystem or "", properties)


def subscribe(subsystems: Sequence[str]) -> Monitor:
    """Connect to the kernel's group. Raises HostError if pyudev, libudev or the socket is not to be had."""
    try:
        import pyudev  # noqa: PLC0415 - missing in the field, or without libudev, it must not end the process

        context = pyudev.Context()
    except ImportError as error:
        cure = "install pyudev and the library libudev.so.1 (Debian: libudev1)"
        raise HostError(f"cannot listen to kernel events: {error}", cure=cure) from None
    try:
        monitor = pyudev.Monitor.from_netlink(context, source="kernel")
        for subsystem in subsystems:
            monitor.filter_by(subsystem)
        monitor.start()
    except OSError as error:
        raise _lost(f"no netlink socket: {error.strerror or error}", error.errno or 0) from None
    started: Monitor = monitor
    return started


def _socket_error(fd: int) -> int:
    with socket.socket(fileno=os.dup(fd)) as borrowed:
        return borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _lost(why: str, number: int) -> HostError:
    cure = "allow the driver AF_NETLINK sockets; until then changes are found by the periodic rescan only"
    return HostError(f"cannot listen to kernel events: {why}", cure=cure, errno=number)
