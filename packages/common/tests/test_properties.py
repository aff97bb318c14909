"""Statements about every input, for some hundred inputs each; ``make fuzz`` checks the same as long as it is told."""

from __future__ import annotations

import pytest
from properties import adoption, answers, cdi, checkpoints, claims, records, requests, slices
from properties.base import Property

PROPERTIES = (
    records.PROPERTY,
    checkpoints.PROPERTY,
    answers.PROPERTY,
    answers.WATCH,
    claims.PROPERTY,
    claims.BYTES,
    cdi.PROPERTY,
    adoption.PROPERTY,
    slices.PROPERTY,
    requests.PROPERTY,
)


@pytest.mark.parametrize("each", PROPERTIES, ids=lambda each: each.name)
def test_it_holds_for_every_input(each: Property[object]) -> None:
    each.hold()


@pytest.mark.parametrize("each", [each for each in PROPERTIES if each.raw], ids=lambda each: each.name)
def test_it_holds_for_the_inputs_a_fuzzer_begins_with(each: Property[bytes]) -> None:
    for seed in each.seeds:
        each.check(seed)
