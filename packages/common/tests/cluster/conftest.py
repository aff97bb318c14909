"""A fake API server with a client on it, and a socket that plays back bytes for what no server should say."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from dra_common.cluster import ClusterClient, connect
from dra_common.testing.apiserver import FakeApiServer
from kubernetes.client import Configuration

Piece = bytes | float
"""Bytes to send, or seconds between two pieces."""


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer() as running:
        yield running


@pytest.fixture
def dial(tmp_path: Path) -> Iterator[Callable[[FakeApiServer], ClusterClient]]:
    """Make clients that are closed after the test."""
    clients: list[ClusterClient] = []

    def make(server: FakeApiServer) -> ClusterClient:
        clients.append(connect(str(server.kubeconfig(tmp_path / "kubeconfig"))))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(server: FakeApiServer, dial: Callable[[FakeApiServer], ClusterClient]) -> ClusterClient:
    return dial(server)


@pytest.fixture
def at() -> Iterator[Callable[..., ClusterClient]]:
    """Make clients of an address."""
    clients: list[ClusterClient] = []

    def make(address: str, **options: Any) -> ClusterClient:
        configuration = Configuration()
        configuration.host = address
        clients.append(ClusterClient(configuration, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def playback() -> Iterator[Callable[[Sequence[Piece]], str]]:
    """Answer every connection with the same pieces; returns the address."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(listener: socket.socket, pieces: Sequence[Piece]) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    for piece in pieces:
                        if isinstance(piece, bytes):
                            connection.sendall(piece)
                        else:
                            time.sleep(piece)

    def start(pieces: Sequence[Piece]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threads.append(threading.Thread(target=serve, args=(listener, pieces), daemon=True))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(timeout=60)
