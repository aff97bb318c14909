"""The client of xpumd: follows its stream for ever, whatever happens to xpumd.

xpumd is a service of its own, which may be missing, start later, be updated or hang. None of that is a reason to stop
preparing claims: while it is away the driver goes on with what it knows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import grpc
from dra_common.model import Finding, Severity
from dra_common.pacing import Backoff
from dra_common.pci import is_bdf
from dra_common.ports import Report

from gpu_driver.xpumd._generated import xpumd_deviceinfo_pb2 as pb
from gpu_driver.xpumd._generated.xpumd_deviceinfo_pb2_grpc import DeviceInfoStub

GRACE: Final = 30.0
"""Seconds for which xpumd may be away, as for its update, before what it said last counts no more."""

_JOIN_SECONDS: Final = 2.0
_LONGEST_NAME: Final = 200
_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # A service in Go refuses more than one such question in five minutes.
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class XpumdSource:
    """:class:`dra_common.ports.HealthSource` of xpumd 2.0 and newer.

    Args:
        socket: where it listens.
        grace: seconds for which it may be away.
        backoff: between two tries to reach it.
    """

    name: str = "xpumd"

    def __init__(self, socket: Path, *, grace: float = GRACE, backoff: Backoff | None = None) -> None:
        self._socket, self._grace, self._backoff = socket, grace, backoff or Backoff()
        self._report: Report | None = None
        self._changed: Callable[[], None] = lambda: None
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # guards the next one
        self._channel: grpc.Channel | None = None
        self._heard = 0.0
        self._thread = threading.Thread(target=self._run, name="health-xpumd", daemon=True)

    def start(self, changed: Callable[[], None]) -> None:
        """Connect, in a thread of ours, and again for ever."""
        self._changed = changed
        self._thread.start()

    def stop(self) -> None:
        """Drop the connection."""
        self._stopping.set()
        with self._lock:
            if self._channel is not None:
                self._channel.close()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def report(self) -> Report | None:
        """Return what it said last; None before it was reached, or could not be."""
        return self._report

    # ------------------------------------------------------------------ our thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            why = self._follow()
            self._rest(f"{self._socket}: {why}")

    def _follow(self) -> str:
        """Take in one stream to its end; returns why it ended."""
        channel = self._connect()
        if channel is None:
            return "stopped"
        try:
            stream = DeviceInfoStub(channel).WatchDeviceHealth(pb.WatchDeviceHealthRequest())  # type: ignore[no-untyped-call]  # generated
            for response in stream:
                self._backoff.reset()
                self._heard = time.monotonic()
                self._say(Report(*read(response.devices)))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE and not self._socket.exists():
                return "there is no such socket"
            return f"{error.code().name}: {' '.join(str(error.details()).split())[:300]}"
        except ValueError:  # the channel was closed under us
            return "stopped"
        finally:
            channel.close()
        return "it ended the stream"

    def _connect(self) -> grpc.Channel | None:
        """Return a new channel: one that broke may go on waiting for a socket that was replaced."""
        with self._lock:
            if self._stopping.is_set():
                return None
            self._channel = grpc.insecure_channel(f"unix:{self._socket}", options=_OPTIONS)
            return self._channel

    def _rest(self, why: str) -> None:
        """Wait for the next try; meanwhile the grace may pass."""
        until = time.monotonic() + self._backoff.next()
        known, over = self._report, self._heard + self._grace
        if known is not None and not known.away and over < until:
            self._stopping.wait(max(0.0, over - time.monotonic()))
        if known is None or time.monotonic() >= over:
            known = known or Report()
            self._say(Report(known.findings, known.away or why, known.memory))
        self._stopping.wait(max(0.0, until - time.monotonic()))

    def _say(self, report: Report) -> None:
        if report != self._report and not self._stopping.is_set():
            self._report = report
            self._changed()


def read(devices: Iterable[Any]) -> tuple[dict[str, tuple[Finding, ...]], str, dict[str, int]]:
    """Return the fields of a report: what is said of each device by PCI address, "", and bytes of its memory.

    Devices without an address are left out. A device that nothing is said of is not known to be well.
    """
    findings: dict[str, tuple[Finding, ...]] = {}
    memory: dict[str, int] = {}
    for device in devices:
        address = _address(device.info.pci.bdf)
        if address:
            findings[address] = tuple(_finding(status) for status in device.health)
            memory[address] = sum(module.size for module in device.info.memory)
    return findings, "", {address: size for address, size in memory.items() if size}


def _finding(status: Any) -> Finding:  # noqa: ANN401 - generated stubs have no types that hold at run time
    known = status.severity in Severity.__members__.values()
    # What a later xpumd calls worse than failed is bad, too; below zero is nonsense.
    severity = (
        Severity(status.severity) if known else Severity.FAILED if status.severity > 0 else Severity.UNKNOWN
    )
    what = " ".join(f"{status.name} {status.reason}".split())[:_LONGEST_NAME]
    return Finding(what or "xpumd", severity, status.message)


def _address(text: str) -> str:
    """Return a PCI address as sysfs writes it, "" if it is none; the domain may be missing."""
    address = text.strip().lower()
    address = f"0000:{address}" if address.count(":") == 1 else address
    return address if is_bdf(address) else ""
