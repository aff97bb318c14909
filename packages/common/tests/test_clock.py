"""Nothing waits by the wall clock: it may be set back by an hour, forward by a year, while we wait."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from publisher_bench import Bench, bench, part

SOURCES = Path(__file__).parents[2]
WALL = {"time", "time_ns", "localtime", "gmtime", "now", "utcnow", "today"}
LOOKED_AT = {
    # The age of a file's last write, which has no other clock. They only tidy up: a file that looks old because the
    # clock was set forward is one that its writer makes again, and one that looks young goes at a later start.
    "dra_common/cdi/specdir.py": "the age of unfinished files",
    "dra_common/kubelet/instances.py": "the age of abandoned sockets",
    "dra_common/locks.py": "the age of lock files without a claim",
    # What is said to people, and waited for by nobody.
    "dra_common/events/sender.py": "a number in the name of an Event",
    "dra_common/events/waiting.py": "the time that an Event says",
    "dra_common/claimstatus/writer.py": "when a condition of a claim changed, as the API says it",
    "dra_common/kubelet/device_health.py": "when health was told, as the kubelet wants to know",
    "dra_common/holds.py": "how long a folder that a crash may have left has been empty",
    "dra_common/simulate/kernel.py": "when the simulated machine was started",
}


def test_no_pause_and_no_deadline_asks_the_wall_clock() -> None:
    found = {str(path.relative_to(path.parents[_depth(path)])): name for path, name in wall_clocks()}
    assert set(found) <= set(LOOKED_AT), found


def _depth(path: Path) -> int:
    """How far the ``src`` folder is above."""
    return len(path.parts) - path.parts.index("src") - 2


def wall_clocks() -> Iterator[tuple[Path, str]]:
    """Every call of a function that reads the wall clock, in product code."""
    for path in sorted(SOURCES.glob("*/src/**/*.py")):
        if "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name.rpartition(".")[2] in WALL and name.startswith(("time.", "datetime.", "dt.", "date.")):
                yield path, name


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


@pytest.mark.parametrize("jumps", [[-86400.0], [86400.0 * 365], [-3600.0, 3600.0, 0.0]])
def test_publishing_goes_on_while_the_clock_jumps(
    lab: Bench, monkeypatch: pytest.MonkeyPatch, jumps: list[float]
) -> None:
    real, by = time.time, cycle(jumps)
    with lab.running() as publisher:
        lab.publish(publisher, part("a"))
        # From here on each look at the wall clock, by us or by a library, finds it elsewhere.
        monkeypatch.setattr(time, "time", lambda: real() + next(by))
        lab.server.faults.add(status=503, method="POST", count=3)
        lab.wipe()
        lab.wait(lambda: lab.whole("a"), "the repair, after some tries")
        lab.server.drop_watches()
        lab.publish(publisher, part("b"))
        lab.server.stop()
        publisher.publish([part("c")])
        lab.wait(lambda: publisher.status().error, "the outage")
        lab.server.start()
        lab.wait(lambda: lab.whole("c"), "the write after it")
        assert len(lab.server.requests) < 100
