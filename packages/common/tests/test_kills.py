"""The real process is killed before and after every change it makes, and is none the worse for it afterwards.

``KILLS=all`` (``make kills``) takes every change. Without it, of the longer scenarios, every sixth is taken; and every
twelfth of what differs little from another: killed after a change is nearly killed before the next. ``KILLS=fresh``
also starts each process from nothing; otherwise they are forked from one that is warm.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path

import pytest
from dra_common.testing.forks import Forker
from dra_common.testing.mortal import Kind, Orders
from kills import (
    Adopt,
    Prepare,
    Publish,
    Recover,
    Reprepare,
    Scenario,
    Share,
    Unprepare,
    Unshare,
    World,
    call_error,
    play,
    world,
)

FRESH = os.environ.get("KILLS") == "fresh"
ALL = FRESH or os.environ.get("KILLS") == "all"
LONG = 1800 if ALL else 300
"""Seconds that one test may take."""

WHOLE = (Prepare(), Unprepare())
SAMPLED = (Reprepare(), Recover(Prepare()), Recover(Unprepare()), Publish(), Adopt())
SHARES = (Share(first=True), Share(first=False), Unshare())
CALLS = (*WHOLE, SAMPLED[0])
STARTS = SAMPLED[1:] if ALL else SAMPLED[1:4]
"""Starts that are made to fail; an adoption that fails is tried again after five seconds, each time."""
ERRNOS = (errno.ENOSPC, errno.EIO, errno.EROFS)
_EACH, _SOME, _FEW = 1, 6, 12
"""Of how many changes one is taken where not all are."""

Report = Callable[[str, object], None]


def points(scenario: Scenario, step: int) -> Iterator[int]:
    """The changes at which something happens, for ever."""
    step = _EACH if ALL else step
    return count(1 + (*WHOLE, *SAMPLED, *SHARES).index(scenario) % step, step)


def errnos(at: int) -> tuple[int, ...]:
    """What change ``at`` fails with: everything, or each in its turn."""
    return ERRNOS if ALL else (ERRNOS[at % len(ERRNOS)],)


@pytest.fixture
def place(short_tmp: Path, forker: Forker) -> Iterator[World]:
    with world(short_tmp, None if FRESH else forker) as made:
        yield made


def rehearse(place: World, scenario: Scenario) -> list[str]:
    """Do the scenario without a fault; returns its changes."""
    assert play(place, scenario, Orders())
    changes = place.counted()
    scenario.check(place)
    return changes


@contextmanager
def noted(orders: Orders, changes: Sequence[str]) -> Iterator[None]:
    """Say in a failure where it was."""
    try:
        yield
    except BaseException as error:
        here = changes[orders.at - 1] if orders.at <= len(changes) else "a later change"
        error.add_note(f"{orders}: {here}")
        raise


def kill_everywhere(
    place: World, scenario: Scenario, kind: Kind, *, step: int, before_start: Callable[[], None]
) -> tuple[int, int]:
    """Kill, start again, check; returns the number of changes, and of kills."""
    changes, kills = rehearse(place, scenario), 0
    for at in points(scenario, step):
        with noted(Orders(kind, at), changes):
            if play(place, scenario, Orders(kind, at)):
                # What the publisher does beside a call may be one change more or less.
                assert at >= len(changes) - 1
                break
            kills += 1
            before_start()
            place.start()
            scenario.check(place)
    return len(changes), kills


@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
@pytest.mark.parametrize("scenario", [*WHOLE, *SAMPLED, *SHARES], ids=lambda scenario: scenario.name)
def test_killed_at_any_change_nothing_is_lost_and_nothing_is_left(
    place: World, scenario: Scenario, kind: Kind, record_property: Report
) -> None:
    step = _FEW if kind == "kill-after" else _EACH if scenario in WHOLE else _SOME
    n, kills = kill_everywhere(place, scenario, kind, step=step, before_start=lambda: None)
    record_property("kills", [scenario.name, f"SIGKILL {kind.removeprefix('kill-')}", n, kills])


@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("scenario", [*CALLS, *SAMPLED[1:3], SAMPLED[4]], ids=lambda scenario: scenario.name)
def test_rebooted_at_any_change_the_claim_gets_the_same_ids_on_the_devices_of_now(
    place: World, scenario: Scenario, record_property: Report
) -> None:
    n, kills = kill_everywhere(place, scenario, "kill-before", step=_FEW, before_start=place.node.boot)
    record_property("kills", [scenario.name, "SIGKILL and reboot", n, kills])


@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("kind", ["fail", "fail-from"])
@pytest.mark.parametrize("scenario", WHOLE, ids=lambda scenario: scenario.name)
def test_a_disk_that_fails_at_any_change_of_a_call_fails_that_call_at_most(
    place: World, scenario: Scenario, kind: Kind, record_property: Report
) -> None:
    changes, faults = rehearse(place, scenario), 0
    place.unfinished, place.hurried = ("json.tmp",), True
    for at in range(1, len(changes) + 1):
        for number in errnos(at):
            orders = Orders(kind, at, number)
            with noted(orders, changes):
                scenario.setup(place)
                place.settle()
                place.order(orders)
                error = call_error(place, scenario)
                if error:
                    check_error(error, number, place)
                place.order(Orders())
                place.check_whole_life()
                faults += 1
    record_property(
        "kills", [scenario.name, "errno once" if kind == "fail" else "errno lasting", len(changes), faults]
    )


@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("scenario", STARTS, ids=lambda scenario: scenario.name)
def test_a_disk_that_fails_at_any_change_of_a_start_is_explained_or_does_not_matter(
    place: World, scenario: Scenario, record_property: Report
) -> None:
    changes, faults = rehearse(place, scenario), 0
    place.unfinished = ("json.tmp",)
    for at in takewhile(lambda at: at <= len(changes), points(scenario, _SOME)):
        for number in errnos(at):
            orders = Orders("fail", at, number)
            with noted(orders, changes):
                if play(place, scenario, orders):
                    place.order(Orders())
                else:
                    assert place.node.process
                    assert place.node.process.poll() == 1
                    check_error(place.node.log_tail(1), number, place)
                    place.start()
                place.hurried = True
                if isinstance(scenario, Adopt):
                    scenario.check(place)
                place.check_whole_life()
                place.hurried = False
                faults += 1
    record_property("kills", [scenario.name, "errno once", len(changes), faults])


CURES = ("free space", "check the disk", "mount", "kernel log")


def check_error(text: str, number: int, place: World) -> None:
    """The thing, the step, the cause and the cure."""
    assert os.strerror(number) in text
    assert str(place.node.root) in text
    assert any(cure in text for cure in CURES), text
