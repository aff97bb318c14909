"""Statements about every machine, for some hundred machines; ``make fuzz`` checks the same as long as it is told."""

from __future__ import annotations

import pytest
from gpu_properties.damage import BLOBS, PROFILES, PROPERTY, machine
from properties.base import Property


@pytest.mark.parametrize("each", [PROPERTY, BLOBS], ids=lambda each: each.name)
def test_it_holds_for_every_input(each: Property[object]) -> None:
    each.hold()


@pytest.mark.parametrize("profile", PROFILES)
def test_damage_that_is_undone_leaves_the_machine_as_it_was(profile: str) -> None:
    there = machine(profile)
    assert there.bdfs
    for number in range(40):
        with there.harmed([(number, number * 7, number), (number, number * 5, number + 3)]):
            pass
    assert there.look() == there.sound
