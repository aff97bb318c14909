"""Every scenario of the protocol has a test, and every mark means a scenario."""

from __future__ import annotations

import pytest
from marks import strays
from scenarios import SCENARIOS, proofs

PROOFS = proofs()


def test_the_scenarios_are_numbered_in_order_without_a_gap() -> None:
    # 70 is of pools without a node, which no driver of this project has.
    assert list(SCENARIOS) == [*range(1, 70), *range(71, 81)]


@pytest.mark.parametrize("number", SCENARIOS)
def test_every_scenario_has_a_test(number: int) -> None:
    assert PROOFS.get(number), f"no test has @pytest.mark.scenario({number}): {SCENARIOS[number]}"


def test_every_mark_names_a_scenario() -> None:
    strangers = {number: [str(proof) for proof in PROOFS[number]] for number in set(PROOFS) - set(SCENARIOS)}
    assert strangers == {}


def test_no_mark_escapes_the_reading_of_the_source() -> None:
    """A mark in another shape would stand in no table."""
    assert strays("scenario") == 0
