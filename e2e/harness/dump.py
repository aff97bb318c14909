"""Everything that helps to understand a failure, written down while the cluster is still there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from harness.cluster import Cluster
from harness.errors import HarnessError

P = ParamSpec("P")
TAIL = 400
LISTS = {
    "nodes": "/api/v1/nodes",
    "events": "/api/v1/events",
    "pods": "/api/v1/pods",
    "daemonsets": "/apis/apps/v1/daemonsets",
    "deviceclasses": "/apis/resource.k8s.io/v1/deviceclasses",
    "resourceclaims": "/apis/resource.k8s.io/v1/resourceclaims",
    "resourceslices": "/apis/resource.k8s.io/v1/resourceslices",
}


def dump(cluster: Cluster, folder: Path) -> str:
    """Write lists of objects, logs of pods and tails of component logs to ``folder``; a summary for the terminal.

    It never fails: what cannot be had (the API server may be the one that is down) is said in its place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in LISTS.items():
        _write(folder / f"{name}.json", _list, cluster, path)
    for log in sorted(cluster.settings.logs.glob("*.log")):
        _write(folder / log.name, tail, log)
    _write(folder / "cdi.txt", _files, cluster, "/var/run/cdi")
    _write(folder / "pods.log", _pod_logs, cluster)
    return "\n".join([*_summary(cluster), f"all of it, with logs: {folder}"])


def tail(log: Path, lines: int = TAIL) -> str:
    """Give the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) + "\n"


def _write(file: Path, content: Callable[P, str], *arguments: P.args, **named: P.kwargs) -> None:
    file.write_text(_said(content, *arguments, **named))


def _said(content: Callable[P, str], *arguments: P.args, **named: P.kwargs) -> str:
    try:
        return content(*arguments, **named)
    except (HarnessError, OSError) as error:
        return f"not to be had: {error}\n"


def _list(cluster: Cluster, path: str) -> str:
    return json.dumps(cluster.api.get(path), indent=1)


def _files(cluster: Cluster, path: str) -> str:
    folder = cluster.path(path)
    return "".join(f"--- {file.name}\n{file.read_text()}\n" for file in sorted(folder.iterdir()))


def _pod_logs(cluster: Cluster) -> str:
    said = []
    for pod in cluster.api.items("/api/v1/pods"):
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        options = ("--all-containers", "--prefix", f"--tail={TAIL}")
        said.append(f"--- {namespace}/{name}\n")
        said.append(_said(cluster.kubectl, "logs", "-n", namespace, name, *options))
    return "".join(said)


def _summary(cluster: Cluster) -> list[str]:
    parts = (
        ("pods", "get", "pods", "-A", "-o", "wide"),
        ("claims", "get", "resourceclaims", "-A"),
        ("slices", "get", "resourceslices"),
        ("warnings", "get", "events", "-A", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"),
    )
    said = []
    for title, *arguments in parts:
        lines = _said(cluster.kubectl, *arguments).splitlines()
        said += [f"{title}:", *(f"  {line}" for line in lines[:1] + lines[1:][-12:])]
    return said
