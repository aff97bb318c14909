"""Health through the real program: what happens to a simulated GPU is on its slice and in the pod's status."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from dra_common.testing.allocator import Allocation, Unsatisfiable
from dra_common.testing.kubelet import SeenHealth
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import assert_no_surprise, control, is_alive, short_folder, write
from fake_xpumd import FakeXpumd, device
from gpu_nodes import NAME, NODE, by_address, running
from watched import published, wait_published, wait_seen

FLEX, B60 = "0000-4d-00-0-0x56c0", "0000-9a-00-0-0xe211"
FLEX_BDF, B60_BDF = "0000:4d:00.0", "0000:9a:00.0"


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    # No rescan comes to help: what is seen here is seen because of an event, or by the source's own looks.
    with running("two-gpus", "--health-monitoring=true", "--rescan-seconds=3600") as node:
        yield node
        assert is_alive(node)
        assert_no_surprise(node, ["is unhealthy", "health source xpumd cannot tell"])


def wedge(node: SimulatedNode) -> None:
    control(node, "wedge", bdf=B60_BDF, methods="rebind,bus-reset")


@pytest.mark.defect(15)
@pytest.mark.scenario(72)
def test_a_gpu_that_hangs_is_tainted_told_and_recovers_when_it_is_bound_again(node: SimulatedNode) -> None:
    wait_published(node, B60, "Healthy")
    wait_seen(node, B60, "Healthy")
    wedge(node)
    wait_published(node, B60, "Unhealthy", "wedged")
    wait_seen(node, B60, "Unhealthy", "given it up after a hang")
    assert published(node, FLEX) == ("Healthy", [])
    refused = node.allocate(node.create_claim("late", by_address(B60_BDF)))
    assert isinstance(refused, Unsatisfiable)
    assert "unhealthy" in str(refused)
    for step in ("unbind", "bind"):
        write(node, f"bus/pci/drivers/xe/{step}", B60_BDF)
    wait_published(node, B60, "Healthy")
    wait_seen(node, B60, "Healthy")
    assert isinstance(node.allocate(node.create_claim("later", by_address(B60_BDF))), Allocation)


def test_a_restart_does_not_make_a_wedged_gpu_healthy(node: SimulatedNode) -> None:
    """The event is past, but xe refuses everything; and not for a moment is the device published without its taint."""
    wedge(node)
    wait_published(node, B60, "Unhealthy", "wedged")
    node.kill_driver()
    node.api.forget_requests()
    node.start_driver("--health-monitoring", "--rescan-seconds=3600")
    wait_seen(node, B60, "Unhealthy", "refuses everything")
    assert published(node, B60) == ("Unhealthy", [("wedged", "NoExecute")])
    bodies = [str(each.body) for each in node.api.writes if "/resourceslices" in each.path]
    assert all("'wedged', 'effect': 'NoExecute'" in body for body in bodies)


def test_one_change_of_health_is_one_write(node: SimulatedNode) -> None:
    wait_published(node, FLEX, "Healthy")
    node.api.forget_requests()
    # No driver but xe refuses questions when it is wedged: everything else of this device stays as it was.
    control(node, "wedge", bdf=FLEX_BDF, methods="unknown")
    wait_published(node, FLEX, "Unhealthy", "wedged")
    wait_seen(node, FLEX, "Unhealthy", "unknown")
    control(node, "wedge", bdf=FLEX_BDF, methods="none")
    wait_published(node, FLEX, "Healthy")
    wait_seen(node, FLEX, "Healthy")
    assert [each.method for each in node.api.writes if "/resourceslices" in each.path] == ["PUT", "PUT"]


def test_pcie_errors_are_counted_from_now_on(node: SimulatedNode) -> None:
    wait_published(node, FLEX, "Healthy")
    control(node, "error", bdf=FLEX_BDF, severity="fatal", name="DLP")
    wait_published(node, FLEX, "Unhealthy", "pcie-fatal")
    wait_seen(node, FLEX, "Unhealthy", "1 fatal PCIe errors")
    for step in ("unbind", "bind"):
        write(node, f"bus/pci/drivers/i915/{step}", FLEX_BDF)
    wait_published(node, FLEX, "Healthy")


@pytest.mark.scenario(73)
def test_the_kubelet_knows_nothing_while_the_driver_is_away(node: SimulatedNode) -> None:
    wait_seen(node, B60, "Healthy")
    node.stop_driver()
    assert node.kubelet.health(NAME, NODE, B60) == SeenHealth()
    node.start_driver("--health-monitoring")
    wait_seen(node, B60, "Healthy")


@pytest.mark.defect(14)
@pytest.mark.scenario(72, 73)
def test_a_gpu_that_is_pulled_is_unhealthy_to_its_pod(node: SimulatedNode) -> None:
    """What the kernel tells reaches the kubelet as what a health service tells does."""
    wait_seen(node, B60, "Healthy")
    ref = node.create_claim("user", by_address(B60_BDF))
    assert isinstance(node.allocate(ref), Allocation)
    assert node.prepare(ref)
    control(node, "unplug", bdf=B60_BDF)
    wait_seen(node, B60, "Unhealthy", "was not found")
    control(node, "plug", bdf=B60_BDF)
    wait_seen(node, B60, "Healthy")
    node.unprepare(ref)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [((), ""), (("-w=false",), "some-words"), (("--no-ignore-health-warning", "--health-taint=none"), "")],
)
def test_the_go_driver_s_flags_decide_what_a_warning_does(arguments: tuple[str, ...], reason: str) -> None:
    with running(
        "two-gpus", "-m", "-o", *arguments, "--health-file=/dev/null", "--health-sources=sysfs"
    ) as node:
        wait_published(node, B60, "Healthy")
    with running("two-gpus") as node:
        file = node.root / "health.yaml"
        file.write_text(f"- {{device: '{B60_BDF.upper()}', severity: warning, what: some / words!}}\n")
        node.stop_driver()
        node.start_driver("-m", *arguments, f"--health-file={file}")
        state = "Unhealthy" if arguments else "Healthy"
        wait_published(node, B60, state, reason)
        wait_seen(node, B60, state, "some / words! (warning)")


def test_the_configuration_file_says_what_becomes_of_some_gpus(node: SimulatedNode) -> None:
    node.stop_driver()
    file = node.root / "config.yaml"
    head = "apiVersion: config.gpu.intel.com/v1alpha1\nkind: GpuDriverConfig\n"
    rule = "devices: [{match: {model: B60}, health: {effect: %s}}]\n"
    file.write_text(head + rule % "NoSchedule")
    node.start_driver("--health-monitoring", "--rescan-seconds=3600", f"--config={file}")
    for bdf in (FLEX_BDF, B60_BDF):
        control(node, "wedge", bdf=bdf, methods="rebind")
    wait_published(node, FLEX, "Unhealthy", "wedged")
    wait_until(lambda: published(node, B60)[1] == [("wedged", "NoSchedule")], "the effect of the rule")
    file.write_text(head + rule % "none")
    wait_until(lambda: published(node, B60) == ("Unhealthy", []), "the taint to go with the new rule")


def test_variables_of_the_go_driver_are_understood() -> None:
    with running("two-gpus") as node:
        assert published(node, B60) == ("Unknown", [])
        assert node.kubelet.health_responses(NAME) == 0
        node.stop_driver()
        node.process = node.launch(node.run_arguments(), node.log, environment={"HEALTH_MONITORING": "true"})
        wait_published(node, B60, "Healthy")


def test_vfs_are_as_unhealthy_as_the_card_that_they_are_a_part_of() -> None:
    with running("battlemage-pro", "--health-monitoring") as node:
        pf, vf = "0000-18-00-0-0xe212", "0000-18-00-2-0xe212"
        control(node, "wedge", bdf="0000:18:00.0", methods="vendor-specific")
        wait_published(node, pf, "Unhealthy", "wedged")
        wait_published(node, vf, "Unhealthy", "wedged")
        assert published(node, B60) == ("Healthy", [])


@pytest.mark.scenario(74)
def test_a_driver_that_stands_still_is_told_from_one_that_is_well(node: SimulatedNode) -> None:
    """Nothing comes from a frozen process; when it goes on, all is told again without a change."""
    wait_seen(node, B60, "Healthy")
    node.signal_driver(signal.SIGSTOP)
    told = node.kubelet.health_responses(NAME)
    node.signal_driver(signal.SIGCONT)
    wait_until(lambda: node.kubelet.health_responses(NAME) > told, "all to be told again")
    wait_seen(node, B60, "Healthy")


# --------------------------------------------------------------------------- xpumd


@contextmanager
def with_xpumd(*arguments: str) -> Iterator[tuple[SimulatedNode, FakeXpumd]]:
    """A node whose driver listens to an xpumd alone, which knows both GPUs to be fine."""
    with short_folder() as folder, FakeXpumd(folder / "x.sock") as xpumd:
        xpumd.tell(device(FLEX_BDF, FINE), device(B60_BDF, FINE))
        socket = f"--xpumd-socket={xpumd.socket}"
        with running("two-gpus", "-m", "--health-sources=xpumd", socket, *arguments) as node:
            yield node, xpumd
            assert is_alive(node)


FINE = ("core", 1, "", "")


@pytest.mark.defect(14)
@pytest.mark.scenario(72)
def test_what_xpumd_says_is_on_the_slice_and_in_the_pod_s_status() -> None:
    with with_xpumd() as (node, xpumd):
        wait_published(node, B60, "Healthy")
        xpumd.tell(
            device(FLEX_BDF, FINE), device(B60_BDF, FINE, ("memory", 3, "ecc", "3 uncorrectable errors"))
        )
        wait_published(node, B60, "Unhealthy", "memory-ecc")
        wait_seen(node, B60, "Unhealthy", "memory ecc (critical): 3 uncorrectable errors")
        wait_published(node, FLEX, "Healthy")
        xpumd.tell(device(FLEX_BDF, FINE), device(B60_BDF, FINE, ("memory", 2, "hot", "")))
        wait_published(node, B60, "Healthy")
        # A device that xpumd no longer knows is not known.
        xpumd.tell(device(B60_BDF, FINE))
        wait_published(node, FLEX, "Unknown")


@pytest.mark.defect(6)
def test_a_category_of_free_text_does_not_cost_the_slice() -> None:
    """As a taint's key it would be too long, or have a space: the API server would refuse all devices."""
    with with_xpumd() as (node, xpumd):
        name = "Gerät überhitzt: 98 °C / VRAM channel 7 — " + "and so on " * 20
        xpumd.tell(device(FLEX_BDF, FINE), device(B60_BDF, (name, 4, "!!", "")))
        wait_until(lambda: published(node, B60)[0] == "Unhealthy", "the GPU to be unhealthy")
        ((value, effect),) = published(node, B60)[1]
        assert (value[:24], effect) == ("Ger-t-berhitzt-98-C-VRAM", "NoExecute")
        assert published(node, FLEX) == ("Healthy", [])


@pytest.mark.defect(7)
def test_whatever_xpumd_does_the_driver_goes_on() -> None:
    """Prepare and unprepare do not depend on it."""
    with with_xpumd() as (node, xpumd):
        wait_published(node, B60, "Healthy")
        for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED):
            before = xpumd.connections
            xpumd.fail(code)
            wait_until(lambda: xpumd.connections > before, "another connection")  # noqa: B023 - at once
        ref = node.create_claim("meanwhile", by_address(B60_BDF))
        assert isinstance(node.allocate(ref), Allocation)
        assert node.prepare(ref)
        xpumd.tell(device(FLEX_BDF, FINE), device(B60_BDF, ("core", 4, "", "gone")))
        wait_published(node, B60, "Unhealthy", "core")
        node.unprepare(ref)
        assert "Traceback" not in node.log.read_text()


@pytest.mark.defect(14)
def test_the_kubelet_hears_again_before_it_forgets() -> None:
    """After 30 s without news it would say of every device that nothing is known."""
    with with_xpumd() as (node, _):
        wait_seen(node, B60, "Healthy")
        told = node.kubelet.health_responses(NAME)
        wait_until(
            lambda: node.kubelet.health_responses(NAME) > told, "all to be told again without a change"
        )
        wait_seen(node, B60, "Healthy")
