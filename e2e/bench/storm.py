"""Many claims at once, as when a node's pods all start together."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from dra_common.testing.benchmark.figures import Figure, timed

from bench.rows import figure
from bench.world import World

CLAIMS, CALLERS, RUNS = 64, 16, 5


def measure(here: World) -> Iterator[Figure]:
    """Prepare all of them, each with a device of its own, then unprepare all of them; several times."""
    prepared, unprepared = [], []
    with here.claims(CLAIMS) as claims, here.caller() as caller, ThreadPoolExecutor(CALLERS) as pool:
        calls = [[ref] for ref in claims]
        for _ in range(RUNS):
            prepared.append(timed(lambda: list(pool.map(caller.prepare, calls))))
            unprepared.append(timed(lambda: list(pool.map(caller.unprepare, calls))))
    case = f"{CLAIMS} claims, {CALLERS} callers, {RUNS} runs"
    yield figure("storm, prepared", case, prepared)
    yield figure("storm, unprepared", case, unprepared)
