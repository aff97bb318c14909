"""One gRPC server behind one unix socket."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from dra_common.effects import effect
from dra_common.errors import KubeletError
from dra_common.files import cure_of
from dra_common.kubelet.marks import Mark, Marks
from dra_common.kubelet.sockets import OwnSocket, hidden_path, put_in_place, why_not_bound


class UnixServer:
    """Serves until stopped, once.

    There is no maximum age or idle time of connections: a kubelet that sees its connection end starts to count down to
    the removal of the node's ResourceSlices (30 s).

    Args:
        path: where the socket appears; check it first (:meth:`~dra_common.kubelet.sockets.SocketPaths.check`).
        add_services: registers the servicers.
        threads: calls served at a time; further calls wait.
        marks: where it is said that the socket is this driver's; None = nowhere.
    """

    def __init__(
        self,
        path: Path,
        add_services: Callable[[grpc.Server], None],
        *,
        threads: int,
        marks: Marks | None = None,
    ) -> None:
        self.path = path
        self._marks = marks
        self._mark: Mark | None = None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=path.name)
        self._server = grpc.server(self._pool)
        self._socket: OwnSocket | None = None
        add_services(self._server)

    def start(self) -> None:
        """Bind, serve, appear. Raises KubeletError, StateError."""
        hidden = hidden_path(self.path)
        try:
            with effect("bind", hidden):
                self._server.add_insecure_port(f"unix:{hidden}")
        except RuntimeError as error:
            raise KubeletError(f"cannot make the socket {self.path}: {why_not_bound(hidden)}") from error
        except OSError as error:
            raise KubeletError(
                f"cannot make the socket {self.path}: {error.strerror}", cure=cure_of(error)
            ) from error
        self._server.start()
        if self._marks:
            self._mark = self._marks.make(hidden)
        self._socket = put_in_place(hidden, self.path)

    def lost(self) -> str:
        """Return why nobody can reach this server any more, ``""`` while the socket file is ours."""
        own = self._socket
        return own.lost() if own else ""

    def stop(self, grace: float) -> None:
        """Remove the socket, refuse new calls, wait up to ``grace`` seconds for those in flight, then cut them off."""
        own, self._socket = self._socket, None
        if own:
            own.remove()
        mark, self._mark = self._mark, None
        if mark:
            mark.remove()
        self._server.stop(grace).wait()
        self._pool.shutdown(wait=False)
