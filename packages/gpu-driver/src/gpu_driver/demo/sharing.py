"""The story of a GPU that several claims have at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dra_common.model import ClaimRef
from dra_common.testing.demo import Narrator
from dra_common.testing.demo.claims import allocated, at, device, pending, result, spec, take_back
from dra_common.testing.node import SimulatedNode

from gpu_driver.device import DRM_DRIVERS
from gpu_driver.driver import NAME
from gpu_driver.policy import KIND
from gpu_driver.sharing import CLIENTS

_CLIENTS = 2


def sharing(node: SimulatedNode, narrator: Narrator) -> None:
    """Give one GPU to two claims, keep everybody else out, and end the sharing under them."""
    gpu = _start(node, narrator)
    first, second = _share(node, narrator, gpu)
    third = _full(node, narrator, gpu)
    _others(node, narrator, gpu)
    _killed(node, narrator, first, second)
    _next(node, narrator, first, second, third)
    _end(node, narrator, gpu, second, third)


def _start(node: SimulatedNode, narrator: Narrator) -> str:
    """Return a GPU that is shared from now on."""
    narrator.step(f"A simulated machine ({node.profile}) with the real gpu-driver, and a GPU to be shared")
    with narrator.waiting("the driver starts and registers with the kubelet"):
        _configure(node)
        node.start_driver(f"--config={_file(node)}")
        devices = node.wait_published()
    fit = [
        one["name"]
        for one in devices
        if one["attributes"]["driver"]["string"] in DRM_DRIVERS and not one.get("taints")
    ]
    narrator.need("this story needs a GPU on i915 or xe: choose another machine with --profile", fit)
    gpu = str(fit[0])
    narrator.say(_configure(node, gpu))
    with narrator.waiting("the driver reads its configuration again"):
        node.wait(lambda: CLIENTS in device(node, gpu)["capacity"], "the GPU to be shared")
    rows = [(name, one["value"], _default(one)) for name, one in device(node, gpu)["capacity"].items()]
    narrator.table("capacity", ("CAPACITY", "IN ALL", "A CLAIM GETS"), rows)
    narrator.check(f"several claims can have {gpu}", device(node, gpu)["allowMultipleAllocations"])
    return gpu


def _share(node: SimulatedNode, narrator: Narrator, gpu: str) -> tuple[ClaimRef, ClaimRef]:
    narrator.step("Two claims, one GPU")
    refs = [node.create_claim(name, spec(NAME, at(gpu))) for name in ("first", "second")]
    for ref in refs:
        allocated(node, narrator, ref)
    results = [result(node, ref) for ref in refs]
    header = ("CLAIM", "SHARE", "TAKES")
    rows = [(ref.name, found["shareID"], _taken(found)) for ref, found in zip(refs, results, strict=True)]
    narrator.table("shares", header, rows)
    narrator.check("both have the same GPU", {found["device"] for found in results} == {gpu}, results)
    narrator.check("each has a share of its own", len({found["shareID"] for found in results}) == len(refs))
    answers = [node.prepare(ref) for ref in refs]
    nodes = [sorted(node.resolve(answer).device_nodes) for answer in answers]
    narrator.check(f"the containers of both see {', '.join(nodes[0])}", nodes[0] == nodes[1], nodes)
    narrator.say("Memory and millicores are counted for the scheduler. Nobody holds a container to them.")
    return refs[0], refs[1]


def _full(node: SimulatedNode, narrator: Narrator, gpu: str) -> ClaimRef:
    narrator.step("A third claim waits: there is room for two")
    third = node.create_claim("third", spec(NAME, at(gpu)))
    pending(node, narrator, third)
    return third


def _others(node: SimulatedNode, narrator: Narrator, gpu: str) -> None:
    narrator.step("Nobody takes it away")
    whole = node.create_claim("whole", spec(NAME, at(gpu)))
    node.allocate_past_scheduler(whole, gpu)
    error = node.refusal(whole)
    narrator.check(
        "a claim that was given all of it is refused on the node, too", "is held by claim" in error, error
    )
    narrator.say(error)
    node.unprepare(whole)
    node.delete_claim(whole)


def _killed(node: SimulatedNode, narrator: Narrator, *refs: ClaimRef) -> None:
    narrator.step("kill -9, with both claims in use")
    answers = [node.prepare(ref) for ref in refs]
    node.kill_driver()
    with narrator.waiting("the driver starts again"):
        node.start_driver(f"--config={_file(node)}")
    narrator.check("both have the same answers", [node.prepare(ref) for ref in refs] == answers)


def _next(
    node: SimulatedNode, narrator: Narrator, first: ClaimRef, second: ClaimRef, third: ClaimRef
) -> None:
    narrator.step("The first claim ends")
    answer = node.prepare(second)
    take_back(node, narrator, first)
    narrator.check("claim second has what it had", node.prepare(second) == answer)
    allocated(node, narrator, third, "claim third gets in")
    node.prepare(third)


def _end(node: SimulatedNode, narrator: Narrator, gpu: str, *refs: ClaimRef) -> None:
    narrator.step("The configuration ends the sharing while two claims share the GPU")
    narrator.say(_configure(node))
    key = f"{NAME}/shared"
    with narrator.waiting("the driver reads its configuration again"):
        node.wait(lambda: key in _taints(node, gpu), "the taint of a GPU that is still shared")
    narrator.check(f"it has the taint {key}: no new claim gets it", truth=True)
    late = node.create_claim("late", spec(NAME, at(gpu)))
    pending(node, narrator, late)
    for ref in refs:
        take_back(node, narrator, ref)
    with narrator.waiting("the driver publishes it whole"):
        node.wait(lambda: key not in _taints(node, gpu), "the taint to go")
    narrator.check(
        "from now on one claim gets all of it", "allowMultipleAllocations" not in device(node, gpu)
    )
    allocated(node, narrator, late, "claim late has it")
    narrator.check("nothing is left of the others", node.leftovers() == [], node.leftovers())
    narrator.check("the driver ends with exit code 0 on SIGTERM", node.stop_driver() == 0)


# --------------------------------------------------------------------------- the node


def _file(node: SimulatedNode) -> str:
    return str(node.root / "config.yaml")


def _configure(node: SimulatedNode, gpu: str = "") -> str:
    """Share a GPU, or none; returns the file's text."""
    text = f"apiVersion: {KIND.api_version}\nkind: {KIND.kind}\n"
    if gpu:
        text += f"devices:\n  - match: {{name: {gpu}}}\n    sharing: {{maxClients: {_CLIENTS}}}\n"
    new = node.root / "config.new"
    new.write_text(text)
    new.rename(_file(node))
    return text


def _taints(node: SimulatedNode, gpu: str) -> Sequence[str]:
    return [taint["key"] for taint in device(node, gpu).get("taints", ())]


def _default(capacity: Mapping[str, Any]) -> str:
    return str(capacity.get("requestPolicy", {}).get("default", "all"))


def _taken(result: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {amount}" for name, amount in sorted(result["consumedCapacity"].items()))
