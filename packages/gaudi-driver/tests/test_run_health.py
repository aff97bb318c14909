"""Health through the real program: what happens to a simulated Gaudi is on its slice and in the pod's status."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from dra_common.testing.allocator import Allocation, Unsatisfiable
from dra_common.testing.kubelet import SeenHealth
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import assert_no_surprise, control, is_alive, lines, taints, write
from gaudi_nodes import NAME, NODE, allocated, by_address, machine_only, running
from watched import attribute, published, wait_published, wait_seen

A, B = "0000-43-00-0-0x1020", "0000-44-00-0-0x1020"
A_BDF, B_BDF = "0000:43:00.0", "0000:44:00.0"
CRITICAL, DOUBLE_BIT = 1 << 1, 1 << 0
"""Bits of events of the management library."""
SAID = ("is unhealthy", "health source hlml cannot tell")


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    # No rescan comes to help: what is seen here is seen by the sources' own looks. Nothing has to be switched on.
    with running("gaudi2-hls", "--rescan-seconds=3600") as node:
        wait_published(node, A, "Healthy")
        wait_published(node, B, "Healthy")
        yield node
        assert is_alive(node)
        assert_no_surprise(node, SAID)


def say(node: SimulatedNode, bdf: str, status: str, *, told: bool = True) -> None:
    """Have the kernel driver say this of a device. No event tells of it; ``told``: another one comes by chance."""
    (node.machine / f"sys/bus/pci/devices/{bdf}/status").write_text(f"{status}\n")
    if told:
        write(node, f"bus/pci/devices/{bdf}/uevent", "change")


def reset(node: SimulatedNode, bdf: str) -> None:
    write(node, f"bus/pci/devices/{bdf}/hard_reset", "1")


def library(node: SimulatedNode, path: str = "") -> Path:
    """A file of the simulated management library."""
    return node.machine / "hlml" / path


def happen(node: SimulatedNode, bdf: str, event: int) -> None:
    with library(node, f"devices/{bdf}/events").open("a") as events:
        events.write(f"{event}\n")


# --------------------------------------------------------------------------- the kernel's word


@pytest.mark.defect(14, 15)
@pytest.mark.scenario(72)
@pytest.mark.parametrize(
    ("status", "words"), [("Disabled", "switched it off"), ("Needs reset", "hard_reset in sysfs")]
)
def test_a_gaudi_that_its_kernel_driver_gives_up_is_tainted_told_and_recovers(
    node: SimulatedNode, status: str, words: str
) -> None:
    wait_seen(node, A, "Healthy")
    say(node, A_BDF, status, told=False)
    wait_published(node, A, "Unhealthy", "status")
    wait_seen(node, A, "Unhealthy", words)
    assert (attribute(node, A, "healthy"), attribute(node, B, "healthy")) == (False, True)
    assert published(node, B) == ("Healthy", [])
    refused = node.allocate(node.create_claim("late", by_address(A_BDF)))
    assert isinstance(refused, Unsatisfiable)
    assert "unhealthy" in str(refused)
    reset(node, A_BDF)
    wait_published(node, A, "Healthy")
    wait_seen(node, A, "Healthy")
    assert attribute(node, A, "healthy") is True
    assert isinstance(node.allocate(node.create_claim("later", by_address(A_BDF))), Allocation)


@pytest.mark.defect(15)
def test_a_reset_is_no_illness(node: SimulatedNode) -> None:
    """A Gaudi2 resets itself whenever its last user goes; the one beside it shows that somebody looked meanwhile."""
    node.api.forget_requests()
    for status in ("In reset", "In reset after device release"):
        say(node, A_BDF, status)
        say(node, B_BDF, "Disabled")
        wait_published(node, B, "Unhealthy", "status")
        say(node, B_BDF, "Operational")
        wait_published(node, B, "Healthy")
    bodies = [request.body for request in node.api.writes if "/resourceslices" in request.path]
    told = [each for body in bodies if body for each in body["spec"]["devices"] if each["name"] == A]
    assert len(told) >= 4
    assert {each["attributes"]["health"]["string"] for each in told} == {"Healthy"}
    assert not [each for each in told if each.get("taints")]


def test_a_restart_does_not_make_it_healthy(node: SimulatedNode) -> None:
    """Not for a moment is the device published without its taint."""
    say(node, A_BDF, "Needs reset")
    wait_published(node, A, "Unhealthy", "status")
    node.kill_driver()
    assert node.kubelet.health(NAME, NODE, A) == SeenHealth()
    node.api.forget_requests()
    node.start_driver("--rescan-seconds=3600")
    wait_seen(node, A, "Unhealthy", "Needs reset")
    wait_published(node, B, "Healthy")
    bodies = [str(each.body) for each in node.api.writes if "/resourceslices" in each.path]
    assert all("'status', 'effect': 'NoExecute'" in body for body in bodies)


def test_one_that_is_ill_when_the_machine_starts_is_never_offered() -> None:
    with machine_only("gaudi-broken") as node:
        node.start_driver()
        node.wait_published()
        assert published(node, A) == ("Unhealthy", [("status", "NoExecute")])
        assert published(node, B) == ("Unhealthy", [("status", "NoExecute")])
        wait_published(node, "0000-19-00-0-0x1020", "Healthy")
        # One in reset is not ill, and one of which nothing is known is not well.
        wait_published(node, "0000-1a-00-0-0x1020", "Healthy")
        reset(node, B_BDF)
        wait_published(node, B, "Healthy")


@pytest.mark.defect(14)
@pytest.mark.scenario(72, 73)
def test_a_gaudi_that_is_pulled_is_unhealthy_to_its_pod(node: SimulatedNode) -> None:
    wait_seen(node, A, "Healthy")
    ref = allocated(node, "user", A)
    node.prepare(ref)
    control(node, "unplug", bdf=A_BDF)
    wait_seen(node, A, "Unhealthy", "was not found")
    control(node, "plug", bdf=A_BDF)
    wait_seen(node, A, "Healthy")
    node.unprepare(ref)


@pytest.mark.defect(14)
@pytest.mark.scenario(74)
def test_the_kubelet_hears_again_before_it_forgets(node: SimulatedNode) -> None:
    wait_seen(node, A, "Healthy")
    node.signal_driver(signal.SIGSTOP)
    told = node.kubelet.health_responses(NAME)
    node.signal_driver(signal.SIGCONT)
    wait_until(lambda: node.kubelet.health_responses(NAME) > told, "all to be told again without a change")
    wait_seen(node, A, "Healthy")


# --------------------------------------------------------------------------- what an operator says


@pytest.mark.defect(6)
def test_a_file_says_it_with_words_that_no_taint_could_have(node: SimulatedNode) -> None:
    node.stop_driver()
    file = node.root / "health.yaml"
    file.write_text(f"- {{device: '{A_BDF.upper()}', severity: warning, what: fan, message: is loud}}\n")
    node.start_driver(f"--health-file={file}", "--health-sources=sysfs,file")
    wait_seen(node, A, "Healthy", "fan (warning): is loud")
    what = "Gerät überhitzt: 98 °C / HBM channel 7 — " + "and so on " * 12
    file.write_text(f"- {{device: {A}, severity: critical, what: '{what}'}}\n")
    wait_until(lambda: published(node, A)[0] == "Unhealthy", "the file to be read again")
    ((value, effect),) = published(node, A)[1]
    assert (value[:23], effect) == ("Ger-t-berhitzt-98-C-HBM", "NoExecute")
    file.write_text("[]\n")
    wait_published(node, A, "Healthy")


def test_the_configuration_file_says_what_becomes_of_some_gaudis(node: SimulatedNode) -> None:
    node.stop_driver()
    file = node.root / "config.yaml"
    head = "apiVersion: config.gaudi.intel.com/v1alpha1\nkind: GaudiDriverConfig\n"
    rule = "devices: [{match: {module: 0}, health: {effect: %s}}]\n"
    file.write_text(head + rule % "NoSchedule")
    node.start_driver(f"--config={file}")
    for bdf in (A_BDF, B_BDF):
        say(node, bdf, "Disabled")
    wait_published(node, B, "Unhealthy", "status")
    wait_until(lambda: published(node, A)[1] == [("status", "NoSchedule")], "the effect of the rule")
    file.write_text(head + rule % "none")
    wait_until(lambda: published(node, A) == ("Unhealthy", []), "the taint to go with the new rule")


def test_without_anybody_who_watches_nothing_is_said() -> None:
    with running("gaudi-broken", "--no-health-monitoring") as node:
        assert {attribute(node, name, "health") for name in (A, B)} == {"Unknown"}
        assert [taints(node, name) for name in (A, B)] == [[], []]
        assert attribute(node, A, "serial") == ""
        assert node.kubelet.health_responses(NAME) == 0


# --------------------------------------------------------------------------- the management library


def test_who_a_gaudi_is_stands_in_its_slice(node: SimulatedNode) -> None:
    wait_until(lambda: attribute(node, A, "serial") == "AM50016138", "the serial number")
    assert attribute(node, A, "uuid") == "01P0-HL2080A0-15-TF8A81-09-07-06"
    assert attribute(node, B, "serial") == "AM50016139"


@pytest.mark.defect(14, 15)
@pytest.mark.scenario(72)
@pytest.mark.timeout(180)
def test_a_critical_error_is_one_gaudis_own_and_over_when_it_was_reset_and_works_for_a_while(
    node: SimulatedNode,
) -> None:
    wait_until(lambda: attribute(node, A, "serial"), "the library to be listened to")
    ref = allocated(node, "user", A)
    answer = node.prepare(ref)
    happen(node, A_BDF, CRITICAL)
    wait_published(node, A, "Unhealthy", "CriticalError")
    wait_seen(node, A, "Unhealthy", "HLML reported a critical error")
    others = [each["name"] for each in node.devices() if each["name"] != A]
    assert [published(node, name) for name in others] == [("Healthy", [])] * 7
    assert node.prepare(ref) == answer, "who has it keeps it until the cluster has evicted it"
    node.unprepare(ref)
    reset(node, A_BDF)
    wait_until(lambda: published(node, A) == ("Healthy", []), "the proof that it works", seconds=90)
    wait_seen(node, A, "Healthy")


def test_memory_errors_are_told_and_evict_nobody(node: SimulatedNode) -> None:
    wait_until(lambda: attribute(node, A, "serial"), "the library to be listened to")
    happen(node, A_BDF, DOUBLE_BIT)
    wait_seen(node, A, "Healthy", "memory errors")
    assert published(node, A) == ("Healthy", [])


@pytest.mark.defect(7, 15)
def test_a_library_that_fails_makes_nobody_unhealthy_and_keeps_nobody_waiting(node: SimulatedNode) -> None:
    wait_until(lambda: attribute(node, A, "serial"), "the library to be listened to")
    library(node, "fail").mkdir(exist_ok=True)
    for function in ("event_set_wait", "device_get_serial", "init"):
        library(node, f"fail/{function}").write_text("9\n")
    ref = allocated(node, "meanwhile", A, B)
    node.prepare(ref)
    # The other source goes on.
    say(node, B_BDF, "Disabled")
    wait_published(node, B, "Unhealthy", "status")
    assert published(node, A) == ("Healthy", [])
    node.unprepare(ref)
    shutil.rmtree(library(node, "fail"))
    say(node, B_BDF, "Operational")
    wait_published(node, B, "Healthy")
    assert "Traceback" not in node.log.read_text()


@pytest.mark.defect(7)
def test_a_library_that_is_missing_is_told_once_and_found_when_it_is_installed() -> None:
    with machine_only("gaudi2-hls") as node:
        elsewhere = node.root / "elsewhere"
        library(node).rename(elsewhere)
        node.start_driver()
        node.wait_published()
        wait_published(node, A, "Healthy")
        node.wait(lambda: missing(node), "the line")
        ref = allocated(node, "meanwhile", A)
        node.prepare(ref)
        node.unprepare(ref)
        assert attribute(node, A, "serial") == ""
        elsewhere.rename(library(node))
        wait_until(lambda: attribute(node, A, "serial"), "the library to be found", seconds=60)
        assert len(missing(node)) == 1
        assert "Traceback" not in node.log.read_text()


def missing(node: SimulatedNode) -> list[str]:
    return [line for line in lines(node) if "has no management library" in line]
