"""What containers get of Gaudis: by request and for the whole claim, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dra_common.driver import Wanted
from dra_common.errors import DeviceRefused
from dra_common.model import Allocated, ContainerEdits, DeviceNode, Hook, Mount, Plan
from gaudi_driver import prepare
from gaudi_driver.config import GaudiConfig
from gaudi_driver.device import Gaudi
from gaudi_driver.policy import GaudiPolicy
from gaudi_trees import BOARD, GaudiTree, configured

A, B, C, D = BOARD
POLICY = GaudiPolicy()


def wanted(gaudi: Gaudi, request: str = "r", *, admin: bool = False, **config: Any) -> Wanted:
    allocated = Allocated(request, "node-1", gaudi.name, admin_access=admin)
    return Wanted(allocated, {"GaudiConfig": GaudiConfig(**config)})


def hardware(*gaudis: Gaudi) -> dict[str, Gaudi]:
    return {gaudi.name: gaudi for gaudi in gaudis}


def plan_of(*items: Wanted, machine: tuple[Gaudi, ...] = BOARD) -> Plan:
    return prepare.plan(items, hardware(*machine))


def env(edits: dict[str, ContainerEdits] | Any) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in edits["gaudi"].env)


def nodes(item: Wanted, gaudi: Gaudi) -> list[str]:
    (device,) = plan_of(item, machine=(gaudi,)).devices
    return [node.path for node in prepare.edits(device, gaudi, "/dev")["gaudi"].device_nodes]


# --------------------------------------------------------------------------- nodes


def test_a_gaudi_is_its_three_nodes() -> None:
    (device,) = plan_of(wanted(A)).devices
    assert prepare.edits(device, A, "/host/dev") == {
        "gaudi": ContainerEdits(
            device_nodes=(
                DeviceNode("/dev/accel/accel3", "/host/dev/accel/accel3", "c"),
                DeviceNode("/dev/accel/accel_controlD3", "/host/dev/accel/accel_controlD3", "c"),
                DeviceNode("/dev/infiniband/uverbs3", "/host/dev/infiniband/uverbs3", "c"),
            )
        )
    }


def test_nodes_that_are_not_there_or_not_wanted_are_not_given() -> None:
    assert nodes(wanted(A), replace(A, uverbs="", control="")) == ["/dev/accel/accel3"]
    assert nodes(wanted(A, controlNodes=False), A) == ["/dev/accel/accel3", "/dev/infiniband/uverbs3"]


def test_an_administrator_sees_control_nodes_and_more_only_if_the_class_says_so() -> None:
    assert nodes(wanted(A, admin=True), A) == ["/dev/accel/accel_controlD3"]
    assert nodes(wanted(A, admin=True, controlNodes=False), A) == ["/dev/accel/accel_controlD3"]
    assert len(nodes(wanted(A, admin=True, adminNodes="all"), A)) == 3
    assert nodes(wanted(A, adminNodes="all"), A) == nodes(wanted(A), A)


def test_without_kubernetes_there_are_the_nodes_alone() -> None:
    (made,) = prepare.static_edits(A, "/dev").values()
    assert (len(made.device_nodes), made.env, made.hooks) == (3, (), ())
    assert prepare.static_edits(replace(A, compute=""), "/dev") == {}


# --------------------------------------------------------------------------- of the claim


def test_variables_name_the_gaudis_of_the_request_in_the_order_of_the_allocation() -> None:
    plan = plan_of(wanted(A, "left"), wanted(B, "right/big"), wanted(C, "left"))
    edits = prepare.claim_edits(plan, hardware(*BOARD), POLICY)
    assert env(edits.requests["left"]) == {
        "HABANA_VISIBLE_DEVICES": "3,0",
        "HL_VISIBLE_DEVICES": "/dev/accel/accel3,/dev/accel/accel0",
        "HABANA_VISIBLE_MODULES": "0,2",
    }
    assert env(edits.requests["right"])["HABANA_VISIBLE_DEVICES"] == "1"
    assert env(edits.whole)["HABANA_VISIBLE_DEVICES"] == "3,1,0"
    assert edits.every["gaudi"].env == ()


def test_modules_can_be_named_in_the_order_of_their_places() -> None:
    items = [wanted(each, moduleOrder="module") for each in (D, B, A)]
    edits = prepare.claim_edits(plan_of(*items), hardware(*BOARD), POLICY)
    found = env(edits.whole)
    assert (found["HABANA_VISIBLE_DEVICES"], found["HABANA_VISIBLE_MODULES"]) == ("2,1,3", "0,5,7")


def test_a_place_that_is_not_known_is_better_not_guessed() -> None:
    strange = replace(B, module_id=None)
    edits = prepare.claim_edits(plan_of(wanted(A), wanted(strange)), hardware(A, strange), POLICY)
    assert env(edits.whole).keys() == {"HABANA_VISIBLE_DEVICES", "HL_VISIBLE_DEVICES"}


def test_every_container_has_the_hook_and_the_network_file_where_there_is_one() -> None:
    hook = Hook(
        "createRuntime",
        "/usr/bin/habana-container-hook",
        ("habana-container-hook", "createRuntime"),
        ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",),
    )
    plan = plan_of(wanted(A))
    assert prepare.claim_edits(plan, hardware(A), POLICY).every == {"gaudi": ContainerEdits(hooks=(hook,))}
    policy = GaudiPolicy(gaudi_hook_path="/opt/hook", network_file="/etc/other/net.json")
    (made,) = prepare.claim_edits(plan, hardware(replace(A, network_file=True)), policy).every.values()
    assert made.hooks[0].path == "/opt/hook"
    (mount,) = made.mounts
    assert mount == Mount(
        "/etc/other/net.json",
        "/etc/habanalabs/gaudinet.json",
        type="none",
        options=("ro", "nosuid", "nodev", "bind"),
    )


def test_who_only_looks_on_gets_no_variables_and_no_hook() -> None:
    plan = plan_of(wanted(A, "mine"), wanted(B, "watched", admin=True))
    edits = prepare.claim_edits(plan, hardware(*BOARD), POLICY)
    assert (list(edits.requests), env(edits.whole)["HABANA_VISIBLE_DEVICES"]) == (["mine"], "3")
    alone = prepare.claim_edits(plan_of(wanted(A, admin=True)), hardware(A), POLICY)
    assert (alone.every, alone.requests, alone.whole) == ({}, {}, {})
    dead = replace(B, compute="")
    all_nodes = plan_of(wanted(dead, admin=True, adminNodes="all"), machine=(dead,))
    assert prepare.claim_edits(all_nodes, hardware(dead), POLICY).requests == {}


def test_containers_are_told_where_their_gaudi_is() -> None:
    assert prepare.metadata(A) == {
        "resource.kubernetes.io/pciBusID": "0000:43:00.0",
        "resource.kubernetes.io/numaNode": 1,
        "moduleId": 0,
    }
    assert "moduleId" not in prepare.metadata(replace(A, module_id=None))


# --------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("gaudi", "why"),
    [
        (replace(A, driver="", compute=""), "it is bound to no kernel driver"),
        (replace(A, driver="vfio-pci", compute=""), "it is bound to vfio-pci"),
        (replace(A, compute="", status="Disabled"), r"made no device node for it \(status 'Disabled'\)"),
    ],
)
def test_one_that_nobody_can_compute_on_is_refused_but_to_administrators(gaudi: Gaudi, why: str) -> None:
    with pytest.raises(DeviceRefused, match=f"device {gaudi.name} cannot be given to a container: .*{why}"):
        plan_of(wanted(gaudi), machine=(gaudi,))
    assert nodes(wanted(gaudi, admin=True), gaudi) == ["/dev/accel/accel_controlD3"]


def test_one_whose_node_went_away_since_the_plan_is_refused() -> None:
    (device,) = plan_of(wanted(A)).devices
    with pytest.raises(DeviceRefused, match=A.name):
        prepare.edits(device, replace(A, compute=""), "/dev")


def test_connected_gaudis_are_demanded_only_of_who_computes() -> None:
    lonely = replace(B, group="")
    machine = (A, lonely, C)
    items = [wanted(each, topology="connected") for each in (A, C)]
    assert len(plan_of(*items, machine=machine).devices) == 2
    assert plan_of(wanted(lonely, topology="connected"), machine=machine).devices
    assert plan_of(*items, wanted(lonely), machine=machine).devices
    assert plan_of(*items, wanted(lonely, topology="connected", admin=True), machine=machine).devices
    with pytest.raises(
        DeviceRefused, match=f"device {lonely.name} is not connected with .* gaudi.intel.com/oamGroup"
    ):
        plan_of(*items, wanted(lonely, topology="connected"), machine=machine)


def test_groups_are_looked_up_only_where_they_matter(tree: GaudiTree) -> None:
    for number, bdf in enumerate(("0000:43:00.0", "0000:44:00.0")):
        tree.gaudi(bdf)
        tree.start(bdf, index=number, module=number)
    driver = configured()
    found = driver.discover(tree.host, only={A.name}).hardware
    assert driver.examine([wanted(A)], found, tree.host) == found
    looked = driver.examine([wanted(A, topology="connected")], found, tree.host)
    assert [gaudi.group for gaudi in looked.values()] == ["gaudi2-0"]
