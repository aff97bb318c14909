"""Prepare and unprepare, one claim at a time, with bare GETs between them."""

import statistics
from collections.abc import Iterator, Sequence

from dra_common.model import ClaimRef
from dra_common.testing.benchmark.figures import Figure, stopwatch

from bench.caller import Caller
from bench.floors import gets
from bench.rows import figure, latencies
from bench.world import World

CLAIMS = 200
ROUNDS = 4
WARMING = 20


def measure(here: World) -> Iterator[Figure]:
    """Prepare and unprepare each claim once; the GETs meet the machine in the same mood."""
    prepares: list[float] = []
    unprepares: list[float] = []
    ratios: list[float] = []
    with here.claims(CLAIMS) as claims, here.caller() as caller:
        one_by_one(caller, claims[:WARMING])
        for number in range(ROUNDS):
            own, undone = one_by_one(caller, claims[number::ROUNDS])
            ratios.append(statistics.median(own) / statistics.median(gets(here, claims[0])))
            prepares += own
            unprepares += undone
    case = f"{CLAIMS} claims, one at a time"
    yield from latencies("prepare", case, prepares)
    yield figure("prepare : GET", f"of p50, {ROUNDS} rounds in turn", ratios)
    yield from latencies("unprepare", case, unprepares)


def one_by_one(caller: Caller, claims: Sequence[ClaimRef]) -> tuple[list[float], list[float]]:
    """Return the seconds of each prepare and of each unprepare."""
    prepares: list[float] = []
    unprepares: list[float] = []
    for ref in claims:
        with stopwatch(prepares):
            caller.prepare([ref])
        with stopwatch(unprepares):
            caller.unprepare([ref])
    return prepares, unprepares
