"""The story of a GPU that goes bad and recovers, with what a user sees of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dra_common.model import ClaimRef
from dra_common.pci import split_name
from dra_common.simulate import ControlClient
from dra_common.testing.allocator import Allocation, Unsatisfiable
from dra_common.testing.demo import Narrator
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
    _wait(node, narrator, gpu, "Healthy")
    _show(node, narrator)
    return gpu


def _use(node: SimulatedNode, narrator: Narrator, gpu: str) -> ClaimRef:
    narrator.step("A pod uses a GPU")
    ref = node.create_claim("train", _spec(gpu))
    outcome = node.allocate(ref)
    narrator.check(f"its claim is allocated {gpu}", isinstance(outcome, Allocation), outcome)
    answer = node.prepare(ref)
    narrator.check("and prepared", [device.device for device in answer] == [gpu], answer)
    return ref


def _hang(node: SimulatedNode, narrator: Narrator, gpu: str) -> None:
    narrator.step("The GPU hangs, and its kernel driver gives it up")
    narrator.say("The kernel says so with an event: WEDGED=rebind,bus-reset")
    _machine(node, "wedge", bdf=_bdf(gpu), methods="rebind,bus-reset")
    _wait(node, narrator, gpu, "Unhealthy", "wedged")
    _show(node, narrator)
    narrator.say("NoExecute: the cluster now evicts the pod. Nobody new gets the GPU, not even beside it:")
    ref = node.create_claim("monitor", _spec(gpu, adminAccess=True))
    outcome = node.allocate(ref)
    narrator.check("the claim of a monitor is not allocated", isinstance(outcome, Unsatisfiable), outcome)
    narrator.say(str(outcome))
    node.delete_claim(ref)
    doctor = node.create_claim("doctor", _spec(gpu, adminAccess=True, **_TOLERATES))
    outcome = node.allocate(doctor)
    narrator.check(
        "one that tolerates it, to look what is wrong, is", isinstance(outcome, Allocation), outcome
    )
    node.delete_claim(doctor)


def _restart(node: SimulatedNode, narrator: Narrator, gpu: str) -> None:
    narrator.step("kill -9 of the driver while the GPU hangs")
    node.kill_driver()
    narrator.check("the kubelet no longer knows", _seen(node, gpu)[0] == "Unknown", _seen(node, gpu))
    with narrator.waiting("the driver starts again"):
        _start_driver(node)
    _wait(node, narrator, gpu, "Unhealthy", "wedged")


def _recover(node: SimulatedNode, narrator: Narrator, gpu: str) -> None:
    narrator.step("An administrator binds the GPU to its kernel driver again")
    driver = (node.machine / "sys/bus/pci/devices" / _bdf(gpu) / "driver").readlink().name
    for what in ("unbind", "bind"):
        _machine(node, "write", path=f"bus/pci/drivers/{driver}/{what}", value=_bdf(gpu))
    _wait(node, narrator, gpu, "Healthy")
    _show(node, narrator)


def _script(node: SimulatedNode, narrator: Narrator, gpu: str) -> None:
    narrator.step("A script of the site has something to say")
    _say(node, narrator, gpu, "warning")
    node.wait(lambda: "warning" in _seen(node, gpu)[1], "the kubelet to hear of it")
    narrator.check("a warning is told, and changes nothing", _published(node, gpu) == ("Healthy", ""))
    narrator.say(_seen(node, gpu)[1])
    _say(node, narrator, gpu, "critical")
    _wait(node, narrator, gpu, "Unhealthy", "fan-2")
    _file(node).write_text("- {device: what}")
    narrator.say("Then the script writes nonsense:")
    node.wait(lambda: "severity: Field required" in node.log.read_text(), "the driver to read it")
    narrator.check(
        "that makes no GPU healthy", _published(node, gpu) == ("Unhealthy", "fan-2"), _published(node, gpu)
    )
    _file(node).write_text("[]\n")
    narrator.say("Then that all is well:")
    _wait(node, narrator, gpu, "Healthy")


def _end(node: SimulatedNode, narrator: Narrator, user: ClaimRef) -> None:
    narrator.step("What was told to the cluster")

    def events() -> list[tuple[str, str]]:
        return [(str(event["reason"]), str(event["note"])) for event in node.api.objects("Event")]

    node.wait(
        lambda: {"DeviceUnhealthy", "DeviceRecovered"} <= {reason for reason, _ in events()}, "the Events"
    )
    narrator.table("events", ("EVENT ON THE NODE", "NOTE"), events())
    node.unprepare(user)
    narrator.check("nothing is left", node.leftovers() == [], node.leftovers())
    narrator.check("the driver ends with exit code 0 on SIGTERM", node.stop_driver() == 0)


# --------------------------------------------------------------------------- the node


def _spec(gpu: str, **exactly: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of the API
    selector = f'device.attributes["{NAME}"].pciAddress == "{_bdf(gpu)}"'
    wanted = {"deviceClassName": NAME, "selectors": [{"cel": {"expression": selector}}], **exactly}
    return {"devices": {"requests": [{"name": "gpu", "exactly": wanted}]}}


def _bdf(gpu: str) -> str:
    place = split_name(gpu)
    return place[0] if place else ""


def _machine(node: SimulatedNode, operation: str, **fields: str) -> None:
    ControlClient(node.machine).request(operation, **fields)


def _say(node: SimulatedNode, narrator: Narrator, gpu: str, severity: str) -> None:
    entry = f"- device: {gpu}\n  severity: {severity}\n  what: fan 2\n  message: is loud\n"
    narrator.say(entry.rstrip())
    _file(node).write_text(entry)


def _published(node: SimulatedNode, gpu: str) -> tuple[str, str]:
    """Return the attribute ``health``, and the value of the taint."""
    (device,) = (one for one in node.devices() if one["name"] == gpu)
    taints = [taint["value"] for taint in device.get("taints", ()) if taint["key"] == UNHEALTHY_TAINT]
    return str(device["attributes"]["health"]["string"]), "".join(taints)


def _seen(node: SimulatedNode, gpu: str) -> tuple[str, str]:
    """Return what the status of a pod with this GPU says: health and message."""
    seen = node.kubelet.health(NAME, node.name, gpu)
    return seen.status, seen.message


def _wait(node: SimulatedNode, narrator: Narrator, gpu: str, state: str, taint: str = "") -> None:
    node.wait(lambda: _published(node, gpu) == (state, taint), f"{gpu} to be {state} in its slice")
    told = f", with the taint {UNHEALTHY_TAINT}={taint}:NoExecute" if taint else ", without a taint"
    narrator.check(f"its ResourceSlice says {state}{told}", truth=True)
    node.wait(lambda: _seen(node, gpu)[0] == state, f"the kubelet to see {gpu} {state}")
    said = _seen(node, gpu)[1]
    narrator.check(f"the pod's status says {state}" + (f": {said}" if said else ""), truth=True)


def _show(node: SimulatedNode, narrator: Narrator) -> None:
    header = ("DEVICE", "MODEL", "HEALTH", "TAINT", "POD'S STATUS")
    rows = [
        (
            one["name"],
            one["attributes"]["model"]["string"],
            *_published(node, one["name"]),
            ": ".join(filter(None, _seen(node, one["name"]))),
        )
        for one in node.devices()
    ]
    narrator.table("devices", header, rows)
