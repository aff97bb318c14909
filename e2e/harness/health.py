"""Whether a component serves, asked from inside the node's network."""

import http.client
import socket
import ssl
from pathlib import Path

from harness.components import CONTAINERD_SOCKET, PKI
from harness.node import SERVICE
from harness.sandbox import Sandbox

TIMEOUT = 5.0
# Port, path, whether by TLS, and the body of a yes ("" = any).
ENDPOINTS = {
    "etcd": ("127.0.0.1", 2379, "/readyz", False),
    "kube-apiserver": (SERVICE, 443, "/readyz", True),
    "kube-controller-manager": ("127.0.0.1", 10257, "/healthz", True),
    "kube-scheduler": ("127.0.0.1", 10259, "/readyz", True),
    "kubelet": ("127.0.0.1", 10248, "/healthz", False),
}


def serves(sandbox: Sandbox, name: str) -> bool:
    """Ask a component by its own health endpoint; no connection is a no."""
    try:
        if name == "containerd":
            return _accepts(sandbox.path(CONTAINERD_SOCKET))
        # Before it has written its certificate it would make clients trust none.
        if name == "kube-apiserver" and not sandbox.path(str(PKI / "apiserver.crt")).exists():
            return False
        return _healthy(sandbox, *ENDPOINTS[name])
    except (OSError, http.client.HTTPException):
        return False


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT)
        client.connect(str(path))
    return True


def _healthy(sandbox: Sandbox, host: str, port: int, path: str, tls: bool) -> bool:  # noqa: FBT001 # a row of the table
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    plain = sandbox.connect(host, port, TIMEOUT)
    try:
        connection.sock = _without_check().wrap_socket(plain) if tls else plain
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    finally:
        connection.close()
        plain.close()


def _without_check() -> ssl.SSLContext:
    """Trust anybody: each component makes a certificate of its own, and this network has nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
