"""Nodes on which one of Intel's Go drivers runs, or has run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dra_common.model import PreparedDevice
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import lines
from driver_program import Program

GO = """
import signal, sys
from pathlib import Path
from dra_common.kubelet._generated.pluginregistration_v1_pb2_grpc import add_RegistrationServicer_to_server
from dra_common.kubelet.registration import RegistrationService
from dra_common.kubelet.server import UnixServer
from dra_common.readiness import Readiness

name, plugin, registry = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
plugin.mkdir(exist_ok=True)
dra = plugin / "dra.sock"
service = RegistrationService(name, dra, Readiness(), lambda: 1)
servers = [
    UnixServer(dra, lambda server: None, threads=2),
    UnixServer(registry / f"{name}-reg.sock", lambda it: add_RegistrationServicer_to_server(service, it), threads=2),
]
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
for server in servers:
    server.start()
signal.sigwait([signal.SIGTERM])
for server in servers:
    server.stop(0)
"""
"""Its two sockets, answered as any kubelet plugin answers them."""


@contextmanager
def go_driver(node: SimulatedNode) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [node.driver, str(node.state), str(node.registry)]
    process = subprocess.Popen([sys.executable, "-c", GO, *arguments])
    try:
        wait_until(
            lambda: any(each.driver == node.driver for each in node.kubelet.registered),
            "the Go driver",
            seconds=60,
        )
        yield process
    finally:
        process.kill()
        process.wait()


def leave(node: SimulatedNode, content: Mapping[str, Any], static: Sequence[str]) -> Path:
    """What a Go driver leaves on a node: its checkpoint, written since the boot, and its CDI file."""
    node.state.mkdir(exist_ok=True)
    path = node.state / "preparedClaims.json"
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    os.utime(path, (time.time() + 60, time.time() + 60))
    kind = node.driver.partition(".")[0]
    spec = node.static_cdi / f"intel.com-{kind}.yaml"
    devices = [
        f"- containerEdits:\n    deviceNodes:\n    - path: /dev/stale\n      type: c\n  name: {name}\n"
        for name in static
    ]
    head = "---\ncdiVersion: 0.5.0\ncontainerEdits: {}\ndevices:\n"
    spec.write_text(f"{head}{''.join(devices)}kind: intel.com/{kind}\n")
    spec.chmod(0o600)
    return path


def ids(answer: Sequence[PreparedDevice]) -> list[str]:
    return [name for device in answer for name in device.cdi_ids]


def waiting(node: SimulatedNode) -> list[str]:
    """What the driver said while it waited for the other one to go."""
    return [line for line in lines(node) if "waiting: " in line] if node.log.exists() else []


def preview(program: Program, node: SimulatedNode, *more: str) -> subprocess.CompletedProcess[str]:
    """What ``claims adopt --dry-run`` says."""
    return program.cli(
        "claims",
        "adopt",
        "--dry-run",
        f"--kubelet-plugins-dir={node.plugins}",
        f"--kubelet-registry-dir={node.registry}",
        f"--simulated-root={node.machine}",
        *more,
    )


def everything(node: SimulatedNode) -> dict[str, tuple[float, bytes]]:
    """All files of the node, with what is in them."""
    files = (
        path
        for folder in (node.plugins, node.registry, node.cdi, node.static_cdi)
        for path in folder.rglob("*")
    )
    return {
        str(path): (path.lstat().st_mtime, path.read_bytes() if path.is_file() else b"") for path in files
    }
