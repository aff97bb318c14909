from __future__ import annotations

import re

import pytest
from dra_common.errors import HostError, HostNotFound
from dra_common.pci import Facts, first, number
from trees import Tree

BDF = "0000:03:00.0"
CARD = re.compile(r"card[0-9]{1,6}", re.ASCII)


def facts_of(tree: Tree) -> tuple[Facts, list[str]]:
    notes: list[str] = []
    return Facts(tree.host, BDF, notes.append), notes


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("31", 31), ("007", 7), ("9" * 18, 10**18 - 1), ("9" * 19, None), ("9" * 5000, None), ("", None),
     ("-1", None), ("+1", None), ("1_0", None), (" 1", None), ("1\n", None), ("0x10", None),
     ("\N{FULLWIDTH DIGIT SIX}", None)],
)  # fmt: skip
def test_number(text: str, expected: int | None) -> None:
    assert number(text) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ""),
        (("card10", "card9"), "card9"),
        (("card1-DP-1", "controlD65", "renderD128", "xcard1", "card"), ""),
        (("card1-DP-1", "card1"), "card1"),
        (("card1\n",), ""),
    ],
)
def test_first_matches_whole_names_and_counts_numbers(names: tuple[str, ...], expected: str) -> None:
    assert first(names, CARD) == expected


def test_what_is_absent_is_unknown_without_a_word(tree: Tree) -> None:
    tree.function(BDF, numa_node="0")
    facts, notes = facts_of(tree)
    assert (facts.text("absent"), facts.number("absent")) == (None, None)
    assert (facts.link("driver", "drivers"), facts.children("drm")) == ("", ())
    assert notes == []


def test_what_vanishes_while_it_is_read_is_absent(tree: Tree) -> None:
    folder = tree.function(BDF, numa_node="0")
    tree.bind(BDF, "i915")
    for name in ("card1", "renderD128"):
        tree.file(f"{folder}/drm/{name}/dev", "226:1\n")
    facts, notes = facts_of(tree)
    (tree.root / folder / "numa_node").unlink()
    (tree.root / folder / "driver").unlink()
    (tree.root / folder / "drm").rename(tree.root / "elsewhere")
    assert facts.number("numa_node") is None
    assert (facts.link("driver", "drivers"), facts.children("drm")) == ("", ())
    assert notes == []


def test_a_folder_that_vanished_is_an_error(tree: Tree) -> None:
    with pytest.raises(HostNotFound):
        facts_of(tree)
    tree.file(f"sys/bus/pci/devices/{BDF}", "a file\n")
    with pytest.raises(HostError, match="ENOTDIR"):
        facts_of(tree)


def test_facts_that_are_there(tree: Tree) -> None:
    folder = tree.function(BDF, numa_node=" 1 ")
    tree.bind(BDF, "i915")
    for name in ("card1", "renderD128"):
        tree.file(f"{folder}/drm/{name}/dev", "226:1\n")
    facts, notes = facts_of(tree)
    assert facts.number("numa_node") == 1
    assert facts.link("driver", "drivers") == "i915"
    assert facts.children("drm") == ("card1", "renderD128")
    assert notes == []
