"""Every defect that such drivers have had has a test that shows that ours do not, and every mark means one."""

from __future__ import annotations

import pytest
from defects import DEFECTS, proofs
from marks import strays

PROOFS = proofs()


def test_the_defects_are_numbered_in_order_without_a_gap() -> None:
    assert list(DEFECTS) == [*range(1, 21)]


@pytest.mark.parametrize("number", DEFECTS)
def test_every_defect_has_a_test(number: int) -> None:
    assert PROOFS.get(number), f"no test has @pytest.mark.defect({number}): {DEFECTS[number]}"


def test_every_mark_names_a_defect() -> None:
    strangers = {number: [str(proof) for proof in PROOFS[number]] for number in set(PROOFS) - set(DEFECTS)}
    assert strangers == {}


def test_no_mark_escapes_the_reading_of_the_source() -> None:
    """A mark in another shape would stand in no table."""
    assert strays("defect") == 0
