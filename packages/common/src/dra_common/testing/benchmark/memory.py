"""How much memory the daemon keeps, and what it is made of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from dra_common.testing.benchmark.figures import Figure
from dra_common.testing.benchmark.world import Subject, world

_RESIDENT = 72.0
_HELD = 100

# In the order of a start: each is charged with what those before it have not loaded.
_IMPORTS = (
    ("the interpreter", "sys"),
    ("logging, json, threading", "logging, json, threading, dataclasses, pathlib, socket, urllib.parse"),
    ("pydantic", "pydantic"),
    ("typer", "typer"),
    ("protobuf", "google.protobuf.message"),
    ("grpc", "grpc"),
    ("grpc_health", "grpc_health.v1.health"),
    ("urllib3", "urllib3"),
    ("kubernetes.client", "dra_common.cluster.lean, dra_common.cluster"),
    ("pyudev", "pyudev"),
    ("dra_common", "dra_common.app, dra_common.cli.run"),
)

_KUBECONFIG = ("for a kubeconfig, in no pod", "kubernetes.config.kube_config")
"""The driver that is measured has one: in a pod it is smaller by this."""

_SCRIPT = """
import gc, json, sys
def resident():
    gc.collect()
    lines = open("/proc/self/status").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssFile")))
found, before = [], 0
for title, names in json.loads(sys.argv[1]):
    for name in names.split(", "):
        __import__(name)
    now = resident()
    found.append([title, (now - before) / 1024, len(sys.modules)])
    before = now
print(json.dumps(found))
"""


def measure(subject: Subject) -> Iterator[Figure]:
    """Measure the running daemon, then import by import in a process of its own."""
    with world(subject) as here:
        here.hold(_HELD)
        size = here.node.resident_kib()
        case = f"{len(here.devices)} devices, {_HELD} claims held"
    yield Figure("resident", case, size["VmRSS"] / 1024, "MiB", _RESIDENT)
    for name, meaning in (
        ("RssAnon", "anonymous"),
        ("RssFile", "files, shared"),
        ("RssShmem", "shared memory"),
    ):
        yield Figure("resident", f"of it {meaning}", size.get(name, 0) / 1024, "MiB")
    yield from imports(subject)


def imports(subject: Subject) -> Iterator[Figure]:
    """What each library adds when it is imported in this order."""
    parts = [*_IMPORTS, (subject.module, f"{subject.module}.__main__"), _KUBECONFIG]
    command = [sys.executable, "-c", _SCRIPT, json.dumps(parts)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    found: list[tuple[str, float, int]] = json.loads(output)
    for title, mebibytes, _ in found:
        yield Figure("import", title, mebibytes, "MiB")
    yield Figure("import", "modules of a pod's driver", found[-2][2], "modules")
