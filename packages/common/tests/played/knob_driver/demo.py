"""Stories with every end that a story can have."""

from __future__ import annotations

import threading

from dra_common.testing.demo import Narrator, Story
from dra_common.testing.knobs import DRIVER
from dra_common.testing.node import PrepareFailed, SimulatedNode


def _true(node: SimulatedNode, narrator: Narrator) -> None:
    narrator.step("Water")
    narrator.say("Rivers have it.\nSo have seas.")
    narrator.check("water is wet", truth=True)
    narrator.table("places", ("PLACE", "WATER"), [["river", "sweet"], ["sea", "salt"]])
    with narrator.waiting("the tide turns"):
        narrator.need("a machine", node.machine.is_dir())
    narrator.step("Fire")
    narrator.check("fire is hot", truth=1, found="never shown")


def _false(_node: SimulatedNode, narrator: Narrator) -> None:
    narrator.step("Water")
    narrator.check("water is wet", truth=True)
    narrator.check("water is dry", truth=False, found="wet")
    narrator.check("never said", truth=True)


def _refused(_node: SimulatedNode, narrator: Narrator) -> None:
    narrator.step("Water")
    raise PrepareFailed("device a: no water")


def _unfit(_node: SimulatedNode, narrator: Narrator) -> None:
    narrator.step("Water")
    narrator.need("this story needs a sea: choose another with --profile", truth=False)


def _bug(_node: SimulatedNode, narrator: Narrator) -> None:
    narrator.step("Water")
    seas: dict[str, str] = {}
    narrator.say(seas["water"])


def _endless(_node: SimulatedNode, narrator: Narrator) -> None:
    narrator.step("Water")
    threading.Event().wait(100)


STORIES = {
    name: Story(f"The {name} story", DRIVER, "bare", tell)
    for name, tell in {
        "true": _true,
        "false": _false,
        "refused": _refused,
        "unfit": _unfit,
        "bug": _bug,
        "endless": _endless,
    }.items()
}
