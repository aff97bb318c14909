"""Claims at the real driver: what the containers of a claim see, who may have which Gaudi, and what else is given."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from dra_common.model import ClaimRef
from dra_common.testing.allocator import Allocation
from dra_common.testing.cdi import ResolvedEdits
from dra_common.testing.node import SimulatedNode
from driver_nodes import (
    assert_no_surprise,
    container,
    given,
    is_alive,
    metadata,
    names,
    put_status,
    refusal,
    told,
)
from gaudi_nodes import NAME, NODE, allocated, by_address, running, spec

A, B, C, D = (f"0000-{bus}-00-0-0x1020" for bus in ("43", "44", "1a", "19"))
"""Numbers of nodes 0, 1, 2, 3; places 0, 1, 3, 2; by address the last is first."""
ARGS = ["habana-container-hook", "createRuntime"]


@pytest.fixture(scope="module")
def shared() -> Iterator[SimulatedNode]:
    with running("gaudi2-hls") as node:
        yield node


@pytest.fixture
def node(shared: SimulatedNode) -> Iterator[SimulatedNode]:
    """The shared node, which each test has to leave as it found it."""
    yield shared
    assert is_alive(shared)
    assert shared.leftovers() == []
    for claim in shared.api.objects("ResourceClaim"):
        shared.api.delete("ResourceClaim", claim["metadata"]["name"], claim["metadata"]["namespace"])


def results(*pairs: tuple[str, str], **more: Any) -> list[dict[str, Any]]:
    return [
        {"request": request, "driver": NAME, "pool": NODE, "device": device, **more}
        for request, device in pairs
    ]


def past_scheduler(node: SimulatedNode, name: str, *pairs: tuple[str, str]) -> ClaimRef:
    """Create a claim whose requests have these devices."""
    ref = node.create_claim(name, spec())
    put_status(node, ref, {"allocation": {"devices": {"results": results(*pairs)}}})
    return ref


def configured(wanted: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    """A claim with a GaudiConfig."""
    body = {"apiVersion": f"{NAME}/v1alpha1", "kind": "GaudiConfig", **parameters}
    return {"devices": {**wanted["devices"], "config": [{"opaque": {"driver": NAME, "parameters": body}}]}}


def visible(edits: ResolvedEdits) -> list[str]:
    """What the container's variables name: nodes by number, nodes by path, places."""
    known = ("HABANA_VISIBLE_DEVICES", "HL_VISIBLE_DEVICES", "HABANA_VISIBLE_MODULES")
    assert set(edits.env) == set(known)
    return [edits.env[name] for name in known]


def nodes(*numbers: int) -> list[str]:
    return [
        f"/dev/{path}{number}"
        for number in numbers
        for path in ("accel/accel", "accel/accel_controlD", "infiniband/uverbs")
    ]


# --------------------------------------------------------------------------- what containers see


@pytest.mark.defect(16)
@pytest.mark.scenario(32, 35)
def test_each_container_sees_its_own_gaudis_in_the_order_of_the_allocation(node: SimulatedNode) -> None:
    ref = past_scheduler(node, "two", ("train", C), ("look", B), ("train", A))
    answer = node.prepare(ref)
    train, look, whole = (container(node, answer, request) for request in ("train", "look", ""))
    assert visible(train) == ["2,0", "/dev/accel/accel2,/dev/accel/accel0", "3,0"]
    assert visible(look) == ["1", "/dev/accel/accel1", "1"]
    assert visible(whole) == ["2,1,0", "/dev/accel/accel2,/dev/accel/accel1,/dev/accel/accel0", "3,1,0"]
    assert list(train.device_nodes) == nodes(2, 0)
    assert list(look.device_nodes) == nodes(1)
    assert list(whole.device_nodes) == nodes(2, 1, 0)
    for edits in (train, look, whole):
        (hook,) = edits.hooks
        assert (hook["hookName"], hook["path"]) == ("createRuntime", "/usr/bin/habana-container-hook")
        assert hook["args"] == ARGS
    node.unprepare(ref)


def test_a_claim_of_eight_is_one_request_with_everything_once(node: SimulatedNode) -> None:
    ref = given(node, "eight", spec(count=8))
    edits = container(node, node.prepare(ref), "gaudi")
    assert visible(edits)[0] == "3,2,0,1,4,5,6,7"
    assert visible(edits)[2] == "2,3,0,1,5,4,7,6"
    assert list(edits.device_nodes) == nodes(3, 2, 0, 1, 4, 5, 6, 7)
    assert len(edits.hooks) == 1
    node.unprepare(ref)


@pytest.mark.parametrize(
    ("parameters", "modules", "per_gaudi"),
    [({}, "2,3", 3), ({"moduleOrder": "allocation"}, "2,3", 3), ({"controlNodes": False}, "2,3", 2)],
)
def test_what_a_claim_may_say_of_its_containers(
    node: SimulatedNode, parameters: Mapping[str, Any], modules: str, per_gaudi: int
) -> None:
    ref = given(node, "two", configured(spec(count=2), **parameters))
    edits = container(node, node.prepare(ref))
    assert visible(edits) == ["3,2", "/dev/accel/accel3,/dev/accel/accel2", modules]
    assert len(edits.device_nodes) == 2 * per_gaudi
    assert any("accel_controlD" in path for path in edits.device_nodes) == (per_gaudi == 3)
    node.unprepare(ref)


def test_modules_can_be_named_by_their_places(node: SimulatedNode) -> None:
    ref = given(node, "all", configured(spec(count=8), moduleOrder="module"))
    named = visible(container(node, node.prepare(ref)))
    assert (named[0], named[2]) == ("3,2,0,1,4,5,6,7", "0,1,2,3,4,5,6,7")
    node.unprepare(ref)


def test_of_alternatives_the_first_that_can_be_had_counts_as_the_request(node: SimulatedNode) -> None:
    alternatives = [
        {"name": name, "deviceClassName": NAME, "allocationMode": "ExactCount", "count": count}
        for name, count in (("nine", 9), ("two", 2))
    ]
    ref = given(node, "one", {"devices": {"requests": [{"name": "card", "firstAvailable": alternatives}]}})
    answer = node.prepare(ref)
    assert [device.requests for device in answer] == [("card",), ("card",)]
    assert answer[-1].cdi_ids[-1] == f"intel.com/gaudi={ref.uid}"
    assert visible(container(node, answer, "card"))[0] == "3,2"
    node.unprepare(ref)


@pytest.mark.scenario(39)
def test_a_claim_made_for_an_extended_resource_is_prepared_like_any_other(node: SimulatedNode) -> None:
    ref = past_scheduler(node, "pod-1-x7k2p", ("container-0-request-0", B), ("container-1-request-0", A))
    stored: Any = node.api.get("ResourceClaim", ref.name, ref.namespace)
    stored["metadata"]["annotations"] = {"resource.kubernetes.io/extended-resource-claim": "true"}
    node.api.put("ResourceClaim", stored)
    answer = node.prepare(ref)
    for number, request in enumerate(("container-1-request-0", "container-0-request-0")):
        edits = container(node, answer, request)
        assert visible(edits)[0] == str(number)
        assert len(edits.hooks) == 1
    node.unprepare(ref)


@pytest.mark.scenario(78)
def test_containers_are_told_where_their_gaudis_are(node: SimulatedNode) -> None:
    ref = allocated(node, "train", C, A)
    (request,) = metadata(node, container(node, node.prepare(ref), "gaudi"), "resourceclaims/train/gaudi")[
        "requests"
    ]
    assert [device["name"] for device in request["devices"]] == [C, A]
    assert request["devices"][0]["attributes"] == {
        "moduleId": {"int": 3},
        "resource.kubernetes.io/numaNode": {"int": 0},
        "resource.kubernetes.io/pciBusID": {"string": "0000:1a:00.0"},
    }
    node.unprepare(ref)


# --------------------------------------------------------------------------- what the host gives


def test_hook_and_network_file_are_where_the_operator_says() -> None:
    with running("gaudi2-hls", "--gaudi-hook-path=/usr/local/habana/bin/habana-container-hook") as node:
        ref = allocated(node, "train", A)
        (hook,) = container(node, node.prepare(ref)).hooks
        assert (hook["path"], hook["args"]) == ("/usr/local/habana/bin/habana-container-hook", ARGS)
        node.unprepare(ref)


def test_the_network_file_is_given_where_there_is_one() -> None:
    with running("gaudi2-hls") as node:
        file = node.root / "gaudinet.json"
        node.kill_driver()
        node.start_driver(f"--network-file={file}")
        ref = allocated(node, "train", A, B)
        place = "/etc/habanalabs/gaudinet.json"
        assert place not in container(node, node.prepare(ref)).mounts
        node.unprepare(ref)
        file.write_text("{}")
        mount = container(node, node.prepare(ref)).mounts[place]
        assert mount["hostPath"] == str(file)
        assert "ro" in mount["options"]
        node.unprepare(ref)
        assert node.leftovers() == []


# --------------------------------------------------------------------------- who may have which


@pytest.mark.defect(16)
@pytest.mark.scenario(29)
def test_double_use_is_refused_and_names_the_holder(node: SimulatedNode) -> None:
    holder, thief = allocated(node, "holder", A, B), allocated(node, "thief", C, B)
    answer = node.prepare(holder)
    before = node.leftovers()
    error = refusal(node, thief)
    assert f"device {B} is held by claim {holder}" in error
    assert node.leftovers() == before
    assert node.prepare(holder) == answer
    node.unprepare(holder)
    assert [device.device for device in node.prepare(thief)] == [C, B]
    node.unprepare(thief)


@pytest.mark.defect(10)
def test_a_claim_with_one_bad_device_gets_none() -> None:
    with running("gaudi-broken") as node:
        good, bad = "0000-19-00-0-0x1020", "0000-cd-00-0-0x1020"
        ref = past_scheduler(node, "half", ("one", good), ("two", bad))
        why = refusal(node, ref)
        assert f"device {bad} cannot be given to a container: it is bound to vfio-pci" in why
        assert "bind it to habanalabs" in why
        assert node.leftovers() == []
        other = allocated(node, "other", good)
        assert [device.device for device in node.prepare(other)] == [good]
        node.unprepare(ref)
        node.unprepare(other)
        assert node.leftovers() == []


@pytest.mark.defect(16)
@pytest.mark.scenario(37)
def test_a_monitor_beside_a_user_gets_control_nodes_and_disturbs_nobody(node: SimulatedNode) -> None:
    user, monitor = allocated(node, "user", A, B), allocated(node, "monitor", A, B, C, adminAccess=True)
    mine, watched = node.prepare(user), node.prepare(monitor)
    edits = container(node, watched, "gaudi")
    assert list(edits.device_nodes) == [f"/dev/accel/accel_controlD{number}" for number in (0, 1, 2)]
    assert (edits.env, len(edits.hooks)) == ({}, 0)
    # It holds nothing: what nobody uses can be had beside it.
    other = allocated(node, "other", C)
    node.prepare(other)
    node.unprepare(monitor)
    assert list(container(node, mine).device_nodes) == nodes(0, 1)
    for ref in (other, user):
        node.unprepare(ref)


def test_an_administrator_gets_all_nodes_if_the_class_says_so_and_not_if_the_claim_does(
    node: SimulatedNode,
) -> None:
    body = {"apiVersion": f"{NAME}/v1alpha1", "kind": "GaudiConfig", "adminNodes": "all"}
    selector = {"cel": {"expression": f'device.driver == "{NAME}"'}}
    config = [{"opaque": {"driver": NAME, "parameters": body}}]
    admins = {"metadata": {"name": "admins"}, "spec": {"selectors": [selector], "config": config}}
    node.api.create("DeviceClass", admins)
    wanted = by_address("0000:43:00.0", adminAccess=True)
    wanted["devices"]["requests"][0]["exactly"]["deviceClassName"] = "admins"
    doctor = given(node, "doctor", wanted)
    assert list(container(node, node.prepare(doctor)).device_nodes) == nodes(0)
    sly = given(node, "sly", configured(by_address("0000:43:00.0", adminAccess=True), adminNodes="all"))
    why = refusal(node, sly)
    assert "adminNodes" in why
    assert "DeviceClass" in why
    node.unprepare(sly)
    node.unprepare(doctor)


# --------------------------------------------------------------------------- connected


def test_connected_gaudis_are_what_the_scheduler_has_to_choose() -> None:
    """One of four has no network: the first three that come are not connected, three of one group are."""
    with running("gaudi-missing-port") as node:
        odd = "0000-90-1d-0-0x1000"
        assert names(node)[2] == odd
        loose = given(node, "loose", configured(spec(count=3), topology="connected"))
        why = refusal(node, loose)
        assert f"device {odd} is not connected with the other Gaudis of the claim" in why
        assert f"matchAttribute {NAME}/oamGroup" in why
        assert node.leftovers() == []
        node.delete_claim(loose)
        wanted = configured(spec(count=3), topology="connected")
        wanted["devices"]["constraints"] = [{"matchAttribute": f"{NAME}/oamGroup"}]
        ring = given(node, "ring", wanted)
        answer = node.prepare(ring)
        assert [device.device for device in answer] == [name for name in names(node) if name != odd]
        alone = given(node, "alone", configured(spec(), topology="connected"))
        assert [device.device for device in node.prepare(alone)] == [odd], "one is connected with itself"
        for ref in (ring, alone):
            node.unprepare(ref)
            node.delete_claim(ref)
        wanted["devices"]["requests"][0]["exactly"]["count"] = 4
        assert not isinstance(node.allocate(node.create_claim("four", wanted)), Allocation)
        assert_no_surprise(node, ["is not connected with"])


@pytest.mark.scenario(31)
@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"topology": "ring"}, "topology"),
        ({"nodes": "all"}, "nodes"),
        ({"apiVersion": f"{NAME}/v9"}, f"known kinds: GaudiConfig ({NAME}/v1alpha1)"),
    ],
)
def test_configuration_that_is_not_known_is_refused(
    node: SimulatedNode, parameters: Mapping[str, Any], says: str
) -> None:
    ref = given(node, "odd", configured(spec(), **parameters))
    why = refusal(node, ref)
    assert f"claim {ref}" in why
    assert says in why
    node.unprepare(ref)


# --------------------------------------------------------------------------- files of others, and what is told


@pytest.mark.defect(5)
def test_files_of_others_are_left_alone_and_an_edit_is_in_one_file_once(node: SimulatedNode) -> None:
    """Of the same vendor, and before and after ours by name and by kind."""
    others = {
        f"intel.com-{kind}.json": f"intel.com/{kind}" for kind in ("a", "gaudi-x", "gaudj", "gpu", "qat")
    }
    for name, kind in others.items():
        device = {"name": "x", "containerEdits": {"env": [f"{kind[10:].upper()}=1"]}}
        (node.cdi / name).write_text(json.dumps({"cdiVersion": "0.5.0", "kind": kind, "devices": [device]}))
    before = {name: (node.cdi / name).read_text() for name in others}
    ref = allocated(node, "beside", A, B)
    answer = node.prepare(ref)
    assert [node.prepare(ref), node.prepare(ref)] == [answer, answer]
    assert visible(container(node, answer))[0] == "0,1"
    texts = {path.name: path.read_text() for path in node.cdi.iterdir()}
    assert {name: texts.pop(name) for name in others} == before
    (ours,) = (json.loads(text) for text in texts.values())
    assert ours["kind"] == "intel.com/gaudi"
    assert sorted(f"intel.com/gaudi={device['name']}" for device in ours["devices"]) == sorted(
        name for device in answer for name in device.cdi_ids
    )
    node.unprepare(ref)
    assert {path.name: path.read_text() for path in node.cdi.iterdir()} == before
    for name in others:
        (node.cdi / name).unlink()


@pytest.mark.scenario(77)
def test_a_claim_says_what_it_has_and_another_why_it_has_nothing() -> None:
    with running("gaudi2-hls", "--claim-status") as node:
        ref, thief = allocated(node, "train", B, A), allocated(node, "thief", A)
        answer = node.prepare(ref)
        devices = node.wait(lambda: told(node, ref), "the status")
        assert [each["device"] for each in devices] == [B, A]
        assert [each["data"]["cdiDevices"] for each in devices] == [list(each.cdi_ids) for each in answer]
        assert [each["data"]["deviceNodes"] for each in devices] == [nodes(1), nodes(0)]
        assert "held by claim" in refusal(node, thief)
        ((refused,),) = node.wait(
            lambda: [each["conditions"] for each in told(node, thief)], "why the other has nothing"
        )
        assert (refused["status"], refused["reason"]) == ("False", "DeviceHeld")
        node.unprepare(ref)
        assert node.leftovers() == []
