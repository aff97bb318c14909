"""Claims at the real driver: who may have which device, what a refusal says, and what a call leaves in the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from dra_common.model import ClaimRef
from dra_common.testing.allocator import Allocation
from dra_common.testing.node import SimulatedNode
from driver_nodes import host_paths, is_alive, json_lines, lines, put_status, refusal
from gpu_nodes import NAME, NODE, allocated, by_address, running, spec

FREE, UNBOUND, VFIO, UNKNOWN, DEAD = (
    "0000-20-00-0-0xe211",
    "0000-21-00-0-0x56a0",
    "0000-22-00-0-0x56c0",
    "0000-23-00-0-0xfffe",
    "0000-25-00-0-0xe212",
)
ON_XE_BY_HAND = "0000-24-00-0-0xfffe"


@pytest.fixture(scope="module")
def shared() -> Iterator[SimulatedNode]:
    with running("unbound-and-vfio", "--logging-format=json") as node:
        yield node


@pytest.fixture
def node(shared: SimulatedNode) -> Iterator[SimulatedNode]:
    """The shared node, which each test has to leave as it found it."""
    yield shared
    assert is_alive(shared)
    assert shared.leftovers() == []
    for claim in shared.api.objects("ResourceClaim"):
        shared.api.delete("ResourceClaim", claim["metadata"]["name"], claim["metadata"]["namespace"])


@pytest.mark.parametrize(
    ("device", "cause", "cure"),
    [
        (UNKNOWN, "no kernel driver is known for this product", "bind one by hand"),
        (DEAD, "xe is bound to it, but made no DRM card", "kernel log"),
    ],
)
def test_what_no_container_could_use_is_refused(
    node: SimulatedNode, device: str, cause: str, cure: str
) -> None:
    ref = allocated(node, "hopeless", device)
    error = refusal(node, ref)
    for part in (f"device {device}", "cannot be prepared", cause, cure):
        assert part in error
    assert node.leftovers() == []
    # Nothing was taken: the kubelet's cleanup finds nothing to do.
    node.unprepare(ref)


def test_a_claim_with_one_bad_device_gets_none(node: SimulatedNode) -> None:
    ref = allocated(node, "half", FREE, DEAD)
    assert f"device {DEAD}" in refusal(node, ref)
    assert node.leftovers() == []
    other = allocated(node, "other", FREE)
    assert [each.device for each in node.prepare(other)] == [FREE]
    node.unprepare(other)


def test_the_scheduler_keeps_claims_off_what_would_be_refused(node: SimulatedNode) -> None:
    everything = node.create_claim("everything", spec(allocationMode="All"))
    usable = node.create_claim(
        "usable", spec(f'device.attributes["{NAME}"].driver in ["i915", "xe"]', count=3)
    )
    assert not isinstance(node.allocate(everything), Allocation)
    outcome = node.allocate(usable)
    assert isinstance(outcome, Allocation)
    chosen = {each.device for each in outcome.devices}
    assert chosen.isdisjoint({UNKNOWN, DEAD})
    assert {each.device for each in node.prepare(usable)} == chosen
    node.unprepare(usable)


@pytest.mark.defect(16)
@pytest.mark.scenario(29)
def test_double_use_is_refused_and_names_the_holder(node: SimulatedNode) -> None:
    holder, thief = allocated(node, "holder", FREE), allocated(node, "thief", FREE)
    answer = node.prepare(holder)
    before = node.leftovers()
    error = refusal(node, thief)
    assert f"claim {thief}" in error
    assert f"device {FREE} is held by claim {holder}" in error
    assert "unprepare that claim first" in error
    node.unprepare(thief)
    assert node.leftovers() == before
    assert node.prepare(holder) == answer
    assert node.resolve(answer).device_nodes
    node.unprepare(holder)
    assert node.prepare(thief)[0].device == FREE
    node.unprepare(thief)


@pytest.mark.defect(16)
@pytest.mark.scenario(37)
def test_admin_access_beside_a_user_sees_mei_and_disturbs_nobody(node: SimulatedNode) -> None:
    user, admin = allocated(node, "user", FREE), allocated(node, "admin", FREE, adminAccess=True)
    (mine,) = node.prepare(user)
    assert mine.cdi_ids == (f"intel.com/gpu={user.uid}-{FREE}",)
    (watched,) = node.prepare(admin)
    assert watched.cdi_ids == (
        f"intel.com/gpu={admin.uid}-{FREE}",
        f"intel.com/gpu-mei={admin.uid}-{FREE}",
    )
    drm, all_of_it = node.resolve([mine]), node.resolve([watched])
    assert list(all_of_it.device_nodes) == [*drm.device_nodes, "/dev/mei0"]
    assert host_paths(all_of_it.device_nodes)[-1] == f"{node.machine}/dev/mei0"
    assert Path(node.machine, "dev/mei0").exists()
    assert not any("mei" in path for path in drm.device_nodes)
    # One goes, the other stays.
    node.unprepare(admin)
    assert node.resolve([mine]).device_nodes == drm.device_nodes
    (watched,) = node.prepare(admin)
    node.unprepare(user)
    assert list(node.resolve([watched]).device_nodes) == list(all_of_it.device_nodes)
    node.unprepare(admin)


@pytest.mark.parametrize("device", [VFIO, UNBOUND])
def test_admin_access_to_a_device_without_nodes_gives_no_id_and_changes_nothing(
    node: SimulatedNode, device: str
) -> None:
    ref = allocated(node, "watcher", device, adminAccess=True)
    driver = node.machine / f"sys/bus/pci/devices/{device[:12].replace('-', ':')[:-2]}.0/driver"
    before = driver.readlink() if driver.is_symlink() else None
    (answer,) = node.prepare(ref)
    assert (answer.device, answer.cdi_ids) == (device, ())
    assert (driver.readlink() if driver.is_symlink() else None) == before
    node.unprepare(ref)


@pytest.mark.scenario(24, 25, 26, 28, 30)
def test_bad_claims_are_refused_one_by_one(node: SimulatedNode) -> None:
    good = allocated(node, "good", ON_XE_BY_HAND)
    bare = node.create_claim("bare", spec())
    replaced = ClaimRef("default", good.name, "0" * 36)
    gone = ClaimRef("default", "gone", "1" * 36)
    stranger = allocated(node, "stranger", "0000-99-00-0-0x56c0")
    elsewhere = allocated(node, "elsewhere", FREE, pool="node-9")
    answers = node.kubelet.prepare([bare, replaced, gone, stranger, elsewhere, good], NAME)
    assert f"claim {bare}: it is not allocated" in answers[bare.uid].error
    assert f"claim {replaced}: it was replaced" in answers[replaced.uid].error
    assert good.uid in answers[replaced.uid].error
    assert f"claim {gone}" in answers[gone.uid].error
    assert "404" in answers[gone.uid].error
    assert "the claim was deleted" in answers[gone.uid].error
    assert "device 0000-99-00-0-0x56c0 is not on this node" in answers[stranger.uid].error
    assert f"device {FREE} is in pool node-9" in answers[elsewhere.uid].error
    assert NODE in answers[elsewhere.uid].error
    assert "--node-name" in answers[elsewhere.uid].error
    assert answers[good.uid].devices[0].device == ON_XE_BY_HAND
    refs = [bare, replaced, gone, stranger, elsewhere, good]
    assert set(node.kubelet.unprepare(refs, NAME).values()) == {""}


@pytest.mark.scenario(27)
def test_results_of_other_drivers_are_none_of_ours(node: SimulatedNode) -> None:
    ref = node.create_claim("mixed", spec())
    results = [
        {"request": "nic", "driver": "nic.example.com", "pool": NODE, "device": "eth1"},
        {"request": "gpu/small", "driver": NAME, "pool": NODE, "device": FREE},
    ]
    foreign = {"driver": "nic.example.com", "parameters": {"kind": "Nic"}}
    config = [{"source": "FromClaim", "requests": [], "opaque": foreign}]
    put_status(node, ref, {"allocation": {"devices": {"results": results, "config": config}}})
    (device,) = node.prepare(ref)
    # The kubelet compares with the request, so the subrequest is not named.
    assert (device.device, device.requests) == (FREE, ("gpu",))
    node.unprepare(ref)
    put_status(node, ref, {"allocation": {"devices": {"results": results[:1]}}})
    assert node.prepare(ref) == ()
    node.unprepare(ref)


@pytest.mark.scenario(31)
def test_opaque_configuration_of_an_unknown_kind_is_refused(node: SimulatedNode) -> None:
    ref = node.create_claim("configured", spec())
    results = [{"request": "gpu", "driver": NAME, "pool": NODE, "device": FREE}]
    ours = {"driver": NAME, "parameters": {"apiVersion": f"{NAME}/v9", "kind": "GpuConfig"}}
    config = [{"source": "FromClaim", "requests": ["gpu"], "opaque": ours}]
    put_status(node, ref, {"allocation": {"devices": {"results": results, "config": config}}})
    error = refusal(node, ref)
    for part in (
        f"claim {ref}",
        "unknown opaque kind 'GpuConfig'",
        f"{NAME}/v9",
        f"known kinds: GpuConfig ({NAME}/v1alpha1)",
    ):
        assert part in error


def test_every_line_of_a_call_says_which_call_claim_and_device(node: SimulatedNode) -> None:
    since = len(lines(node))
    ref = allocated(node, "logged", FREE)
    node.prepare(ref)
    node.prepare(ref)
    refused = allocated(node, "refused", DEAD)
    refusal(node, refused)
    node.unprepare(ref)
    said = [line for line in json_lines(node, since) if line.get("uid") == ref.uid]
    assert said
    for line in said:
        assert line["claim"] == f"default/{ref.name}"
        assert int(line["request"]) > 0
        assert line["device"] == FREE
        assert line["level"] == "info"
        assert line["msg"]
        assert line["ts"].endswith("Z")
    # Three calls, three numbers.
    assert len({line["request"] for line in said}) == 3
    assert {line["method"] for line in said} == {"NodePrepareResources", "NodeUnprepareResources"}
    (warning,) = [line for line in json_lines(node, since) if line["level"] == "warning"]
    assert (warning["uid"], warning["device"]) == (refused.uid, DEAD)


@pytest.mark.scenario(17, 23)
def test_a_prepared_claim_is_answered_without_the_api_server(node: SimulatedNode) -> None:
    ref = allocated(node, "cached", FREE)
    answer = node.prepare(ref)
    reads = len(node.api.requests)
    node.api.pause()
    try:
        assert node.prepare(ref) == answer
    finally:
        node.api.resume()
    assert not [each for each in node.api.requests[reads:] if ref.name in each.path]
    node.unprepare(ref)


@pytest.mark.scenario(18)
def test_damaged_cdi_files_are_written_again_before_the_answer(node: SimulatedNode) -> None:
    ref = allocated(node, "damaged", FREE)
    answer = node.prepare(ref)
    (file,) = node.cdi.iterdir()
    good = file.read_text()
    for damage in ("", "{", '{"cdiVersion": "0.5.0", "kind": "intel.com/gpu", "devices": []}'):
        file.write_text(damage)
        assert node.prepare(ref) == answer
        assert file.read_text() == good
    file.unlink()
    assert node.prepare(ref) == answer
    assert node.resolve(answer).device_nodes
    node.unprepare(ref)


@pytest.mark.defect(5)
def test_files_of_others_are_left_alone_and_an_edit_is_in_one_file_once(node: SimulatedNode) -> None:
    """Of the same vendor, and before and after ours by name and by kind."""
    others = {f"intel.com-{kind}.json": f"intel.com/{kind}" for kind in ("a", "gaudi", "gpux", "npu")}
    for name, kind in others.items():
        device = {"name": "x", "containerEdits": {"env": [f"{kind.upper()}=1"]}}
        (node.cdi / name).write_text(json.dumps({"cdiVersion": "0.5.0", "kind": kind, "devices": [device]}))
    before = {name: (node.cdi / name).read_text() for name in others}
    ref = allocated(node, "beside", FREE)
    answer = node.prepare(ref)
    assert [node.prepare(ref), node.prepare(ref)] == [answer, answer]
    edits = node.resolve(answer)
    assert edits.device_nodes
    assert edits.env == {}
    texts = {path.name: path.read_text() for path in node.cdi.iterdir()}
    assert {name: texts.pop(name) for name in others} == before
    (ours,) = (json.loads(text) for text in texts.values())
    assert ours["kind"] == "intel.com/gpu"
    assert [f"intel.com/gpu={device['name']}" for device in ours["devices"]] == list(answer[0].cdi_ids)
    node.unprepare(ref)
    assert {path.name: path.read_text() for path in node.cdi.iterdir()} == before
    for name in others:
        (node.cdi / name).unlink()


@pytest.mark.scenario(35)
def test_two_devices_of_one_claim(node: SimulatedNode) -> None:
    ref = node.create_claim("pair", by_address("0000:20:00.0"))
    put_status(
        node,
        ref,
        {
            "allocation": {
                "devices": {
                    "results": [
                        {"request": "first", "driver": NAME, "pool": NODE, "device": FREE},
                        {"request": "second", "driver": NAME, "pool": NODE, "device": ON_XE_BY_HAND},
                    ]
                }
            }
        },
    )
    answer = node.prepare(ref)
    assert [(each.requests, each.device) for each in answer] == [
        (("first",), FREE),
        (("second",), ON_XE_BY_HAND),
    ]
    assert len(node.resolve(answer).device_nodes) == 4
    assert len(node.resolve(answer[:1]).device_nodes) == 2
    assert len(list(node.cdi.iterdir())) == 1
    node.unprepare(ref)
