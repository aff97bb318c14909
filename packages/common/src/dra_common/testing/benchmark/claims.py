"""What a claim costs: latency by callers, by claims held and by the API server's latency; a storm."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from dra_common.files import write_durably
from dra_common.model import ClaimRef
from dra_common.testing.benchmark.bare import bare
from dra_common.testing.benchmark.figures import Figure, latency, runs, stopwatch, timed
from dra_common.testing.benchmark.world import Subject, World, world
from dra_common.testing.kubelet.endpoint import Endpoint

HELD = (1, 100, 1000)
CALLERS = (1, 16)
LATENCIES = (0.0, 0.005)
_OWN_MS = 2.0
_PATIENCE = 45.0
_STORM, _STORM_SECONDS, _STORM_RUNS = 64, 0.3, 5
_RECORD = b"x" * 1000

_GETS = """
import sys, time
from dra_common.cluster import connect
client = connect(sys.argv[1])
client.get(sys.argv[2])
for _ in range(100):
    began = time.perf_counter()
    client.get(sys.argv[2])
    print(time.perf_counter() - began)
"""


def measure(subject: Subject, rounds: int) -> Iterator[Figure]:
    """Prepare and unprepare every device ``rounds`` times in each case."""
    with world(subject) as here:
        here.hold(1)
        _warm_up(here)
        yield from _floor(here)
        medians = []
        for held in HELD:
            here.hold(held)
            for delay in LATENCIES:
                here.node.api.latency(delay)
                for callers in CALLERS:
                    prepares, unprepares = _calls(here, callers, rounds)
                    case = f"{callers:2} callers, {held:4} held, API {delay * 1000:g} ms"
                    yield latency("prepare", case, prepares)
                    yield latency("unprepare", case, unprepares)
                    if (delay, callers) == (0.0, 1):
                        medians.append(statistics.median(prepares))
            here.node.api.latency(0)
        yield Figure(
            "growth", f"prepare with {HELD[-1]} held : with {HELD[0]}", medians[-1] / medians[0], "ratio"
        )
        yield from _own(here, rounds)
        yield _storm(here)


def _warm_up(here: World) -> None:
    _calls(here, 1, 1)


def _floor(here: World) -> Iterator[Figure]:
    """What no prepare can be quicker than: an empty call, the GET, a durable write."""
    yield latency("an empty call", "gRPC alone", [timed(lambda: here.prepare([])) for _ in range(200)])
    yield latency("GET of a claim", "same client, own process", _gets(here))
    path = here.node.state / "bench"
    yield latency(
        "a durable write",
        "a prepare makes one",
        [timed(lambda: write_durably(path, _RECORD)) for _ in range(200)],
    )
    path.unlink()


def _gets(here: World) -> list[float]:
    """Seconds of each GET by our client in a process of its own, as the driver's is."""
    ref = here.held[0]
    path = f"/apis/resource.k8s.io/v1/namespaces/{ref.namespace}/resourceclaims/{ref.name}"
    command = [sys.executable, "-c", _GETS, str(here.node.root / "kubeconfig"), path]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    return [float(line) for line in output.split()]


def _own(here: World, rounds: int) -> Iterator[Figure]:
    """What we add to the GET, and what anybody would: measured in turn, so that all meet the machine in one mood."""
    costs, least, processor = [], [], []
    with bare(here) as servicer:
        for _ in range(max(3, rounds)):
            before = here.cpu_seconds()
            prepares, _ = _calls(here, 1, 1)
            processor.append((here.cpu_seconds() - before) / len(prepares) * 1000)
            get = statistics.median(_gets(here))
            costs.append((statistics.median(prepares) - get) * 1000)
            least.append((statistics.median(_least(here, servicer)) - get) * 1000)
    yield runs("own cost of a prepare", "beyond the GET, 1 caller", costs, "ms", _OWN_MS)
    yield runs("the least it can be", "a servicer that only writes and answers", least, "ms")
    yield runs("processor time", "a prepare, its GET and its unprepare", processor, "ms")


def _least(here: World, servicer: Endpoint) -> list[float]:
    """Seconds of each prepare by a servicer that takes no care."""
    prepares: list[float] = []
    for number, device in enumerate(here.devices):
        ref = here.claim(f"bench-{number}", device)
        with stopwatch(prepares):
            servicer.prepare([ref], _PATIENCE)
        servicer.unprepare([ref], _PATIENCE)
    return prepares


def _calls(here: World, callers: int, rounds: int) -> tuple[list[float], list[float]]:
    prepares: list[float] = []
    unprepares: list[float] = []
    claims = [here.claim(f"bench-{number}", device) for number, device in enumerate(here.devices)]

    def work(mine: Sequence[ClaimRef]) -> None:
        for _ in range(rounds):
            for ref in mine:
                with stopwatch(prepares):
                    here.prepare([ref])
                with stopwatch(unprepares):
                    here.unprepare([ref])

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(work, [claims[index::callers] for index in range(callers)]))
    return prepares, unprepares


def _storm(here: World) -> Figure:
    """64 claims at once from 16 callers, with 5 ms for each answer of the API server."""
    claims = [here.claim(f"bench-{number}", device) for number, device in enumerate(here.devices[:_STORM])]
    here.node.api.latency(LATENCIES[-1])
    seconds = []
    with ThreadPoolExecutor(CALLERS[-1]) as pool:
        for _ in range(_STORM_RUNS):
            began = time.perf_counter()
            list(pool.map(lambda ref: here.prepare([ref]), claims))
            seconds.append(time.perf_counter() - began)
            list(pool.map(lambda ref: here.unprepare([ref]), claims))
    here.node.api.latency(0)
    return runs("storm", f"{len(claims)} claims, 16 callers, API 5 ms", seconds, "s", _STORM_SECONDS)
