"""The story of ordinary claims, from what is published to nothing left."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.allocator import Allocation, Unsatisfiable
from dra_common.testing.allocator.quantities import parse_quantity
from dra_common.testing.cdi import ResolvedEdits
from dra_common.testing.demo import Narrator
from dra_common.testing.demo.claims import take_back
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.node import SimulatedNode

from gpu_driver.driver import NAME


def claim(node: SimulatedNode, narrator: Narrator) -> None:
    """One GPU claim, end to end."""
    _publish(node, narrator)
    _need_two(node, narrator)
    _pending(node, narrator)
    held = _allocate_and_prepare(node, narrator)
    _refuse(node, narrator, held)
    _kill(node, narrator, held)
    _clean_up(node, narrator, held)


USABLE = f'device.attributes["{NAME}"].driver in ["i915", "xe"]'


# --------------------------------------------------------------------------- 1: publish


def _publish(node: SimulatedNode, narrator: Narrator) -> None:
    narrator.step(
        f"A simulated machine ({node.profile}), a fake API server, a fake kubelet, the real gpu-driver"
    )
    with narrator.waiting("the driver starts and registers with the kubelet"):
        node.start_driver()
        devices = node.wait_published()
    pid = node.process.pid if node.process else 0
    narrator.check(
        f"gpu-driver runs as process {pid} and the kubelet has registered it", node.kubelet.registered
    )
    narrator.step("What it published: the ResourceSlices of this node")
    header = ("DEVICE", "MODEL", "FAMILY", "DRIVER", "MEMORY", "NUMA", "PCIE ROOT")
    narrator.table("devices", header, [_row(device) for device in devices])
    seen = _listed(node)
    narrator.check(
        "`gpu-driver devices` finds the same devices", seen == [one["name"] for one in devices], seen
    )


def _row(device: Mapping[str, Any]) -> list[str]:
    def attribute(name: str) -> str:
        value = device["attributes"].get(name, {})
        return str(next(iter(value.values()), ""))

    numa, root = "resource.kubernetes.io/numaNode", "resource.kubernetes.io/pcieRoot"
    memory = device.get("capacity", {}).get("memory", {}).get("value", "unknown")
    named = [attribute(name) for name in ("model", "family", "driver")]
    return [device["name"], *named, memory, attribute(numa), attribute(root)]


def _listed(node: SimulatedNode) -> list[str]:
    output = node.ask("devices", "--json", f"--simulated-root={node.machine}")
    return [device["name"] for device in json.loads(output)]


# --------------------------------------------------------------------------- 2: allocate and prepare

Held = dict[ClaimRef, tuple[PreparedDevice, ...]]


def _allocate_and_prepare(node: SimulatedNode, narrator: Narrator) -> Held:
    """Prepare a claim by family and one by memory; then one with two devices."""
    held: Held = {}
    usable = _usable(node)
    first, *others = usable
    family = first["attributes"]["family"]["string"]
    narrator.step(f"A claim by family: {family}")
    _give(node, narrator, "by-family", _request(f'device.attributes["{NAME}"].family == "{family}"'), held)
    memory = max((one for one in others if "memory" in one["capacity"]), key=_mebibytes)["capacity"][
        "memory"
    ]["value"]
    narrator.step(f"A claim by memory: at least {memory}")
    _give(node, narrator, "by-memory", _request(_at_least(memory)), held)
    narrator.step("A claim with two devices, when both are free again")
    _take_all_back(node, narrator, held)
    _give(node, narrator, "pair", _request(count=2), held)
    return held


def _need_two(node: SimulatedNode, narrator: Narrator) -> None:
    count = len(_usable(node))
    narrator.need(
        f"this story needs two GPUs on i915 or xe, machine {node.profile} has {count}:"
        " choose another with --profile",
        count > 1,
    )


def _usable(node: SimulatedNode) -> list[dict[str, Any]]:
    """Published devices that a container can use as they are."""
    return [one for one in node.devices() if one["attributes"]["driver"]["string"] in ("i915", "xe")]


def _mebibytes(device: Mapping[str, Any]) -> int:
    return int(parse_quantity(device["capacity"]["memory"]["value"])) // 2**20


def _at_least(memory: str) -> str:
    """Select by memory; a GPU without memory of its own does not have the capacity, and CEL fails on what is absent."""
    capacity = f'device.capacity["{NAME}"]'
    return f'"memory" in {capacity} && {capacity}.memory.compareTo(quantity("{memory}")) >= 0'


def _request(selector: str = "", *, count: int = 1) -> dict[str, Any]:
    """One request for GPUs that are on their own kernel driver, not handed to a virtual machine."""
    selectors = [USABLE, *filter(None, [selector])]
    exactly = {
        "deviceClassName": NAME,
        "allocationMode": "ExactCount",
        "count": count,
        "selectors": [{"cel": {"expression": expression}} for expression in selectors],
    }
    return {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}


def _give(node: SimulatedNode, narrator: Narrator, name: str, spec: Mapping[str, Any], held: Held) -> None:
    ref = node.create_claim(name, spec)
    outcome = node.allocate(ref)
    if isinstance(outcome, Unsatisfiable):
        narrator.check(f"claim {name} can be allocated", truth=False, found=str(outcome))
        return
    chosen = [device.device for device in outcome.devices]
    narrator.check(f"the allocator chose {' and '.join(chosen)}", chosen)
    answer = node.prepare(ref)
    narrator.check("the driver prepared just that", [one.device for one in answer] == chosen, answer)
    for device in answer:
        for cdi_id in device.cdi_ids:
            narrator.say(f"CDI id {cdi_id}")
    _show_container(narrator, node.resolve(answer), len(answer))
    held[ref] = answer


def _show_container(narrator: Narrator, edits: ResolvedEdits, gpus: int) -> None:
    nodes = [
        ("device node", path, str(node.get("hostPath", path))) for path, node in edits.device_nodes.items()
    ]
    mounts = [("mount", path, str(mount["hostPath"])) for path, mount in edits.mounts.items()]
    env = [("env", name, value) for name, value in edits.env.items()]
    narrator.table("container", ("CONTAINER GETS", "NAME", "FROM THE HOST'S"), [*nodes, *mounts, *env])
    kinds = sorted(path.removeprefix("/dev/dri/").rstrip("0123456789") for path in edits.device_nodes)
    narrator.check(
        f"a container with this claim sees the card and render nodes of {gpus} GPU{'s' * (gpus > 1)}, nothing else",
        kinds == ["card"] * gpus + ["renderD"] * gpus,
        kinds,
    )


# --------------------------------------------------------------------------- 3: say no


def _pending(node: SimulatedNode, narrator: Narrator) -> None:
    narrator.step("A claim that nothing satisfies, and why")
    ref = node.create_claim("impossible", _request(f'device.attributes["{NAME}"].model == "Max 1550"'))
    outcome = node.allocate(ref)
    narrator.check("claim impossible stays pending", isinstance(outcome, Unsatisfiable), outcome)
    narrator.say(str(outcome))
    node.delete_claim(ref)


def _refuse(node: SimulatedNode, narrator: Narrator, held: Held) -> None:
    narrator.step("A claim for a device that is in use, forced past the scheduler")
    (ref, answer), *_ = held.items()
    thief = node.create_claim("thief", _request())
    node.allocate_past_scheduler(thief, answer[0].device)
    error = node.refusal(thief)
    narrator.check(
        f"the driver refuses and names the holder, {ref.name}", f"held by claim {ref}" in error, error
    )
    narrator.say(error)
    node.delete_claim(thief)


# --------------------------------------------------------------------------- 4: kill


def _kill(node: SimulatedNode, narrator: Narrator, held: Held) -> None:
    narrator.step("SIGKILL in the middle of a prepare")
    _take_all_back(node, narrator, held)
    safe, cut_off = (node.create_claim(name, _request()) for name in ("safe", "cut-off"))
    for ref in (safe, cut_off):
        narrator.check(f"claim {ref.name} is allocated", isinstance(node.allocate(ref), Allocation))
    held[safe] = node.prepare(safe)
    before = _files(node)
    _kill_while_preparing(node, narrator, cut_off)
    narrator.say("While the driver is down, its CDI files are lost, as they are at a reboot.")
    for path in node.cdi.iterdir():
        path.unlink()
    with narrator.waiting("the driver starts again on what it left"):
        node.start_driver()
    narrator.check("recovery has undone what was begun for claim cut-off", not node.leftovers_of(cut_off))
    narrator.check("recovery has put claim safe's CDI file back", _files(node) == before, node.leftovers())
    narrator.check("claim safe gets the same answer again", node.prepare(safe) == held[safe])
    held[cut_off] = node.prepare(cut_off)
    narrator.check("the kubelet's retry of claim cut-off succeeds", held[cut_off])
    overlap = {one.device for one in held[safe]} & {one.device for one in held[cut_off]}
    narrator.check("no device was given twice", not overlap, overlap)


def _kill_while_preparing(node: SimulatedNode, narrator: Narrator, ref: ClaimRef) -> None:
    with (
        ThreadPoolExecutor(1) as pool,
        narrator.waiting("the kubelet calls; kill -9 between record and answer"),
    ):
        call = _freeze_half_way(node, ref, pool)
        node.kill_driver()
        error = call.result()
    narrator.check("the kubelet's call failed with the driver", error)
    record = json.loads((node.state / "claims" / f"{ref.uid}.json").read_text())
    phase = record["record"]["phase"]
    narrator.check(f"the record of claim cut-off says how far it got: {phase}", phase == "preparing")


def _freeze_half_way(node: SimulatedNode, ref: ClaimRef, pool: ThreadPoolExecutor) -> Future[str]:
    """Call prepare until the driver is caught in it; returns the call, which waits for a frozen process."""
    while True:
        call = pool.submit(_interrupted, node, ref)
        if _stop_at_record(node, ref, call) == "preparing":
            return call
        node.signal_driver(signal.SIGCONT)
        call.result()
        node.unprepare(ref)


def _stop_at_record(node: SimulatedNode, ref: ClaimRef, call: Future[str]) -> str:
    """Freeze the driver when the claim's record appears, and return the phase that it holds then."""
    record = node.state / "claims" / f"{ref.uid}.json"
    while not record.exists() and not call.done():
        pass  # the window is a millisecond wide: a pause would miss it
    node.signal_driver(signal.SIGSTOP)
    return str(json.loads(record.read_text())["record"]["phase"]) if record.exists() else ""


def _interrupted(node: SimulatedNode, ref: ClaimRef) -> str:
    try:
        node.prepare(ref)
    except KubeletCallError as error:
        return str(error)
    return ""


def _files(node: SimulatedNode) -> dict[str, str]:
    """The records and CDI files of claims, with their text."""
    return {name: (node.root / name).read_text() for name in node.leftovers() if name.endswith(".json")}


# --------------------------------------------------------------------------- 5: nothing left


def _clean_up(node: SimulatedNode, narrator: Narrator, held: Held) -> None:
    narrator.step("Unprepare everything; the API server is not needed for it")
    node.api.pause()
    for ref in list(held):
        node.unprepare(ref)
        narrator.check(f"claim {ref.name} is unprepared", not node.leftovers_of(ref), node.leftovers())
    node.api.resume()
    narrator.step("Nothing is left")
    narrator.check("no record, hold, lock or CDI file on the node", node.leftovers() == [], node.leftovers())
    slices = node.slices()
    narrator.check("the driver ends with exit code 0 on SIGTERM", node.stop_driver() == 0)
    sockets = [path.name for folder in (node.state, node.registry) for path in folder.glob("*.sock")]
    narrator.check("both sockets are gone", not sockets, sockets)
    narrator.check("the ResourceSlices stayed, so that a restart disturbs nobody", node.slices() == slices)


def _take_all_back(node: SimulatedNode, narrator: Narrator, held: Held) -> None:
    for ref in list(held):
        take_back(node, narrator, ref)
        del held[ref]
