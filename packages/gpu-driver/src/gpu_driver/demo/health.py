"""The story of a GPU that goes bad and recovers, with what a user sees of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dra_common.model import ClaimRef
from dra_common.testing.demo import Narrator
from dra_common.testing.demo import health as watch
from dra_common.testing.demo.claims import allocated, at, bdf, hand, nothing_left, pending, spec
from dra_common.testing.node import SimulatedNode

from gpu_driver.device import DRM_DRIVERS, UNHEALTHY_TAINT
from gpu_driver.driver import NAME

_TOLERATES: Mapping[str, Any] = {
    "tolerations": [{"key": UNHEALTHY_TAINT, "operator": "Exists", "effect": "NoExecute"}]
}


def health(node: SimulatedNode, narrator: Narrator) -> None:
    """Let a GPU hang and recover, and a script of the site speak."""
    gpu = _start(node, narrator)
    user = _use(node, narrator, gpu)
    _hang(node, narrator, gpu)
    _restart(node, narrator, gpu)
    _recover(node, narrator, gpu)
    _script(node, narrator, gpu)
    _end(node, narrator, user)


def _file(node: SimulatedNode) -> Path:
    return node.root / "health.yaml"


def _start_driver(node: SimulatedNode) -> None:
    watched = ("--health-monitoring", "--health-sources=sysfs,file", f"--health-file={_file(node)}")
    node.start_driver(*watched)


def _start(node: SimulatedNode, narrator: Narrator) -> str:
    narrator.step(f"A simulated machine ({node.profile}), the real gpu-driver with --health-monitoring")
    with narrator.waiting("the driver starts and registers with the kubelet"):
        _start_driver(node)
        devices = node.wait_published()
    fit = [
        device["name"]
        for device in devices
        if device["attributes"]["driver"]["string"] in DRM_DRIVERS and not device.get("taints")
    ]
    narrator.need("this story needs a GPU on i915 or xe: choose another machine with --profile", fit)
    gpu = str(fit[-1])
    watch.wait(node, narrator, gpu, "Healthy")
    watch.show(node, narrator)
    return gpu


def _use(node: SimulatedNode, narrator: Narrator, gpu: str) -> ClaimRef:
    narrator.step("A pod uses a GPU")
    ref = node.create_claim("train", spec(NAME, at(gpu)))
    allocated(node, narrator, ref, f"its claim is allocated {gpu}")
    answer = node.prepare(ref)
    narrator.check("and prepared", [device.device for device in answer] == [gpu], answer)
    return ref


def _hang(node: SimulatedNode, narrator: Narrator, gpu: str) -> None:
    narrator.step("The GPU hangs, and its kernel driver gives it up")
    narrator.say("The kernel says so with an event: WEDGED=rebind,bus-reset")
    hand(node, "wedge", bdf=bdf(gpu), methods="rebind,bus-reset")
    watch.wait(node, narrator, gpu, "Unhealthy", "wedged")
    watch.show(node, narrator)
    narrator.say("NoExecute: the cluster now evicts the pod. Nobody new gets the GPU, not even beside it:")
    ref = node.create_claim("monitor", spec(NAME, at(gpu), adminAccess=True))
    narrator.say(pending(node, narrator, ref, "the claim of a monitor is not allocated"))
    node.delete_claim(ref)
    doctor = node.create_claim("doctor", spec(NAME, at(gpu), adminAccess=True, **_TOLERATES))
    allocated(node, narrator, doctor, "one that tolerates it, to look what is wrong, is")
    node.delete_claim(doctor)


def _restart(node: SimulatedNode, narrator: Narrator, gpu: str) -> None:
    narrator.step("kill -9 of the driver while the GPU hangs")
    node.kill_driver()
    narrator.check(
        "the kubelet no longer knows", watch.seen(node, gpu)[0] == "Unknown", watch.seen(node, gpu)
    )
    with narrator.waiting("the driver starts again"):
        _start_driver(node)
    watch.wait(node, narrator, gpu, "Unhealthy", "wedged")


def _recover(node: SimulatedNode, narrator: Narrator, gpu: str) -> None:
    narrator.step("An administrator binds the GPU to its kernel driver again")
    driver = (node.machine / "sys/bus/pci/devices" / bdf(gpu) / "driver").readlink().name
    for what in ("unbind", "bind"):
        hand(node, "write", path=f"bus/pci/drivers/{driver}/{what}", value=bdf(gpu))
    watch.wait(node, narrator, gpu, "Healthy")
    watch.show(node, narrator)


def _script(node: SimulatedNode, narrator: Narrator, gpu: str) -> None:
    narrator.step("A script of the site has something to say")
    _say(node, narrator, gpu, "warning")
    node.wait(lambda: "warning" in watch.seen(node, gpu)[1], "the kubelet to hear of it")
    narrator.check("a warning is told, and changes nothing", watch.published(node, gpu) == ("Healthy", ""))
    narrator.say(watch.seen(node, gpu)[1])
    _say(node, narrator, gpu, "critical")
    watch.wait(node, narrator, gpu, "Unhealthy", "fan-2")
    _file(node).write_text("- {device: what}")
    narrator.say("Then the script writes nonsense:")
    node.wait(lambda: "severity: Field required" in node.log.read_text(), "the driver to read it")
    narrator.check(
        "that makes no GPU healthy",
        watch.published(node, gpu) == ("Unhealthy", "fan-2"),
        watch.published(node, gpu),
    )
    _file(node).write_text("[]\n")
    narrator.say("Then that all is well:")
    watch.wait(node, narrator, gpu, "Healthy")


def _end(node: SimulatedNode, narrator: Narrator, user: ClaimRef) -> None:
    narrator.step("What was told to the cluster")
    told = {"DeviceUnhealthy", "DeviceRecovered"}
    node.wait(lambda: told <= {reason for reason, _ in watch.events(node)}, "the Events")
    narrator.table("events", ("EVENT ON THE NODE", "NOTE"), watch.events(node))
    node.unprepare(user)
    nothing_left(node, narrator)


# --------------------------------------------------------------------------- the node


def _say(node: SimulatedNode, narrator: Narrator, gpu: str, severity: str) -> None:
    entry = f"- device: {gpu}\n  severity: {severity}\n  what: fan 2\n  message: is loud\n"
    narrator.say(entry.rstrip())
    _file(node).write_text(entry)
