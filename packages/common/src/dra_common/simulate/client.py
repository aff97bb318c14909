"""A simulated machine as a driver sees it: reads come from the files, writes and queries go to its kernel."""

from __future__ import annotations

import base64
import binascii
import errno
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BufferedRWPair
from pathlib import Path
from typing import Any, TypeVar

from dra_common.deadline import Deadline
from dra_common.effects import effect
from dra_common.errors import HardwareBusy, HostError, HostNotFound, HostWriteError
from dra_common.host import FileTree, RealHost, Roots
from dra_common.ports import DeviceQuery, Hand, Uevent
from dra_common.simulate.folder import DEBUGFS, SOCKET

E = TypeVar("E", bound=HostError)

ANSWER_SECONDS = 60.0
"""How long a request may take; the simulated kernel answers in milliseconds."""

_PAUSE = 0.05

_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO})


class ControlClient:
    """Puts requests to the control socket below ``root``, one connection each: it survives a simulator's restart."""

    def __init__(self, root: Path) -> None:
        self.path = root / SOCKET
        self._root = root

    def request(self, op: str, **fields: str) -> Mapping[str, Any]:
        """Return the answer, refusals included (``ok`` false). Raises HostError when there is no simulator."""
        try:
            with self.connect() as connection, connection.makefile("rwb") as stream:
                return self.exchange(stream, op, **fields)
        except (OSError, ValueError) as error:
            raise self.lost(f"ask {op}", error) from None

    def write(self, path: str, value: str, by: Hand | None) -> Mapping[str, Any]:
        """Put the request ``write``; ``by`` is who sends it and waits, without end. Raises HostError, HardwareBusy."""
        if by is None:
            return self.request("write", path=path, value=value)
        try:
            return _decode(by.ask(str(self.path), _encode("write", {"path": path, "value": value})))
        except (OSError, ValueError) as error:
            raise self.lost("ask write", error) from None

    def connect(self) -> socket.socket:
        """Open a connection. Raises OSError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(self.path))
        except OSError:
            connection.close()
            raise
        return connection

    def wait(self, seconds: float) -> bool:
        """Wait for a simulator that was killed, as by a reboot of the real machine; whether it is there in time.

        True at once where there never was one (``simulate --once``).
        """
        deadline = Deadline.after(seconds)
        while self.path.is_socket():
            try:
                self.connect().close()
            except OSError:
                if deadline.passed:
                    return False
                time.sleep(min(_PAUSE, deadline.remaining))
            else:
                break
        return True

    def exchange(self, stream: BufferedRWPair, op: str, **fields: str) -> Mapping[str, Any]:
        """Send one request and return its answer. Raises OSError, ValueError (ended, not JSON)."""
        stream.write(_encode(op, fields))
        stream.flush()
        return _decode(stream.readline())

    def lost(self, step: str, error: Exception, kind: type[E] | None = None) -> HostError:
        """Return the error that says the simulator is away."""
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        message = f"cannot {step}: no simulated kernel behind {self.path}: {why}"
        cure = f"start it with: <driver> simulate --profile NAME --root {self._root}"
        return (kind or HostError)(message, cure=cure)


def _encode(op: str, fields: Mapping[str, str]) -> bytes:
    return json.dumps({"op": op, **fields}).encode() + b"\n"


def _decode(line: bytes) -> Mapping[str, Any]:
    if not line.endswith(b"\n"):
        raise ConnectionResetError(errno.ECONNRESET, "it ended before it answered")
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise ValueError("the answer is not an object")  # noqa: TRY004 - a protocol error like bad JSON
    return answer


class SimulatedTree(FileTree):
    """The simulated sysfs: like any file tree, but writes have the kernel's consequences and refusals."""

    __slots__ = ("_below", "_client")

    def __init__(self, root: str, client: ControlClient, below: str = "") -> None:
        """``below``: the part of sysfs that it is; empty = the whole."""
        super().__init__(f"{root}/{below}" if below else root)
        self._client = client
        self._below = f"{below}/" if below else ""

    def write(self, path: str, value: str, by: Hand | None = None) -> None:
        """Write to an attribute. Raises HostNotFound; HostWriteError with the kernel's errno, 0 without a simulator."""
        step = f"write {value!r} to {self.root}/{path}"
        if not value:
            raise HostWriteError(f"cannot {step}: nothing to write (EINVAL)", errno=errno.EINVAL)
        try:
            with effect("hardware", f"{self.root}/{path}"):
                answer = self._client.write(f"{self._below}{path}", value, by)
        except HardwareBusy:
            raise
        except HostError as error:
            raise HostWriteError(f"cannot {step}: {error.message}", cure=error.cure) from None
        except OSError as error:
            raise HostWriteError(f"cannot {step}: {error.strerror}", errno=error.errno or 0) from None
        if not answer.get("ok"):
            gone = answer.get("errno") == errno.ENOENT and not self.exists(path)
            raise _refused(step, answer, HostNotFound if gone else HostWriteError)


class ReadOnlyTree(FileTree):
    """The simulated devfs and procfs: nothing there takes a write."""

    __slots__ = ()

    def write(self, path: str, value: str, by: Hand | None = None) -> None:
        """Refuse. Raises HostNotFound, HostWriteError with EACCES."""
        del by
        self.locate(path)
        message = (
            f"cannot write {value!r} to {self.root}/{path}: the simulated machine does not take it (EACCES)"
        )
        raise HostWriteError(message, errno=errno.EACCES)


class SimulatedHost:
    """:class:`dra_common.ports.Host` on a simulated machine.

    Args:
        root: the folder given to ``simulate --root``.
        dev_root: what CDI files say for ``/dev``; by default the simulated devfs itself, so that paths exist.

    Reading needs only the files (``simulate --once``); writes and queries need the simulator.
    """

    def __init__(self, root: Path, *, dev_root: str = "") -> None:
        base = str(root.absolute())
        self._client = ControlClient(Path(base))
        self._files = RealHost(Roots(sysfs=f"{base}/sys", devfs=f"{base}/dev", procfs=f"{base}/proc"))
        self.sysfs = SimulatedTree(f"{base}/sys", self._client)
        self.debugfs = SimulatedTree(f"{base}/sys", self._client, below=DEBUGFS)
        self.devfs = ReadOnlyTree(f"{base}/dev")
        self.procfs = ReadOnlyTree(f"{base}/proc")
        self.dev_root = dev_root or f"{base}/dev"

    def query(self, node: str, query: DeviceQuery) -> bytes:
        """Ask a device node by the query's name. Raises HostNotFound, HostError with the driver's errno."""
        step = f"ask {query.name} of {self.devfs.locate(node)}"
        answer = self._client.request("query", node=node, name=query.name)
        if not answer.get("ok"):
            raise _refused(step, answer, HostNotFound if answer.get("errno") in _GONE else HostError)
        try:
            return base64.b64decode(answer["data"], validate=True)
        except (KeyError, TypeError, binascii.Error):
            raise HostError(f"cannot {step}: the simulated kernel's answer makes no sense") from None

    def boot_id(self) -> str:
        """Return the id of the simulated boot. Raises HostError."""
        return self._files.boot_id()


class SimulatedUevents:
    """:class:`dra_common.ports.UeventSource` of a simulated machine."""

    def __init__(self, root: Path) -> None:
        self._client = ControlClient(root.absolute())
        self._connection: socket.socket | None = None
        self._closed = False

    def events(self) -> Iterator[Uevent]:
        """Yield events until closed. Raises HostError when the simulator is away or ends."""
        try:
            yield from self._follow()
        except (OSError, ValueError) as error:
            if not self._closed:
                raise self._client.lost("follow uevents", error) from None

    def close(self) -> None:
        """End :meth:`events`, now and for ever, from any thread."""
        self._closed = True
        connection = self._connection
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _follow(self) -> Iterator[Uevent]:
        with self._client.connect() as connection, connection.makefile("rwb") as stream:
            self._connection = connection
            # Asked only now: close() either finds the connection or is seen here.
            if self._closed:
                return
            if not self._client.exchange(stream, "subscribe").get("ok"):
                raise ConnectionRefusedError(errno.ECONNREFUSED, "it sends no events")
            connection.settimeout(None)
            for line in stream:
                yield _event(line)
            raise ConnectionResetError(errno.ECONNRESET, "it ended")


def _event(line: bytes) -> Uevent:
    try:
        event = json.loads(line)["event"]
        return Uevent(event["action"], event["devpath"], event["subsystem"], event["properties"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an event: {line[:80]!r}") from error


def _refused(step: str, answer: Mapping[str, Any], kind: type[E]) -> E:
    why, code = answer.get("message", "refused"), answer.get("error", "?")
    return kind(f"cannot {step}: {why} ({code})", errno=int(answer.get("errno", 0)))
