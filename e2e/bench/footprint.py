"""What the driver's process keeps and uses: resident size before and after many claims, processor time of one."""

from collections.abc import Iterator

from dra_common.testing.benchmark.figures import Figure
from dra_common.testing.process import cpu_seconds, resident_kib

from bench.latency import one_by_one
from bench.rows import figure
from bench.world import World

CLAIMS, ROUNDS = 200, 3
CYCLES = CLAIMS * ROUNDS


def measure(here: World) -> Iterator[Figure]:
    """Measure a driver that has seen no claim, and again after so many."""
    fresh(here)
    pid = here.pid()
    yield from _size(pid, "idle", f"fresh, {len(here.devices)} devices")
    with here.claims(CLAIMS) as claims, here.caller() as caller:
        before = cpu_seconds(pid)
        for _ in range(ROUNDS):
            one_by_one(caller, claims)
        used = (cpu_seconds(pid) - before) / CYCLES
        yield figure("processor time", "of the driver, a prepare and its unprepare", [used * 1000])
    here.settle()
    yield from _size(pid, "used", f"after {CYCLES} prepares and unprepares")


def fresh(here: World) -> None:
    """Have a driver that has just started."""
    with here.driver.away():
        pass
    here.driver.wait_published()
    here.settle()


def _size(pid: int, state: str, case: str) -> Iterator[Figure]:
    size = resident_kib(pid)
    yield figure(f"resident, {state}", case, [size["VmRSS"] / 1024])
    yield figure(f"of it anonymous, {state}", case, [size["RssAnon"] / 1024])
