"""A look at the bus: one bad function costs a line, half a truth costs nothing, and names are never another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import pytest
from dra_common.errors import HostError
from dra_common.pci import Facts, Scan, device_name
from trees import Tree

ONE, TWO = "0000:03:00.0", "0000:04:00.0"


@dataclass(frozen=True)
class Card:
    bdf: str
    device_id: str
    real_path: str
    driver: str = ""

    @property
    def name(self) -> str:
        return device_name(self.bdf, self.device_id)


def read(facts: Facts, device_id: str, real_path: str) -> Card:
    return Card(facts.bdf, device_id, real_path, facts.link("driver", "drivers"))


def scan(tree: Tree, reader: Callable[[Facts, str, str], Card] = read) -> Scan[Card]:
    return Scan(tree.host, "0x1da3", ("0x1200",), reader)


def card(tree: Tree, bdf: str, **more: str) -> str:
    return tree.function(bdf, **({"vendor": "0x1da3", "class_": "0x120000", "device": "0x1020"} | more))


def test_functions_of_the_vendor_and_class_are_found_bound_or_not(tree: Tree) -> None:
    card(tree, ONE)
    card(tree, TWO, device="0xffff")
    tree.bind(TWO, "anything")
    card(tree, "0000:05:00.0", vendor="0x8086")
    card(tree, "0000:06:00.0", class_="0x120100")
    look = scan(tree)
    below = "devices/pci0000:4a/0000:4a:02.0"
    assert list(look.all()) == [
        Card(ONE, "0x1020", f"{below}/{ONE}"),
        Card(TWO, "0xffff", f"{below}/{TWO}", "anything"),
    ]
    assert look.problems == []


@pytest.mark.parametrize(
    ("name", "text"), [("vendor", "x"), ("class_", "0x12"), ("device", "0x10 20"), ("device", "")]
)
def test_one_that_makes_no_sense_costs_a_line_and_no_other(tree: Tree, name: str, text: str) -> None:
    card(tree, ONE, **{name: text})
    card(tree, TWO)
    look = scan(tree)
    assert [found.bdf for found in look.all()] == [TWO]
    (line,) = look.problems
    assert line.startswith(f"{ONE}: left out: bus/pci/devices/{ONE}/{name.rstrip('_')} holds")


def test_a_link_to_another_device_is_no_device(tree: Tree) -> None:
    card(tree, ONE)
    tree.to(f"sys/bus/pci/devices/{TWO}", tree.folders[ONE])
    look = scan(tree)
    assert [found.bdf for found in look.all()] == [ONE]
    assert "leads to another device" in look.problems[0]


def test_only_what_is_named_is_read_and_only_if_it_still_is_that(tree: Tree) -> None:
    card(tree, ONE)
    card(tree, TWO, device="rubbish")
    look = scan(tree)
    wanted = {"0000-03-00-0-0x1020", "0000-03-00-0-0x1060", "0000-09-00-0-0x1020", "no name"}
    assert [found.name for found in look.named(wanted)] == ["0000-03-00-0-0x1020"]
    assert look.problems == []
    assert (look.one(TWO), len(look.problems)) == ((), 1)


def test_what_is_wrong_is_told_only_if_it_is_seen_twice_on_end(tree: Tree) -> None:
    card(tree, ONE)
    texts = iter(["a", "b", "b", "never read"])

    def hesitant(facts: Facts, device_id: str, real_path: str) -> Card:
        facts.note(next(texts))
        return read(facts, device_id, real_path)

    look = scan(tree, hesitant)
    assert len(list(look.all())) == 1
    assert look.problems == [f"{ONE}: b"]


def test_what_is_wrong_while_its_driver_changes_is_half_a_truth(tree: Tree) -> None:
    card(tree, ONE)
    drivers = count()

    def late(facts: Facts, device_id: str, real_path: str) -> Card:
        facts.note("no node")
        found = read(facts, device_id, real_path)
        tree.bind(ONE, f"driver-{next(drivers)}")
        return found

    look = scan(tree, late)
    assert len(list(look.all())) == 1
    assert look.problems == []


def test_one_that_is_pulled_while_it_is_read_is_gone_without_a_word(tree: Tree) -> None:
    folder = card(tree, ONE)
    card(tree, TWO)

    def pulled(facts: Facts, device_id: str, real_path: str) -> Card:
        if facts.bdf == ONE:
            (tree.root / "sys/bus/pci/devices" / ONE).unlink()
            (tree.root / folder / "vendor").unlink()
            facts.host.sysfs.read(f"bus/pci/devices/{ONE}/vendor")
        return read(facts, device_id, real_path)

    look = scan(tree, pulled)
    assert [found.bdf for found in look.all()] == [TWO]
    assert look.problems == []


def test_a_bus_that_cannot_be_listed_is_an_error(tree: Tree) -> None:
    (tree.root / "sys/bus/pci/devices").rmdir()
    with pytest.raises(HostError):
        list(scan(tree).all())
