"""The story of a GPU that goes to a virtual machine, whole, and comes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dra_common.model import ClaimRef
from dra_common.simulate import ControlClient
from dra_common.testing.demo import Narrator
from dra_common.testing.demo.claims import allocated, at, bdf, device, hand, nothing_left, opaque, spec
from dra_common.testing.node import SimulatedNode

from gpu_driver.config import KIND
from gpu_driver.device import DRM_DRIVERS, VFIO_DRIVERS
from gpu_driver.driver import NAME


def vfio(node: SimulatedNode, narrator: Narrator) -> None:
    """Give a GPU through VFIO, with what is in the way of it, and take it back."""
    gpu, native = _start(node, narrator)
    machine = _to_a_virtual_machine(node, narrator, gpu)
    _others(node, narrator, gpu, machine)
    _killed(node, narrator, gpu, machine)
    _back(node, narrator, gpu, native, machine)
    _past_kubernetes(node, narrator, gpu, native)


def _start(node: SimulatedNode, narrator: Narrator) -> tuple[str, str]:
    """Return a GPU that can be given through VFIO, and its kernel driver."""
    narrator.step(f"A simulated machine ({node.profile}) with the real gpu-driver")
    with narrator.waiting("the driver starts and registers with the kubelet"):
        node.start_driver()
        devices = node.wait_published()
    _show(node, narrator)
    fit = [
        (one["name"], driver)
        for one in devices
        if (driver := _driver(one)) in DRM_DRIVERS and not one.get("taints")
    ]
    narrator.need("this story needs a GPU on i915 or xe: choose another machine with --profile", fit)
    return fit[0]


def _to_a_virtual_machine(node: SimulatedNode, narrator: Narrator, gpu: str) -> ClaimRef:
    narrator.step("A claim that wants its GPU whole, for a virtual machine")
    narrator.say(f"GpuConfig of {KIND.api_version}: binding: vfio")
    ref = node.create_claim("machine", spec(NAME, at(gpu), opaque(KIND, binding="vfio")))
    allocated(node, narrator, ref, f"the allocator chose {gpu}")
    with narrator.waiting("the driver binds it to VFIO"):
        edits = node.resolve(node.prepare(ref))
    rows = [(path, str(given.get("hostPath", path))) for path, given in edits.device_nodes.items()]
    narrator.table("container", ("CONTAINER GETS", "FROM THE HOST'S"), rows)
    paths = list(edits.device_nodes)
    group = [path for path in paths if path.startswith("/dev/vfio/") and path[10:].isdigit()]
    narrator.check("the container has the node of one IOMMU group", len(group) == 1, paths)
    narrator.check("it has no DRM node", not [path for path in paths if "/dri/" in path], paths)
    _wait_driver(node, narrator, gpu, *VFIO_DRIVERS)
    return ref


def _others(node: SimulatedNode, narrator: Narrator, gpu: str, machine: ClaimRef) -> None:
    narrator.step("Nobody takes it away")
    thief = node.create_claim("thief", spec(NAME, at(gpu)))
    node.allocate_past_scheduler(thief, gpu)
    error = node.refusal(thief)
    narrator.check(
        f"a second claim is refused and told the holder, {machine.name}", f"claim {machine}" in error, error
    )
    watcher = node.create_claim("watcher", spec(NAME, at(gpu), adminAccess=True))
    allocated(node, narrator, watcher, "a monitor with adminAccess is let in beside it")
    answer = node.prepare(watcher)
    narrator.check(
        "it gets nothing to open", not [name for given in answer for name in given.cdi_ids], answer
    )
    narrator.check("and the GPU stays on VFIO", _bound(node, gpu) in VFIO_DRIVERS, _bound(node, gpu))
    for ref in (thief, watcher):
        node.unprepare(ref)
        node.delete_claim(ref)


def _killed(node: SimulatedNode, narrator: Narrator, gpu: str, machine: ClaimRef) -> None:
    narrator.step("kill -9 while the virtual machine runs")
    answer = node.prepare(machine)
    node.kill_driver()
    with narrator.waiting("the driver starts again"):
        node.start_driver()
    narrator.check("the claim has the same answer", node.prepare(machine) == answer)
    narrator.check("the GPU was not touched", _bound(node, gpu) in VFIO_DRIVERS, _bound(node, gpu))


def _back(node: SimulatedNode, narrator: Narrator, gpu: str, native: str, machine: ClaimRef) -> None:
    narrator.step("The virtual machine ends, and its claim with it")
    with narrator.waiting("the driver gives the GPU back"):
        node.unprepare(machine)
    node.delete_claim(machine)
    narrator.check(f"it is bound to {native} again", _bound(node, gpu) == native, _bound(node, gpu))
    narrator.check("no record, hold or CDI file is left", node.leftovers() == [], node.leftovers())
    _wait_driver(node, narrator, gpu, native)
    _show(node, narrator)


def _past_kubernetes(node: SimulatedNode, narrator: Narrator, gpu: str, native: str) -> None:
    narrator.step("Somebody gives the GPU to a virtual machine past Kubernetes")
    _write(node, gpu, "driver_override", "vfio-pci")
    _write(node, gpu, "driver/unbind", bdf(gpu))
    _probe(node, gpu)
    with _open(node, gpu):
        ref = node.create_claim("unlucky", spec(NAME, at(gpu)))
        node.allocate_past_scheduler(ref, gpu)
        error = node.refusal(ref)
        narrator.check("a claim does not pull it out from under that machine", "has it open" in error, error)
        narrator.say(error)
    with narrator.waiting("that machine ends; the kubelet asks again"):
        edits = node.resolve(node.prepare(ref))
    narrator.check(
        f"the claim has the GPU on {native}", _bound(node, gpu) == native, list(edits.device_nodes)
    )
    node.unprepare(ref)
    narrator.check(
        "and VFIO has it back, as it was found", _bound(node, gpu) == "vfio-pci", _bound(node, gpu)
    )
    nothing_left(node, narrator)


# --------------------------------------------------------------------------- the node


def _driver(published: Mapping[str, Any]) -> str:
    return str(published["attributes"]["driver"]["string"])


def _show(node: SimulatedNode, narrator: Narrator) -> None:
    header = ("DEVICE", "MODEL", "KERNEL DRIVER")
    rows = [(one["name"], one["attributes"]["model"]["string"], _driver(one)) for one in node.devices()]
    narrator.table("devices", header, rows)


def _wait_driver(node: SimulatedNode, narrator: Narrator, gpu: str, *drivers: str) -> None:
    def published() -> str:
        return _driver(device(node, gpu))

    node.wait(lambda: published() in drivers, "the slice to say so")
    narrator.check(f"its ResourceSlice says {published()}", truth=True)


def _folder(gpu: str) -> str:
    return f"bus/pci/devices/{bdf(gpu)}"


def _bound(node: SimulatedNode, gpu: str) -> str:
    link = node.machine / "sys" / _folder(gpu) / "driver"
    return link.readlink().name if link.is_symlink() else ""


def _write(node: SimulatedNode, gpu: str, name: str, value: str) -> None:
    hand(node, "write", path=f"{_folder(gpu)}/{name}", value=value)


def _probe(node: SimulatedNode, gpu: str) -> None:
    hand(node, "write", path="bus/pci/drivers_probe", value=bdf(gpu))


@contextmanager
def _open(node: SimulatedNode, gpu: str) -> Iterator[None]:
    """Have it open through its IOMMU group, as a virtual machine has."""
    link = node.machine / "sys" / _folder(gpu) / "iommu_group"
    client = ControlClient(node.machine)
    with client.connect() as connection, connection.makefile("rwb") as stream:
        client.exchange(stream, "open", node=f"vfio/{link.readlink().name}", bdf=bdf(gpu))
        yield
