"""The machine changes under the real driver, through the simulated kernel's control socket: the slices follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import (
    assert_no_surprise,
    container,
    control,
    host_paths,
    is_alive,
    names,
    refusal,
    taints,
    write,
)
from gaudi_nodes import allocated, running
from watched import attribute, device, written

A, B = "0000-43-00-0-0x1020", "0000-44-00-0-0x1020"
A_BDF, B_BDF = "0000:43:00.0", "0000:44:00.0"
DRIVER = "bus/pci/drivers/habanalabs"


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    # No rescan comes to help: what is seen here is seen because of an event.
    with running("gaudi2-hls", "--rescan-seconds=3600") as node:
        yield node
        assert is_alive(node)


@pytest.mark.defect(9)
def test_a_pulled_gaudi_is_tainted_then_removed_then_back_with_all_that_is_known(node: SimulatedNode) -> None:
    wait_until(lambda: attribute(node, A, "serial"), "who it is")
    before, everything = device(node, A), names(node)
    node.api.forget_requests()
    control(node, "unplug", bdf=A_BDF)
    wait_until(lambda: A not in names(node), "the device to go")
    keys = [keys for keys in written(node, A) if keys]
    assert keys[:1] == [["absent"]] or keys[:1] == [["absent", "unhealthy"]]
    assert keys[-1] == ["removed"]
    # A ring with a gap: the others are still connected with one another.
    assert attribute(node, B, "oamGroup") == "gaudi2-0"
    control(node, "plug", bdf=A_BDF)
    wait_until(lambda: names(node) == everything, "the device to be back")
    wait_until(lambda: device(node, A) == before, "all that was known of it")
    ref = allocated(node, "again", A)
    assert container(node, node.prepare(ref)).env["HABANA_VISIBLE_MODULES"] == "0"
    node.unprepare(ref)
    assert node.leftovers() == []


@pytest.mark.scenario(49)
def test_a_pulled_gaudi_that_a_claim_holds_stays_tainted_and_can_be_cleaned_up(node: SimulatedNode) -> None:
    ref = allocated(node, "user", A, B)
    node.prepare(ref)
    before = node.leftovers()
    control(node, "unplug", bdf=A_BDF)
    wait_until(lambda: "absent" in taints(node, A), "the taint")
    # No container could start with it now, and what is known of the claim stays.
    for late in (ref, allocated(node, "late", A)):
        assert f"device {A} is not on this node" in refusal(node, late)
    assert node.leftovers() == before
    node.unprepare(ref)
    assert node.leftovers() == []
    wait_until(lambda: A not in names(node), "the device to go, since nobody holds it")


@pytest.mark.defect(9, 11)
def test_a_claim_is_given_the_nodes_of_now_after_kernel_drivers_were_bound_anew(node: SimulatedNode) -> None:
    """Numbers of nodes go to whoever is bound first: afterwards each of these has the other's."""
    first, second = allocated(node, "first", A), allocated(node, "second", B)
    for ref, number in ((first, "0"), (second, "1")):
        assert container(node, node.prepare(ref)).env["HABANA_VISIBLE_DEVICES"] == number
    for bdf in (A_BDF, B_BDF):
        write(node, f"{DRIVER}/unbind", bdf)
    for bdf in (B_BDF, A_BDF):
        write(node, f"{DRIVER}/bind", bdf)
    for ref, number, module in ((first, "1", "0"), (second, "0", "1")):
        edits = container(node, node.prepare(ref))
        assert (edits.env["HABANA_VISIBLE_DEVICES"], edits.env["HABANA_VISIBLE_MODULES"]) == (number, module)
        paths = host_paths(edits.device_nodes)
        assert paths[0] == f"{node.machine}/dev/accel/accel{number}"
        assert all(Path(path).exists() for path in paths)
        node.unprepare(ref)
    assert node.leftovers() == []


@pytest.mark.defect(8, 9)
def test_attributes_and_taints_follow_the_kernel_driver(node: SimulatedNode) -> None:
    before = device(node, A)
    write(node, f"{DRIVER}/unbind", A_BDF)
    wait_until(
        lambda: attribute(node, A, "driver") == "" and "unbound" in taints(node, A), "no kernel driver"
    )
    wait_until(lambda: attribute(node, A, "oamGroup") is None, "no connection")
    refused = allocated(node, "early", A)
    assert "it is bound to no kernel driver" in refusal(node, refused)
    write(node, f"bus/pci/devices/{A_BDF}/driver_override", "vfio-pci")
    write(node, "bus/pci/drivers/vfio-pci/bind", A_BDF)
    wait_until(lambda: "unexpected-driver" in taints(node, A), "vfio-pci")
    assert "it is bound to vfio-pci" in refusal(node, refused)
    write(node, "bus/pci/drivers/vfio-pci/unbind", A_BDF)
    write(node, f"bus/pci/devices/{A_BDF}/driver_override", "\n")
    write(node, f"{DRIVER}/bind", A_BDF)
    wait_until(
        lambda: taints(node, A) == [] and attribute(node, A, "driver") == "habanalabs", "its own again"
    )
    wait_until(lambda: attribute(node, A, "oamGroup") == attribute(node, B, "oamGroup"), "its connection")
    # The kubelet's next try of the same claim.
    assert container(node, node.prepare(refused)).env["HL_VISIBLE_DEVICES"] == "/dev/accel/accel0"
    node.unprepare(refused)
    assert device(node, A)["capacity"] == before["capacity"]
    assert node.leftovers() == []
    assert_no_surprise(node, ["cannot be given to a container"])


@pytest.mark.defect(13)
def test_gaudis_that_vanish_under_their_claims_keep_nothing(node: SimulatedNode) -> None:
    refs = [allocated(node, f"for-{name}", name) for name in (A, B)]
    for ref in refs:
        node.prepare(ref)
    control(node, "unplug", bdf=A_BDF)
    write(node, f"{DRIVER}/unbind", B_BDF)
    wait_until(lambda: "absent" in taints(node, A) and "unbound" in taints(node, B), "the taints")
    for ref in refs:
        node.unprepare(ref)
    assert node.leftovers() == []
