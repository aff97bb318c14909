"""Rules for GPUs: which they cover, which of several counts, and what is refused because it could never match."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from dra_common.policy import DriverPolicy, effective, file_model
from gpu_driver.device import Gpu
from gpu_driver.driver import GpuDriver
from gpu_driver.modes import allowed
from gpu_driver.policy import KIND, GpuDevicePolicy, GpuMatch, GpuPolicy
from gpu_driver.products import product
from gpu_trees import SysTree
from pydantic import ValidationError

FLEX = Gpu("0000:4d:00.0", "0x56c0", product("0x56c0"))
VF = Gpu("0000:4d:00.1", "0x56c0", product("0x56c0"), kind="vf", parent=FLEX.bdf, vf_index=0)
ARC = Gpu("0000:9a:00.0", "0xe211", product("0xe211"))
ALL = (FLEX, VF, ARC)


def policy(*rules: dict[str, Any], node: str = "n", **more: Any) -> GpuPolicy:
    text = json.dumps({"apiVersion": KIND.api_version, "kind": KIND.kind, "devices": rules, **more})
    file = file_model(KIND).model_validate_json(text, by_alias=True, by_name=False)
    found = effective(KIND, file, node, {})
    assert isinstance(found, GpuPolicy)
    return found


def published(found: GpuPolicy) -> tuple[Gpu, ...]:
    return tuple(gpu for gpu in ALL if found.of(gpu).publish)


def test_rules_about_sharing_are_laid_over_one_another_and_can_be_taken_back() -> None:
    found = policy(
        {"match": {}, "sharing": {"maxClients": 4, "memory": {"default": "1Gi"}}},
        {"match": {"model": "B60"}, "sharing": {"maxClients": 2}},
        {"match": {"type": "vf"}, "sharing": None},
    )
    flex, vf, arc = (found.of(gpu).sharing for gpu in ALL)
    assert (flex.max_clients, flex.memory.default) == (4, 1 << 30)  # type: ignore[union-attr]
    assert (arc.max_clients, arc.memory.default) == (2, 1 << 30)  # type: ignore[union-attr]
    assert vf is None


@pytest.mark.parametrize(
    ("match", "covered"),
    [
        ({}, ALL),
        ({"model": "Flex 170"}, (FLEX, VF)),
        ({"model": "flex 170"}, ()),
        ({"model": ["B60", "Flex*"]}, ALL),
        ({"family": "Arc*"}, (ARC,)),
        ({"family": "Data Center Flex", "type": "gpu"}, (FLEX,)),
        ({"type": "vf"}, (VF,)),
        ({"pciId": "0x56c0"}, (FLEX, VF)),
        ({"pciId": "0x56*"}, (FLEX, VF)),
        ({"pciId": ["*211"]}, (ARC,)),
        ({"pciAddress": "0000:4d:00.0"}, (FLEX,)),
        ({"pciAddress": "0000:4d:*"}, (FLEX, VF)),
        ({"pciAddress": "*.[1-7]"}, (VF,)),
        ({"name": "0000-9a-00-0-0xe211"}, (ARC,)),
        ({"name": ["0000-4d-*", "0000-9a-*"], "model": "B60"}, (ARC,)),
        ({"model": "B60", "pciId": "0x56c0"}, ()),
    ],
)
def test_a_rule_covers_what_fits_in_everything(match: dict[str, Any], covered: tuple[Gpu, ...]) -> None:
    denied = policy({"match": match, "publish": False})
    assert published(denied) == tuple(gpu for gpu in ALL if gpu not in covered)


def test_without_rules_all_are_published() -> None:
    assert published(GpuPolicy()) == ALL
    assert GpuPolicy().of(ARC) == GpuDevicePolicy(publish=True)


def test_the_last_rule_that_says_it_counts() -> None:
    nothing = {"match": {}, "publish": False}
    allowed = {"match": {"pciAddress": "0000:9a:*"}, "publish": True}
    silent: dict[str, Any] = {"match": {}}
    assert published(policy(nothing, allowed, silent)) == (ARC,)
    assert published(policy(allowed, nothing)) == ()


def test_rules_of_a_node_s_section_come_last() -> None:
    nodes = [{"match": "bench-*", "devices": [{"match": {"model": "B60"}, "publish": True}]}]
    nothing = {"match": {}, "publish": False}
    assert published(policy(nothing, nodes=nodes, node="bench-1")) == (ARC,)
    assert published(policy(nothing, nodes=nodes, node="other")) == ()


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ({"pciAddress": "03:00.0"}, "'03:00.0' is no PCI address such as 0000:03:00.0, and no pattern"),
        ({"pciAddress": ["0000:4D:00.0"]}, "'0000:4D:00.0' never matches: it is published in lower case"),
        ({"pciId": "56c0"}, "'56c0' is no device id such as 0x56c0, and no pattern"),
        ({"pciId": "0x56C0"}, "'0x56C0' never matches: it is published in lower case"),
        ({"name": "card0"}, "'card0' is no name of a device such as 0000-03-00-0-0x56c0, and no pattern"),
        ({"type": "pf"}, "Input should be 'gpu' or 'vf'"),
        ({"model": []}, "at least 1 item"),
        ({"pci_id": "0x56c0"}, "Extra inputs are not permitted"),
        ({"serial": "1"}, "Extra inputs are not permitted"),
    ],
)
def test_what_could_never_match_is_refused(match: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        policy({"match": match})
    assert said in caught.value.errors()[0]["msg"]


def test_a_rule_says_what_it_is_about() -> None:
    """Else a forgotten match would deny every GPU of the cluster."""
    with pytest.raises(ValidationError):
        policy({"publish": False})


def test_the_driver_denies_what_the_policy_denies(flex_tree: SysTree) -> None:
    driver = GpuDriver()
    hardware = driver.discover(flex_tree.host).hardware
    assert driver.publish(hardware).denied == frozenset()
    driver.configure(policy({"match": {"type": "vf"}, "publish": False}))
    found = driver.publish(hardware)
    assert found.denied == {"0000-4d-00-1-0x56c0", "0000-4d-00-2-0x56c0"}
    assert {device.name for device in found.devices} == set(hardware)


def test_the_driver_takes_no_other_driver_s_policy() -> None:
    with pytest.raises(TypeError):
        GpuDriver().configure(DriverPolicy())


def test_every_field_of_a_match_has_a_word_in_the_schema() -> None:
    properties = GpuMatch.model_json_schema()["properties"]
    assert all(each["description"] for each in properties.values())


def test_modes_are_in_order_and_each_once() -> None:
    found = policy({"match": {"model": "B60"}, "sriov": {"modes": [7, 1, 2]}})
    assert found.of(ARC).sriov.modes == (1, 2, 7)
    assert found.of(FLEX).sriov.modes == ()
    for wrong in ([2, 2], [0], [64], ["2"], list(range(1, 18)), 2):
        with pytest.raises(ValidationError):
            policy({"match": {}, "sriov": {"modes": wrong}})


def test_a_later_rule_takes_modes_away() -> None:
    found = policy(
        {"match": {}, "sriov": {"modes": [2]}}, {"match": {"model": "B60"}, "sriov": {"modes": []}}
    )
    assert found.of(ARC).sriov.modes == ()
    assert found.of(FLEX).sriov.modes == (2,)


def test_a_profile_is_what_the_kernel_takes() -> None:
    found = policy(
        {
            "match": {},
            "sriov": {
                "modes": [2],
                "profile": {"execQuantumMs": 20, "preemptTimeoutUs": 0, "schedPriority": "low"},
            },
        },
        {"match": {"model": "B60"}, "sriov": {"profile": {"execQuantumMs": 100_000}}},
    )
    ended = policy(
        {"match": {}, "sriov": {"modes": [2], "profile": {"execQuantumMs": 1}}},
        {"match": {}, "sriov": {"profile": None}},
    )
    assert ended.of(ARC).sriov.settings() == {}
    settings = {"exec_quantum_ms": "20", "preempt_timeout_us": "0", "sched_priority": "low"}
    assert found.of(FLEX).sriov.settings() == settings
    assert found.of(ARC).sriov.settings() == {**settings, "exec_quantum_ms": "100000"}
    assert found.of(ARC).sriov.modes == (2,)
    assert GpuPolicy().of(ARC).sriov.settings() == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"execQuantumMs": 100_001},  # more the firmware takes as this, silently
        {"execQuantumMs": -1},
        {"execQuantumMs": "20"},
        {"preemptTimeoutUs": 100_000_001},
        {"schedPriority": "high"},  # the PF's alone
        {"vramQuota": 1},
    ],
)
def test_a_profile_that_the_kernel_would_not_take_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        policy({"match": {}, "sriov": {"modes": [2], "profile": wrong}})


def test_a_rule_by_name_covers_the_modes_of_a_gpu() -> None:
    found = policy({"match": {"name": ARC.name}, "publish": False})
    assert not found.of(replace(ARC, mode=4)).publish


def test_a_gpu_is_shared_or_divided_never_both() -> None:
    both = {"match": {}, "sriov": {"modes": [2]}, "sharing": {"maxClients": 2}}
    with pytest.raises(ValidationError, match="cannot be both shared"):
        policy(both)
    # Of rules that contradict one another only the end of all counts: what is shared is not divided.
    one, other = {**both}, {**both}
    del one["sharing"], other["sriov"]
    assert [allowed(ARC, policy(*rules)) for rules in ((one,), (one, other), (other, one))] == [(2,), (), ()]
