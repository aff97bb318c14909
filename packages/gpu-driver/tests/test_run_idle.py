"""The real process while an API server is in a bad mood: it neither spins nor floods, and comes back by itself.

Counted, not timed: requests, lines, and how often the kernel woke one of its threads. What a mood costs in time is in
the report of ``python -m dra_common.testing.benchmark --only idle``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dra_common.testing.benchmark.idle import idle
from dra_common.testing.benchmark.world import Subject, World, world
from dra_common.testing.moods import MOODS, Mood

SECONDS = 1.0
REQUESTS = 12
"""A second: a try, which is a list and a watch, and the repair at its end; a loop makes hundreds."""
WAKEUPS = 300
"""A second, of some thirty threads, gRPC's among them; a loop makes thousands."""
QUICK_TO_END = (
    "well",
    "away",
    "silent",
    "cuts every connection",
    "500",
    "410 to every watch",
    "cuts every watch",
    "no resource.k8s.io/v1",
)
"""Those that a driver notices the end of within seconds; all are in packages/common/tests/test_moods.py."""


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world(Subject("gpu_driver", "gpu.intel.com", "two-gpus")) as made:
        yield made


@pytest.mark.parametrize(
    "mood", [mood for mood in MOODS if mood.name in QUICK_TO_END], ids=lambda mood: mood.name
)
def test_a_mood_is_waited_out(here: World, mood: Mood) -> None:
    before = here.devices
    seen = idle(here, mood, SECONDS)
    assert seen.requests <= REQUESTS * max(1.0, seen.seconds)
    assert seen.wakeups <= WAKEUPS
    assert seen.lines <= 4, here.node.log_tail()
    here.node.wait_published()
    assert [device["name"] for device in here.node.devices()] == before
    assert "Traceback" not in here.node.log.read_text()
