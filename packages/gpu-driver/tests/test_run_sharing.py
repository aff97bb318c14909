"""One GPU for several claims, in the real process: what the scheduler gives, what containers get, who is kept out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dra_common.model import ClaimRef
from dra_common.testing.allocator import Allocation, Unsatisfiable
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import lines, put_status, taints
from gpu_nodes import allocated, gpu_cli, machine_only

FLEX, B60 = "0000-4d-00-0-0x56c0", "0000-9a-00-0-0xe211"
HEAD = "apiVersion: config.gpu.intel.com/v1alpha1\nkind: GpuDriverConfig\n"
SHARED = f"{HEAD}devices:\n- match: {{model: B60}}\n  sharing: {{maxClients: 3, memory: {{default: 7Gi}}}}\n"


@contextmanager
def sharing(*arguments: str, text: str = SHARED) -> Iterator[SimulatedNode]:
    with machine_only("two-gpus") as node:
        (node.root / "config.yaml").write_text(text)
        node.start_driver(f"--config={node.root}/config.yaml", *arguments)
        node.wait_published()
        yield node


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with sharing() as node:
        yield node


def restart(node: SimulatedNode, *arguments: str) -> None:
    node.kill_driver()
    node.start_driver(f"--config={node.root}/config.yaml", *arguments)
    node.wait_published()


def claim(node: SimulatedNode, name: str, *, count: int = 1, **amounts: str) -> ClaimRef:
    """A claim for a B60, or shares of it."""
    selector = 'device.attributes["gpu.intel.com"].model == "B60"'
    exactly: dict[str, Any] = {
        "deviceClassName": "gpu.intel.com",
        "selectors": [{"cel": {"expression": selector}}],
    }
    if amounts:
        exactly["capacity"] = {"requests": amounts}
    requests = [{"name": f"gpu{number}", "exactly": exactly} for number in range(count)]
    return node.create_claim(name, {"devices": {"requests": requests}})


def given(node: SimulatedNode, ref: ClaimRef) -> Allocation:
    outcome = node.allocate(ref)
    assert isinstance(outcome, Allocation), outcome
    return outcome


def device(node: SimulatedNode, name: str = B60) -> dict[str, Any]:
    (found,) = (each for each in node.devices() if each["name"] == name)
    return found


def held(node: SimulatedNode) -> dict[str, str]:
    folder = node.state / "held"
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    return {str(path.relative_to(folder)): str(path.readlink()) for path in links}


def test_claims_share_a_gpu_until_it_is_full_and_each_has_an_answer_of_its_own(node: SimulatedNode) -> None:
    assert device(node)["allowMultipleAllocations"]
    assert device(node)["capacity"]["clients"]["value"] == "3"
    assert "clients" not in device(node, FLEX)["capacity"]
    one, two, late = (claim(node, name) for name in ("one", "two", "late"))
    rest, more = (claim(node, name, memory=amount) for name, amount in (("rest", "8Gi"), ("more", "10Gi")))
    answers = []
    for ref in (one, two):
        given(node, ref)
        answers.append(node.prepare(ref))
    ((first,), (second,)) = answers
    assert first.device == second.device == B60
    assert first.share_id
    assert second.share_id
    assert first.share_id != second.share_id
    for ref, answer in ((one, first), (two, second)):
        assert answer.cdi_ids == (f"intel.com/gpu={ref.uid}-{B60}-{answer.share_id}",)
        assert sorted(node.resolve([answer]).device_nodes) == ["/dev/dri/card2", "/dev/dri/renderD129"]
    assert held(node) == {f"{B60}/{first.share_id}": one.uid, f"{B60}/{second.share_id}": two.uid}
    # Of nearly 24 GiB each has 7: for one more client there is less than 10.
    assert isinstance(node.allocate(more), Unsatisfiable)
    given(node, rest)
    assert isinstance(node.allocate(late), Unsatisfiable)
    restart(node)
    assert [node.prepare(ref) for ref in (one, two)] == answers
    node.unprepare(one)
    assert node.prepare(two) == answers[1]
    assert held(node) == {f"{B60}/{second.share_id}": two.uid}
    node.unprepare(two)
    assert node.leftovers() == []


def test_a_claim_gets_as_much_as_it_asks_for_and_may_be_alone(node: SimulatedNode) -> None:
    ref = claim(node, "alone", clients="3", memory="1Gi")
    given(node, ref)
    stored = node.api.get("ResourceClaim", ref.name, ref.namespace)
    assert stored
    (entry,) = stored["status"]["allocation"]["devices"]["results"]
    assert entry["consumedCapacity"] == {"clients": "3", "memory": "1Gi", "millicores": "333"}
    assert isinstance(node.allocate(claim(node, "late", memory="1Gi")), Unsatisfiable)
    assert node.prepare(ref)
    node.unprepare(ref)


def test_one_claim_may_have_two_shares_of_one_gpu(node: SimulatedNode) -> None:
    ref = claim(node, "both", count=2)
    given(node, ref)
    one, two = node.prepare(ref)
    assert (one.device, two.device) == (B60, B60)
    assert {one.requests, two.requests} == {("gpu0",), ("gpu1",)}
    assert held(node) == {f"{B60}/{one.share_id}": ref.uid, f"{B60}/{two.share_id}": ref.uid}
    assert one.cdi_ids != two.cdi_ids
    node.unprepare(ref)
    assert node.leftovers() == []


def test_who_would_take_it_from_the_others_is_refused(node: SimulatedNode) -> None:
    one = claim(node, "one")
    given(node, one)
    answer = node.prepare(one)
    machine = claim(node, "machine")
    given(node, machine)
    stored: Any = node.api.get("ResourceClaim", machine.name, machine.namespace)
    parameters = {"apiVersion": "gpu.intel.com/v1alpha1", "kind": "GpuConfig", "binding": "vfio"}
    stored["status"]["allocation"]["devices"]["config"] = [
        {
            "source": "FromClaim",
            "requests": [],
            "opaque": {"driver": "gpu.intel.com", "parameters": parameters},
        }
    ]
    put_status(node, machine, stored["status"])
    assert "other claims can share it, and a machine takes all of it" in node.refusal(machine)
    whole = allocated(node, "whole", B60)
    assert "is held by claim default/one" in node.refusal(whole)
    assert node.prepare(one) == answer
    node.unprepare(one)
    assert node.prepare(whole)
    node.unprepare(whole)
    assert node.leftovers() == []


def test_a_gpu_that_is_to_be_shared_no_more_is_nobodys_whole_before_its_last_share_is_gone(
    node: SimulatedNode,
) -> None:
    refs = [claim(node, name) for name in ("one", "two")]
    for ref in refs:
        given(node, ref)
        node.prepare(ref)
    (node.root / "config.yaml").write_text(HEAD)
    wait_until(lambda: taints(node, B60) == ["shared"], "the taint of the GPU that is shared", seconds=60)
    assert "clients" not in device(node)["capacity"]
    assert isinstance(node.allocate(claim(node, "late")), Unsatisfiable)
    node.unprepare(refs[0])
    node.delete_claim(refs[0])
    assert node.prepare(refs[1])
    assert taints(node, B60) == ["shared"]
    node.unprepare(refs[1])
    node.delete_claim(refs[1])
    wait_until(lambda: taints(node, B60) == [], "the GPU to be given whole", seconds=60)
    assert "allowMultipleAllocations" not in device(node)
    given(node, claim(node, "whole"))


def test_a_server_that_cannot_share_has_the_gpu_for_one_claim() -> None:
    with sharing("--server-features-off=consumable_capacity") as node:
        assert "allowMultipleAllocations" not in device(node)
        assert sorted(device(node)["capacity"]) == ["memory", "millicores"]
        ref = claim(node, "one")
        given(node, ref)
        assert isinstance(node.allocate(claim(node, "two")), Unsatisfiable)
        assert [answer.share_id for answer in node.prepare(ref)] == [None]
        node.unprepare(ref)


def test_a_gpu_that_claims_share_is_withdrawn_where_the_server_can_share_no_more(node: SimulatedNode) -> None:
    ref = claim(node, "one")
    given(node, ref)
    answer = node.prepare(ref)
    restart(node, "--server-features-off=consumable_capacity")
    wait_until(
        lambda: [each["name"] for each in node.devices()] == [FLEX], "the shared GPU to go", seconds=60
    )
    assert node.prepare(ref) == answer
    node.unprepare(ref)


def test_a_gpu_that_is_too_small_goes_to_one_claim_and_that_is_told() -> None:
    text = f"{HEAD}devices: [{{match: {{}}, sharing: {{maxClients: 2, memory: {{default: 20Gi}}}}}}]\n"
    with sharing(text=text) as node:
        assert device(node)["allowMultipleAllocations"]
        assert "allowMultipleAllocations" not in device(node, FLEX)
        why = "is not shared as the configuration says: memory: a claim would get 20Gi, and there is"
        assert len([line for line in lines(node) if why in line]) == 1
        shown = gpu_cli("devices", f"--simulated-root={node.machine}", f"--config={node.root}/config.yaml")
        assert why in shown.stderr
        assert "clients 2" in shown.stdout
