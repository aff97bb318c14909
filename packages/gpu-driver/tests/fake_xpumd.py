"""An xpumd: tells of devices what a test wants, breaks off, stands still, and is as late as services are."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, cast

import grpc
from gpu_driver.xpumd._generated import xpumd_deviceinfo_pb2 as pb
from gpu_driver.xpumd._generated.xpumd_deviceinfo_pb2_grpc import (
    DeviceInfoServicer,
    add_DeviceInfoServicer_to_server,
)

GIB = 1 << 30


class FakeXpumd(DeviceInfoServicer):
    """Listens from ``with`` to the end of the block; what it was told last is sent first to who connects."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._lock = threading.Lock()
        self._streams: list[queue.Queue[Any]] = []
        self._last = pb.DeviceHealthResponse()
        self.connections = 0

    def __enter__(self) -> Self:
        self._server = grpc.server(ThreadPoolExecutor(4))
        add_DeviceInfoServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]  # generated
        self.socket.unlink(missing_ok=True)
        self._server.add_insecure_port(f"unix:{self.socket}")
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._server.stop(grace=0).wait()

    def WatchDeviceHealth(self, _request: object, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802 - wire name
        stream: queue.Queue[Any] = queue.Queue()
        context.add_callback(lambda: stream.put(None))
        with self._lock:
            self.connections += 1
            self._streams.append(stream)
            stream.put(self._last)
        while (item := stream.get()) is not None:
            if isinstance(item, grpc.StatusCode):
                context.abort(item, "as the test wants")
            yield item

    def tell(self, *devices: pb.DeviceHealth) -> None:
        """Send this to all who listen, and to all who will."""
        self._send(pb.DeviceHealthResponse(devices=devices), keep=True)

    def fail(self, code: grpc.StatusCode) -> None:
        """Break off all streams with an error."""
        self._send(code)

    def end(self) -> None:
        """End all streams, as at a stop in good order."""
        self._send(None)

    def _send(self, item: Any, *, keep: bool = False) -> None:
        with self._lock:
            if keep:
                self._last = item
            for stream in self._streams:
                stream.put(item)
            if not keep:
                self._streams.clear()


def device(bdf: str, *statuses: tuple[str, int, str, str], memory: tuple[int, ...] = ()) -> pb.DeviceHealth:
    """A device with (name, severity, reason, message) of what is watched, and bytes of each memory module."""
    return pb.DeviceHealth(
        info=pb.DeviceInformation(
            pci=pb.PciInfo(bdf=bdf), memory=[pb.MemoryInfo(size=size) for size in memory]
        ),
        health=[
            pb.HealthStatus(name=name, severity=cast("pb.Severity", severity), reason=reason, message=message)
            for name, severity, reason, message in statuses
        ],
    )
