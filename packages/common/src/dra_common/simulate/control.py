"""The control socket of a simulated machine: newline-delimited JSON over AF_UNIX, any number of clients.

.. code-block:: text

    -> {"id": 1, "op": "write", "path": "bus/pci/drivers/xe/bind", "value": "0000:03:00.0"}
    <- {"id": 1, "ok": true}
    <- {"id": 1, "ok": false, "errno": 16, "error": "EBUSY", "message": "0000:03:00.0 is bound to xe"}

=============  ==============================  ======================================================================
``op``         fields                          effect
=============  ==============================  ======================================================================
``write``      ``path``, ``value``             write(2) to an attribute; the path is relative to sysfs
``query``      ``node``, ``name``              ask a device node (relative to devfs); the answer is ``data``, base64
``subscribe``                                  from now on ``{"event": {action, devpath, subsystem, properties}}``
``open``       ``node``, ``bdf``               use a device node until ``close``: the driver of ``bdf`` does not let go
``close``      ``node``                        use it no longer
``unplug``     ``bdf``                         pull a function, or a bridge with all behind it
``plug``       ``bdf``                         put it back
``error``      ``bdf``, ``severity``, ``name`` let a function report a PCIe error, named as in ``aer_dev_<severity>``
``wedge``      ``bdf``, ``methods``            let a GPU hang; its driver gives it up, or has recovered it (``none``)
``sense``      ``path``, ``value``             let an attribute of sysfs that shows hardware, as a sensor, say this
``reboot``                                     new boot id; VFs, overrides and manual bindings are gone; numbers differ
``status``                                     ``profile``, ``boot_id``, ``pid``
``stop``                                       end the simulator
=============  ==============================  ======================================================================

A node is closed when the connection ends, too. ``bdf`` of ``open`` is a device of the VFIO group and may be left out.

``errno`` is the kernel's for ``write`` and ``query``; a request that makes no sense is EINVAL, a line that is too
long ends the connection. A subscriber that does not read loses its connection (the kernel would drop its events).
"""

from __future__ import annotations

import base64
import errno
import json
import logging
import os
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dra_common.errors import SettingsError
from dra_common.ports import Uevent
from dra_common.simulate.errnos import refuse
from dra_common.simulate.kernel import BOOT_ID, Kernel

LONGEST_LINE = 1 << 20
"""Bytes of one request."""
_LONGEST_PATH = 107
_BACKLOG = 64
_MOST_EVENTS = 10_000

_log = logging.getLogger(__name__)

Request = Mapping[str, Any]
Answer = dict[str, Any]


class ControlServer:
    """Serves ``path`` from :meth:`start` to :meth:`close`, each client in a thread of its own.

    Args:
        kernel: what obeys.
        path: the socket; made with mode 0600, replaces what a dead simulator left.
    """

    def __init__(self, kernel: Kernel, path: Path) -> None:
        self.stopped = threading.Event()
        self._kernel = kernel
        self._path = path
        self._listener: socket.socket | None = None
        self._clients: set[_Client] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="simulate-accept", daemon=True)

    def start(self) -> None:
        """Listen. Raises SettingsError when the path is too long for a socket."""
        # Made under another name and renamed: whoever sees the socket can connect, and only its owner.
        fresh = self._path.with_name(f"{self._path.name}.new")
        if len(os.fsencode(fresh)) > _LONGEST_PATH:
            raise SettingsError(
                f"{self._path} is too long for a socket ({_LONGEST_PATH} bytes with .new)",
                cure="choose a folder with a shorter path",
            )
        fresh.unlink(missing_ok=True)
        self._listener = _listen(fresh)
        fresh.replace(self._path)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, end all connections, remove the socket."""
        self.stopped.set()
        self._kernel.power_off()
        if self._listener is None:
            return
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            clients = tuple(self._clients)
        for client in clients:
            client.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            client = _Client(connection, self._kernel, self.stopped, self._forget)
            with self._lock:
                self._clients.add(client)
            client.start()

    def _forget(self, client: _Client) -> None:
        with self._lock:
            self._clients.discard(client)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(f"cannot make the socket {path}: {error.strerror}") from None
    return listener


class _Client:
    """One connection: a reader thread, and a writer thread once it subscribed."""

    def __init__(
        self,
        connection: socket.socket,
        kernel: Kernel,
        stopped: threading.Event,
        gone: Callable[[_Client], None],
    ) -> None:
        self._connection = connection
        self._kernel = kernel
        self._stopped = stopped
        self._gone = gone
        self._sending = threading.Lock()
        self._events: queue.Queue[Uevent | None] = queue.Queue(_MOST_EVENTS)
        self._silence: Callable[[], None] | None = None
        self._teller: threading.Thread | None = None
        self._opened: dict[str, Callable[[], None]] = {}
        self._operations: dict[str, Callable[[Request], Answer]] = {
            "write": self._write,
            "query": self._query,
            "subscribe": self._subscribe,
            "open": self._open,
            "close": self._close_node,
            "unplug": self._unplug,
            "plug": self._plug,
            "error": self._error,
            "wedge": self._wedge,
            "sense": self._sense,
            "reboot": self._reboot,
            "status": self._status,
            "stop": lambda _: {},
        }

    def start(self) -> None:
        threading.Thread(target=self._read, name="simulate-client", daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    # ------------------------------------------------------------------ reading

    def _read(self) -> None:
        # A client may vanish at any moment.
        with suppress(OSError), self._connection.makefile("rb") as lines:
            while (line := lines.readline(LONGEST_LINE + 1)) and self._serve(line):
                pass
        self.close()
        for close in self._opened.values():
            close()
        if self._silence:
            self._silence()
        if self._teller:
            with suppress(queue.Full):
                self._events.put_nowait(None)
            self._teller.join()
        self._connection.close()
        self._gone(self)

    def _serve(self, line: bytes) -> bool:
        if len(line) > LONGEST_LINE:
            self._send(_refusal(None, refuse(errno.EMSGSIZE, f"longer than {LONGEST_LINE} bytes")))
            return False
        request: Request = {}
        try:
            request = _decode(line)
            operation = self._operation(request)
            answer = {"ok": True, **operation(request)}
        except OSError as error:
            answer = _refusal(request.get("id"), error)
        except Exception:  # noqa: BLE001 - a kernel driver's simulation is somebody else's code
            _log.exception("request failed: %s", line[:200])
            answer = _refusal(request.get("id"), refuse(errno.EIO, "the simulation failed, see its log"))
        self._send({"id": request.get("id"), **answer})
        if answer["ok"]:
            self._after(request["op"])
        return True

    def _after(self, op: str) -> None:
        if op == "stop":
            self._stopped.set()
        if op == "subscribe" and self._teller is None:
            # Only now: the answer comes before the first event.
            self._teller = threading.Thread(target=self._tell, name="simulate-events", daemon=True)
            self._teller.start()

    def _operation(self, request: Request) -> Callable[[Request], Answer]:
        operation = self._operations.get(_text(request, "op"))
        if operation is None:
            raise refuse(errno.EINVAL, f"op is one of {', '.join(self._operations)}")
        return operation

    # ------------------------------------------------------------------ operations

    def _write(self, request: Request) -> Answer:
        self._kernel.write(_text(request, "path"), _text(request, "value"))
        return {}

    def _query(self, request: Request) -> Answer:
        data = self._kernel.query(_text(request, "node"), _text(request, "name"))
        return {"data": base64.b64encode(data).decode("ascii")}

    def _open(self, request: Request) -> Answer:
        node = _text(request, "node")
        if node in self._opened:
            raise refuse(errno.EBUSY, f"{node} is open on this connection")
        bdf = _text(request, "bdf") if "bdf" in request else ""
        self._opened[node] = self._kernel.open_node(node, bdf)
        return {}

    def _close_node(self, request: Request) -> Answer:
        node = _text(request, "node")
        if node not in self._opened:
            raise refuse(errno.EBADF, f"{node} is not open on this connection")
        self._opened.pop(node)()
        return {}

    def _unplug(self, request: Request) -> Answer:
        self._kernel.unplug(_text(request, "bdf"))
        return {}

    def _plug(self, request: Request) -> Answer:
        self._kernel.plug(_text(request, "bdf"))
        return {}

    def _error(self, request: Request) -> Answer:
        self._kernel.report_error(*(_text(request, field) for field in ("bdf", "severity", "name")))
        return {}

    def _wedge(self, request: Request) -> Answer:
        self._kernel.wedge(_text(request, "bdf"), _text(request, "methods"))
        return {}

    def _sense(self, request: Request) -> Answer:
        self._kernel.sense(_text(request, "path"), _text(request, "value"))
        return {}

    def _reboot(self, _: Request) -> Answer:
        self._kernel.reboot()
        return {}

    def _status(self, _: Request) -> Answer:
        machine = self._kernel.machine
        return {
            "profile": machine.profile.name,
            "boot_id": machine.proc.read(BOOT_ID),
            "pid": os.getpid(),
        }

    def _subscribe(self, _: Request) -> Answer:
        if self._silence is None:
            self._silence = self._kernel.hub.listen(self._hear)
        return {}

    def _hear(self, event: Uevent) -> None:
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self.close()

    def _tell(self) -> None:
        with suppress(OSError):
            while (event := self._events.get()) is not None:
                line = {
                    "action": event.action,
                    "devpath": event.devpath,
                    "subsystem": event.subsystem,
                    "properties": dict(event.properties or {}),
                }
                self._send({"event": line})

    def _send(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        with self._sending:
            self._connection.sendall(data)


def _decode(line: bytes) -> Request:
    try:
        request = json.loads(line)
    except ValueError as error:
        raise refuse(errno.EINVAL, f"not JSON: {error}") from None
    if not isinstance(request, dict):
        raise refuse(errno.EINVAL, "not a JSON object")
    return request


def _text(request: Request, name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or "\0" in value:
        raise refuse(errno.EINVAL, f"{name} must be text")
    return value


def _refusal(identity: object, error: OSError) -> Answer:
    number = error.errno or errno.EIO
    why = error.strerror or os.strerror(number)
    return {
        "id": identity,
        "ok": False,
        "errno": number,
        "error": errno.errorcode.get(number, str(number)),
        "message": f"{why}: {error.filename}" if error.filename else why,
    }
