"""What only the Gaudi driver's pages say is true; tests/test_driver_docs.py holds what every driver's pages say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from dra_common.driver import Wanted
from dra_common.errors import DeviceRefused, DraError
from dra_common.model import Allocated
from gaudi_driver import prepare
from gaudi_driver.config import GaudiConfig
from gaudi_driver.device import Gaudi
from gaudi_driver.driver import GaudiDriver
from gaudi_driver.hlml.native import open_library
from gaudi_driver.policy import DEFAULT_HOOK, GaudiPolicy
from gaudi_trees import BOARD, GaudiTree
from pages import DOCS, fits, messages

GUIDE = (DOCS / "user/gaudi-driver.md").read_text()
A, B, *_ = BOARD
Producer = Callable[[GaudiTree], str]


# --------------------------------------------------------------------------- what a container gets


def test_the_table_names_the_variables_and_the_hook_that_containers_get() -> None:
    given = prepare.variables([A, B], [A, B])
    named = dict(re.findall(r"^\| variable `(\w+)` \|.*`([^`]+)`[^`]*\|$", GUIDE, flags=re.MULTILINE))
    assert sorted(named) == sorted(each.partition("=")[0] for each in given)
    for each in given:
        name, _, value = each.partition("=")
        assert re.sub(r"\d", "N", named[name]) == re.sub(r"\d", "N", value)
    setup = prepare.setup(GaudiPolicy(), network_file=True)
    (hook,), (mount,) = setup.hooks, setup.mounts
    assert f"| OCI hook `{hook.name}` | `{' '.join(hook.args)}` of the host |" in GUIDE
    assert f"`{DEFAULT_HOOK}`" in GUIDE
    assert f"| mount `{mount.container_path}`, read-only |" in GUIDE
    assert "ro" in mount.options


# --------------------------------------------------------------------------- messages


def refused(**changes: Any) -> Producer:
    """What a claim for a Gaudi and another one is told when these facts of it are different."""

    def produce(_: GaudiTree) -> str:
        gaudi: Gaudi = replace(A, **changes)
        config = {"GaudiConfig": GaudiConfig(topology="connected")}
        wanted = [Wanted(Allocated("r", "node-1", each.name), config) for each in (gaudi, B)]
        with pytest.raises(DeviceRefused) as caught:
            prepare.plan(wanted, {gaudi.name: gaudi, B.name: B})
        return str(caught.value)

    return produce


def problem(name: str, text: str) -> Producer:
    """What discovery says of a Gaudi one of whose attributes is this; empty: it has no nodes either."""

    def produce(tree: GaudiTree) -> str:
        tree.gaudi(A.bdf)
        if text:
            tree.start(A.bdf, 0, 0)
            tree.file(f"{tree.folders[A.bdf]}/{name}", f"{text}\n")
        else:
            tree.bind(A.bdf, "habanalabs")
        (said,) = GaudiDriver().discover(tree.host).problems
        return said

    return produce


def library(content: str) -> Producer:
    """What is said of a library that is such a file."""

    def produce(tree: GaudiTree) -> str:
        if content:
            tree.file("libnot-there.so", content)
        with pytest.raises(DraError) as caught:
            open_library((str(tree.root),), "libnot-there.so")
        return str(caught.value).replace("libnot-there.so in", "libhlml.so in")

    return produce


PRODUCERS: Mapping[str, Producer] = {
    "device <device> cannot be given to a container: it is bound to <driver>": refused(driver="vfio-pci"),
    "device <device> cannot be given to a container: habanalabs made no device node for it": refused(
        compute="", status="In reset"
    ),
    "device <device> is not connected with the other Gaudis of the claim, which its configuration demands "
    "(topology: connected)": refused(group=""),
    "<address>: bound to habanalabs, but it has no device node: see the kernel log for why it did not start": problem(
        "status", ""
    ),
    "<address>: module_id holds <text>, which is no place on a board": problem("module_id", "x"),
    "there is no libhlml.so in <folders>, nor where the loader looks": library(""),
    "<library> cannot be loaded: <why>": library("no library"),
}


def test_every_documented_message_has_a_producer_and_the_reverse() -> None:
    assert {shape for shape, heading in messages().items() if heading == "Gaudis"} == set(PRODUCERS)


@pytest.mark.parametrize("shape", PRODUCERS)
def test_messages_are_said_as_documented(shape: str, tree: GaudiTree) -> None:
    text = PRODUCERS[shape](tree)
    assert fits(shape, text), text
