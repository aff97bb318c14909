"""From the start of the driver's process to its first ResourceSlice in the API server, in a container of its image."""

import copy
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dra_common.testing.benchmark.figures import Figure, timed
from harness.api import Json, Unanswered
from harness.driver import DRIVER, READY, SLICES
from harness.errors import HarnessError
from harness.waiting import wait_for

from bench.rows import figure
from bench.world import World

POD = "bench-start"
RUNS = 7
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
ENDED = 30.0


@dataclass(frozen=True, slots=True)
class Container:
    """One in which nothing runs that would not run for the driver: its image, volumes, account and environment.

    Args:
        pid: of a process in it, on the host.
        environment: of that process.
    """

    pid: int
    environment: Mapping[str, str]

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a program in its namespaces."""
        kinds = ("mount", "net", "pid", "uts", "ipc")
        entering = ["nsenter", f"--target={self.pid}", *(f"--{kind}" for kind in kinds), "--"]
        return subprocess.Popen(
            [*entering, *command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def measure(here: World) -> Iterator[Figure]:
    """Start it several times, each time without a slice, and the bare interpreter too."""
    with _container(here) as container:
        _first_slice(here, container)
        bare = [timed(container.start("python3", "-c", "").communicate) for _ in range(RUNS)]
        starts = [_first_slice(here, container) for _ in range(RUNS)]
    yield figure("bare interpreter", "in the driver's container", [value * 1000 for value in bare])
    case = f"process to first slice, {len(here.devices)} devices, {RUNS} runs"
    yield figure("start to slice", case, [value * 1000 for value in starts])


def _first_slice(here: World, container: Container) -> float:
    """Return the seconds until the API server has a slice, and end the driver again."""
    api = here.cluster.api
    api.delete(SLICES)
    with api.watch(SLICES) as events:
        began = time.perf_counter()
        process = container.start("gpu-driver", "run")
        try:
            seen = _published(events)
        finally:
            said = _end(process)
    if seen is None:
        raise HarnessError(f"the driver published nothing: {said.strip()[-500:]}")
    return seen - began


def _published(events: Iterator[Json]) -> float | None:
    """Return when the first slice was seen, None if there came none in the time that a watch has."""
    with suppress(Unanswered):
        for event in events:
            if event["type"] == "ADDED" and event["object"]["spec"]["driver"] == DRIVER:
                return time.perf_counter()
    return None


def _end(process: "subprocess.Popen[str]") -> str:
    """End the program, which is the child of the one that entered the namespaces; what it said."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGTERM)
    said, _ = process.communicate(timeout=ENDED)
    return said


@contextmanager
def _container(here: World) -> Iterator[Container]:
    """Run a pod like the driver's in its place for a while; its process only waits."""
    daemonsets = f"/apis/apps/v1/namespaces/{here.driver.namespace}/daemonsets"
    spec = here.cluster.api.get(f"{daemonsets}/{here.driver.daemonset}")["spec"]["template"]["spec"]
    pods = f"/api/v1/namespaces/{here.driver.namespace}/pods"
    with here.driver.away():
        here.cluster.api.create(pods, _waiting(spec))
        try:
            yield _running(here, f"{pods}/{POD}")
        finally:
            here.cluster.api.delete(f"{pods}/{POD}", gracePeriodSeconds=0)
            wait_for(lambda: here.cluster.api.find(f"{pods}/{POD}") is None, f"pod {POD} to be gone", READY)


def _waiting(spec: Json) -> Json:
    """Describe that pod."""
    spec = copy.deepcopy(spec)
    (container,) = spec["containers"]
    for name in ("args", *PROBES):
        container.pop(name, None)
    container["command"] = ["python3", "-c", "import signal; signal.pause()"]
    return {"metadata": {"name": POD}, "spec": spec}


def _running(here: World, path: str) -> Container:
    """Wait until it runs."""

    def running() -> Json | None:
        pod = here.cluster.api.get(path)
        assert pod["status"].get("phase") == "Running", pod["status"]  # noqa: S101 # what is said if it is late
        return pod

    pod = wait_for(running, f"pod {POD} to run", READY) or {}
    pid = here.cluster.sandbox.host_pid(here.driver.pid(pod))
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return Container(pid, dict(pair.split("=", 1) for pair in pairs if pair))
