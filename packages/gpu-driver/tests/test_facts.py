from __future__ import annotations

import re

import pytest
from dra_common.errors import HostError, HostNotFound
from dra_common.pci import Facts, first, number
from gpu_driver.mei import MeiIndex
from gpu_trees import SysTree

BDF = "0000:03:00.0"
CARD = re.compile(r"card[0-9]{1,6}", re.ASCII)


def facts_of(tree: SysTree) -> tuple[Facts, list[str]]:
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


def test_what_is_absent_is_unknown_without_a_word(tree: SysTree) -> None:
    tree.gpu(BDF, "0x56c0")
    facts, notes = facts_of(tree)
    assert (facts.text("absent"), facts.number("absent")) == (None, None)
    assert (facts.link("driver", "drivers"), facts.children("drm")) == ("", ())
    assert notes == []


def test_what_vanishes_while_it_is_read_is_absent(tree: SysTree) -> None:
    folder = tree.gpu(BDF, "0x56c0")
    tree.bind(BDF, "i915", card=1, render=128)
    facts, notes = facts_of(tree)
    (tree.root / folder / "numa_node").unlink()
    (tree.root / folder / "driver").unlink()
    (tree.root / folder / "drm").rename(tree.root / "elsewhere")
    assert facts.number("numa_node") is None
    assert (facts.link("driver", "drivers"), facts.children("drm")) == ("", ())
    assert notes == []


def test_a_folder_that_vanished_is_an_error(tree: SysTree) -> None:
    with pytest.raises(HostNotFound):
        facts_of(tree)
    tree.file(f"sys/bus/pci/devices/{BDF}", "a file\n")
    with pytest.raises(HostError, match="ENOTDIR"):
        facts_of(tree)


def test_facts_that_are_there(tree: SysTree) -> None:
    tree.gpu(BDF, "0x56c0", numa_node=" 1 ")
    tree.bind(BDF, "i915", card=1, render=128)
    facts, notes = facts_of(tree)
    assert facts.number("numa_node") == 1
    assert facts.link("driver", "drivers") == "i915"
    assert facts.children("drm") == ("card1", "renderD128")
    assert notes == []


def test_the_mei_index_takes_children_only_and_reads_once(tree: SysTree) -> None:
    for name, place in {
        "mei3": "a/0000:03:00.0/x/mei3",
        "mei12": "a/0000:03:00.0/y/mei12",
        "mei0": "a/0000:03:00.01/mei0",
    }.items():
        tree.file(f"sys/devices/{place}/dev", "")
        tree.to(f"sys/class/mei/{name}", f"sys/devices/{place}")
    index = MeiIndex(tree.host)
    assert index.below("devices/a/0000:03:00.0") == ("mei3", "mei12")
    (tree.root / "sys/class/mei/mei3").unlink()
    assert index.below("devices/a/0000:03:00.0") == ("mei3", "mei12")
    assert MeiIndex(tree.host).below("devices/a/0000:03:00.0") == ("mei12",)
    assert index.below("devices/b") == ()


def test_no_mei_class_is_no_mei(tree: SysTree) -> None:
    assert MeiIndex(tree.host).below("devices/a") == ()
