"""The story of a GPU that is divided into virtual functions for claims on a share of it, and whole again afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dra_common.model import ClaimRef
from dra_common.testing.allocator.quantities import parse_quantity
from dra_common.testing.demo import Narrator
from dra_common.testing.demo.claims import (
    allocated,
    at,
    bdf,
    device,
    nothing_left,
    opaque,
    pending,
    result,
    spec,
    take_back,
)
from dra_common.testing.node import SimulatedNode

from gpu_driver.config import KIND as CONFIG
from gpu_driver.device import VFIO_DRIVERS, split_mode
from gpu_driver.driver import NAME
from gpu_driver.modes import MODE
from gpu_driver.policy import KIND

_MODES = "[1, 2, 4]"
_SHARES = "gpu-vf.intel.com"
_IS_MODE = f'"{MODE}" in device.attributes["{NAME}"]'
_CLASSES = {NAME: f"!({_IS_MODE})", _SHARES: _IS_MODE}
"""DeviceClasses as the chart has them, and what they select."""


@dataclass(frozen=True, slots=True)
class _Hero:
    """The GPU of the story, the mode that it will be in, how it was found, and all that was offered then."""

    gpu: str
    mode: Mapping[str, Any]
    found: tuple[str, ...]
    offered: tuple[str, ...]

    @property
    def shares(self) -> int:
        return int(self.mode["capacity"]["vfs"]["value"])


def vf(node: SimulatedNode, narrator: Narrator) -> None:
    """Divide a GPU for claims, keep everybody else out, and have it whole again."""
    hero = _start(node, narrator)
    first = _first(node, narrator, hero)
    second = _second(node, narrator, hero, first)
    whole = _whole(node, narrator, hero)
    third = _by_memory(node, narrator, hero)
    machine = _machine(node, narrator, hero)
    holders = (first, second, third, machine)
    _full(node, narrator, hero)
    _killed(node, narrator, hero, holders)
    _last(node, narrator, hero, holders)
    _end(node, narrator, hero, whole)


# --------------------------------------------------------------------------- 1: what is offered


def _start(node: SimulatedNode, narrator: Narrator) -> _Hero:
    narrator.step(
        f"A simulated machine ({node.profile}) with the real gpu-driver; claims may have GPUs divided"
    )
    narrator.say(_configure(node))
    for name, expression in _CLASSES.items():
        selectors = [{"cel": {"expression": f'device.driver == "{NAME}" && {expression}'}}]
        node.api.put("DeviceClass", {"metadata": {"name": name}, "spec": {"selectors": selectors}})
    with narrator.waiting("the driver starts and registers with the kubelet"):
        node.start_driver(_configured(node))
        devices = node.wait_published()
    modes = [one for one in devices if MODE in one["attributes"]]
    narrator.need(
        "this story needs a GPU that its kernel driver divides: choose another with --profile", modes
    )
    narrator.table("devices", ("DEVICE", "MODE", "SHARES", "MEMORY, OF EACH"), [_row(one) for one in devices])
    gpu = _whole_of(modes[0])
    mine = [one for one in modes if _whole_of(one) == gpu]
    takes = [device(node, gpu), *mine]
    same = all(one["consumesCounters"] == mine[0]["consumesCounters"] for one in takes)
    narrator.check(
        f"{gpu} and its {len(mine)} modes take the same counter, so one of them is given", same, takes
    )
    found = _state(node, gpu)
    narrator.check("nothing is divided yet", found[0] == "0", found)
    return _Hero(gpu, max(mine, key=_shares), found, _offered(node))


def _configured(node: SimulatedNode) -> str:
    return f"--config={node.root / 'config.yaml'}"


def _configure(node: SimulatedNode) -> str:
    text = f"apiVersion: {KIND.api_version}\nkind: {KIND.kind}\n"
    text += f"devices:\n  - match: {{}}\n    sriov: {{modes: {_MODES}}}\n"
    (node.root / "config.yaml").write_text(text)
    return text


def _row(device: Mapping[str, Any]) -> tuple[str, str, str, str]:
    attributes, memory = device["attributes"], device.get("capacity", {}).get("memory", {})
    if MODE not in attributes:
        whole = "" if attributes["type"]["string"] == "vf" else "whole"
        return device["name"], whole, "", memory.get("value", "unknown")
    share = memory.get("requestPolicy", {}).get("default", "unknown")
    return device["name"], attributes[MODE]["string"], str(_shares(device)), share


def _shares(device: Mapping[str, Any]) -> int:
    return int(device["capacity"]["vfs"]["value"])


# --------------------------------------------------------------------------- 2: shares of it


def _first(node: SimulatedNode, narrator: Narrator, hero: _Hero) -> ClaimRef:
    name = hero.mode["attributes"][MODE]["string"]
    narrator.step(f"The first claim on a share decides: mode {name}")
    ref = node.create_claim("first", _share(f'device.attributes["{NAME}"].{MODE} == "{name}"'))
    _give(node, narrator, ref, hero)
    narrator.check(f"the kernel made {hero.shares} VFs", _state(node, hero.gpu)[0] == str(hero.shares))
    bound = _bindings(node, hero.gpu)
    narrator.check("one of them is bound, the others wait for claims", len(bound) == 1, bound)
    kinds = sorted(path.rstrip("0123456789") for path in _nodes(node, ref))
    narrator.check("the container sees its VF", kinds == ["/dev/dri/card", "/dev/dri/renderD"], kinds)
    offered = _offered(node)
    narrator.check("VFs that are made for claims are not offered to others", offered == hero.offered, offered)
    return ref


def _second(node: SimulatedNode, narrator: Narrator, hero: _Hero, first: ClaimRef) -> ClaimRef:
    narrator.step("The second one, for any share")
    ref = node.create_claim("second", _share())
    _give(node, narrator, ref, hero)
    rows = [(each.name, *_nodes(node, each)) for each in (first, ref)]
    narrator.table("nodes", ("CLAIM", "CARD", "RENDER NODE"), rows)
    common = {*_nodes(node, first)} & {*_nodes(node, ref)}
    narrator.check("it has a VF of its own", not common, common)
    return ref


def _whole(node: SimulatedNode, narrator: Narrator, hero: _Hero) -> ClaimRef:
    narrator.step("A claim on the whole GPU waits")
    ref = node.create_claim("whole", spec(NAME, at(hero.gpu)))
    why = _why(narrator, pending(node, narrator, ref))
    narrator.check("because of the counter", f"counter {hero.gpu}.{MODE}, 0 is left" in why)
    thief = node.create_claim("thief", spec(NAME))
    node.allocate_past_scheduler(thief, hero.gpu)
    error = node.refusal(thief)
    narrator.check("past the scheduler it is refused on the node", "it is in mode" in error, error)
    narrator.say(error)
    node.delete_claim(thief)
    return ref


def _by_memory(node: SimulatedNode, narrator: Narrator, hero: _Hero) -> ClaimRef:
    share = hero.mode["capacity"]["memory"]["requestPolicy"]["default"]
    wanted = f"{int(parse_quantity(share)) // 2**20 // 2}Mi"
    narrator.step(f"A claim on a share with at least {wanted} of memory")
    ref = node.create_claim("third", _share(memory=wanted))
    _give(node, narrator, ref, hero)
    takes = result(node, ref)["consumedCapacity"]
    narrator.check(f"it has all {share} of its VF", takes == {"memory": share, "vfs": "1"}, takes)
    return ref


def _machine(node: SimulatedNode, narrator: Narrator, hero: _Hero) -> ClaimRef:
    narrator.step("A claim on a share for a virtual machine")
    narrator.say(f"{CONFIG.kind} of {CONFIG.api_version}: binding: vfio")
    ref = node.create_claim("machine", _share(config=opaque(CONFIG, binding="vfio")))
    _give(node, narrator, ref, hero)
    paths = _nodes(node, ref)
    group = [path for path in paths if path.startswith("/dev/vfio/") and path[10:].isdigit()]
    narrator.check("the container has the node of one IOMMU group", len(group) == 1, paths)
    narrator.check("it has no DRM node", not [path for path in paths if "/dri/" in path], paths)
    bound = sorted(_bindings(node, hero.gpu))
    narrator.table("bindings", ("VF", "KERNEL DRIVER"), bound)
    on_vfio = [driver for _, driver in bound if driver in VFIO_DRIVERS]
    narrator.check("one VF is bound to VFIO, and only that", len(on_vfio) == 1, bound)
    return ref


def _full(node: SimulatedNode, narrator: Narrator, hero: _Hero) -> None:
    narrator.step(f"There are {hero.shares} shares, and all are given")
    ref = node.create_claim("late", _share())
    why = _why(narrator, pending(node, narrator, ref))
    narrator.check("because no share is left", f"{hero.mode['name']}: " in why)
    node.delete_claim(ref)


# --------------------------------------------------------------------------- 3: kill, and back


def _killed(node: SimulatedNode, narrator: Narrator, hero: _Hero, holders: Sequence[ClaimRef]) -> None:
    narrator.step("kill -9, with all shares in use")
    before = [node.prepare(ref) for ref in holders], _bindings(node, hero.gpu)
    node.kill_driver()
    narrator.check("the VFs are there without the driver", _bindings(node, hero.gpu) == before[1])
    with narrator.waiting("the driver starts again"):
        node.start_driver(_configured(node))
    after = [node.prepare(ref) for ref in holders], _bindings(node, hero.gpu)
    narrator.check("all claims have the same answers, and no VF was touched", before == after, after)


def _last(node: SimulatedNode, narrator: Narrator, hero: _Hero, holders: Sequence[ClaimRef]) -> None:
    narrator.step("The claims end")
    *others, last = holders
    for ref in others:
        take_back(node, narrator, ref)
    kept, bound = _state(node, hero.gpu)[0], _bindings(node, hero.gpu)
    narrator.check(
        "the VFs stay for the one that is left", (kept, len(bound)) == (str(hero.shares), 1), bound
    )
    take_back(node, narrator, last)
    now = _state(node, hero.gpu)
    narrator.table("found", ("sriov_numvfs", "sriov_drivers_autoprobe", "KERNEL DRIVER"), [now])
    narrator.check("with the last one the GPU is as it was found", now == hero.found, now)
    narrator.check("no record, hold or CDI file is left", node.leftovers() == [], node.leftovers())


def _end(node: SimulatedNode, narrator: Narrator, hero: _Hero, whole: ClaimRef) -> None:
    narrator.step("Now the whole GPU can be had")
    allocated(node, narrator, whole)
    answer = node.prepare(whole)
    narrator.check(f"and has {hero.gpu}", [one.device for one in answer] == [hero.gpu], answer)
    late = node.create_claim("late", _share(f'device.attributes["{NAME}"].parent == "{bdf(hero.gpu)}"'))
    pending(node, narrator, late, "a claim on a share of it waits now")
    take_back(node, narrator, whole)
    nothing_left(node, narrator)


# --------------------------------------------------------------------------- the node


def _share(selector: str = "", config: Mapping[str, Any] | None = None, **capacity: str) -> dict[str, Any]:
    amounts = {"capacity": {"requests": capacity}} if capacity else {}
    return spec(NAME, selector, config, deviceClassName=_SHARES, **amounts)


def _give(node: SimulatedNode, narrator: Narrator, ref: ClaimRef, hero: _Hero) -> None:
    allocated(node, narrator, ref, f"claim {ref.name} is allocated a share")
    found = result(node, ref)
    narrator.check(f"of {hero.mode['name']}", found["device"] == hero.mode["name"], found)
    with narrator.waiting("the driver prepares it"):
        answer = node.prepare(ref)
    narrator.check("and prepared", [one.share_id for one in answer] == [found["shareID"]], answer)


def _why(narrator: Narrator, outcome: str) -> str:
    """Say what is used up; of devices that are of no interest nothing."""
    said = "\n".join(line.strip() for line in outcome.splitlines() if "is left" in line)
    narrator.say(said)
    return said


def _offered(node: SimulatedNode) -> tuple[str, ...]:
    return tuple(one["name"] for one in node.devices())


def _nodes(node: SimulatedNode, ref: ClaimRef) -> list[str]:
    """Device nodes of a prepared claim's container."""
    return sorted(node.resolve(node.prepare(ref)).device_nodes)


def _whole_of(device: Mapping[str, Any]) -> str:
    """Return the name of the GPU of a mode, and of any other device its own."""
    split = split_mode(device["name"])
    return split[0] if split else str(device["name"])


def _state(node: SimulatedNode, gpu: str) -> tuple[str, ...]:
    """Read sriov_numvfs, sriov_drivers_autoprobe and the kernel driver."""
    folder = node.machine / "sys/bus/pci/devices" / bdf(gpu)
    files = [(folder / f"sriov_{name}").read_text().strip() for name in ("numvfs", "drivers_autoprobe")]
    return *files, (folder / "driver").readlink().name


def _bindings(node: SimulatedNode, gpu: str) -> set[tuple[str, str]]:
    """Read which VFs are bound, and to what."""
    folders = [*(node.machine / "sys/bus/pci/devices" / bdf(gpu)).glob("virtfn*")]
    bound = [(link.resolve(), link / "driver") for link in folders if (link / "driver").is_symlink()]
    return {(folder.name, driver.readlink().name) for folder, driver in bound}
