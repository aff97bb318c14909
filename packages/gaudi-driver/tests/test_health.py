"""What the kernel's word on a Gaudi means, and when a reset is an illness."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dra_common.errors import HostError
from dra_common.model import Finding, Severity, TaintEffect
from gaudi_driver.device import Gaudi
from gaudi_driver.health import LONGEST_RESET, GaudiHealth
from gaudi_driver.policy import GaudiDevicePolicy, GaudiHealthPolicy
from gaudi_trees import GaudiTree

BDF = "0000:43:00.0"
FOLDER = f"bus/pci/devices/{BDF}"
GAUDI = Gaudi(BDF, "0x1020", driver="habanalabs", compute="accel/accel0", attributes=FOLDER)
OTHER = replace(GAUDI, bdf="0000:44:00.0", attributes="bus/pci/devices/0000:44:00.0")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> GaudiHealth:
    return GaudiHealth(clock=clock)


def say(tree: GaudiTree, status: str) -> None:
    tree.file(f"{tree.folders[BDF]}/status", f"{status}\n")


def look(health: GaudiHealth, tree: GaudiTree) -> Finding:
    (finding,) = health.signs(GAUDI, tree.host)
    return finding


@pytest.mark.parametrize(
    ("status", "severity", "word"),
    [
        ("Operational", Severity.OK, ""),
        ("operational", Severity.OK, ""),
        ("In reset", Severity.OK, "In reset"),
        ("In reset after device release", Severity.OK, "release"),
        ("In device creation", Severity.OK, "creation"),
        ("Disabled", Severity.CRITICAL, "switched it off"),
        ("Needs reset", Severity.CRITICAL, "hard_reset"),
        ("Confused", Severity.WARNING, "'Confused'"),
        ("x" * 500, Severity.WARNING, "x" * 80 + "'"),
    ],
)
def test_what_the_kernel_driver_says(
    tree: GaudiTree, health: GaudiHealth, status: str, severity: Severity, word: str
) -> None:
    tree.gaudi(BDF)
    say(tree, status)
    finding = look(health, tree)
    assert (finding.what, finding.severity) == ("status", severity)
    assert word in finding.message


def test_a_reset_that_lasts_is_an_illness_and_the_next_one_is_not(
    tree: GaudiTree, health: GaudiHealth, clock: Clock
) -> None:
    tree.gaudi(BDF)
    found = []
    for status, later in (
        ("In reset", 0.0),
        ("In reset after device release", LONGEST_RESET),
        ("In reset", 1.0),
        ("Operational", 1.0),
        ("In reset", 1.0),
    ):
        clock.now += later
        say(tree, status)
        found.append(look(health, tree).severity)
    assert found == [Severity.OK, Severity.OK, Severity.CRITICAL, Severity.OK, Severity.OK]


def test_one_that_resets_is_not_another_one(tree: GaudiTree, health: GaudiHealth, clock: Clock) -> None:
    tree.gaudi(BDF)
    say(tree, "In reset")
    look(health, tree)
    clock.now += LONGEST_RESET + 1
    tree.gaudi(OTHER.bdf)
    tree.file(f"{tree.folders[OTHER.bdf]}/status", "In reset\n")
    assert [finding.severity for finding in health.signs(OTHER, tree.host)] == [Severity.OK]


def test_without_its_kernel_driver_nothing_is_known(tree: GaudiTree, health: GaudiHealth) -> None:
    tree.gaudi(BDF)
    assert health.signs(GAUDI, tree.host) == ()
    say(tree, "Disabled")
    assert health.signs(replace(GAUDI, driver="vfio-pci"), tree.host) == ()
    assert health.names(GAUDI) == (BDF,)


def test_what_cannot_be_read_is_for_who_asks_to_decide(tree: GaudiTree, health: GaudiHealth) -> None:
    tree.gaudi(BDF)
    (tree.root / tree.folders[BDF] / "status").mkdir()
    with pytest.raises(HostError):
        health.signs(GAUDI, tree.host)


@pytest.mark.parametrize(
    ("said", "effect"),
    [
        (None, TaintEffect.NO_EXECUTE),
        ("NoSchedule", TaintEffect.NO_SCHEDULE),
        ("NoExecute", TaintEffect.NO_EXECUTE),
        ("none", None),
    ],
)
def test_the_policy_of_a_gaudi_decides_on_the_effect(said: str | None, effect: TaintEffect | None) -> None:
    policy = GaudiDevicePolicy(health=GaudiHealthPolicy.model_validate({"effect": said}))
    assert GaudiHealth(lambda _: policy).effect(GAUDI, TaintEffect.NO_EXECUTE) is effect
