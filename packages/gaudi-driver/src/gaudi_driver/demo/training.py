"""The story of a pod that trains on all Gaudis of a server, with what an operator and its containers see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.cdi import ResolvedEdits
from dra_common.testing.demo import Narrator
from dra_common.testing.demo import health as watch
from dra_common.testing.demo.claims import (
    allocated,
    bdf,
    hand,
    nothing_left,
    opaque,
    pending,
    spec,
    take_back,
)
from dra_common.testing.node import SimulatedNode

from gaudi_driver.config import KIND
from gaudi_driver.device import DRIVER
from gaudi_driver.driver import NAME

_GROUP = f"{NAME}/oamGroup"
_BOARD = 8
_CRITICAL = 1 << 1
"""The management library's event of a critical error."""

Answer = Sequence[PreparedDevice]


def training(node: SimulatedNode, narrator: Narrator) -> None:
    """Train on eight Gaudis beside a monitor, through the driver's death and the illness of one."""
    cards = _start(node, narrator)
    train, answer = _train(node, narrator)
    _containers(node, narrator, answer)
    monitor = _monitor(node, narrator, cards)
    _full(node, narrator, train, cards[0])
    _killed(node, narrator, train, answer)
    again = _ill(node, narrator, train, cards[-1])
    _recovered(node, narrator, cards[-1], again)
    _end(node, narrator, again, monitor)


# --------------------------------------------------------------------------- 1: what an operator sees


def _start(node: SimulatedNode, narrator: Narrator) -> list[str]:
    narrator.step(f"A simulated server ({node.profile}) with the real gaudi-driver")
    with narrator.waiting("the driver starts and registers with the kubelet"):
        node.start_driver()
        devices = node.wait_published()
    ring = [one for one in devices if _attribute(one, "oamGroup") and not one.get("taints")]
    narrator.need(
        f"this story needs a board with {_BOARD} connected Gaudis, machine {node.profile} has {len(ring)}: choose"
        " another with --profile",
        len(ring) == _BOARD,
    )
    cards = [str(one["name"]) for one in ring]
    node.wait(lambda: all(_attribute(one, "serial") for one in node.devices()), "who they are")
    header = ("DEVICE", "MODEL", "PLACE", "CONNECTED AS", "PORTS OUT", "SERIAL", "HEALTH")
    names = ("model", "moduleId", "oamGroup", "externalPorts", "serial", "health")
    rows = [(str(one["name"]), *(_attribute(one, name) for name in names)) for one in node.devices()]
    narrator.table("devices", header, rows)
    narrator.check("all are connected with one another", len({row[3] for row in rows}) == 1, rows)
    well = {watch.published(node, card) for card in cards} == {("Healthy", "")}
    narrator.check("their health is watched, without being asked for, and all are well", well, rows)
    return cards


def _attribute(device: Mapping[str, Any], name: str) -> str:
    return str(next(iter(device["attributes"].get(name, {}).values()), ""))


# --------------------------------------------------------------------------- 2: a pod that trains


def _train(node: SimulatedNode, narrator: Narrator) -> tuple[ClaimRef, Answer]:
    narrator.step("A pod wants eight connected Gaudis: seven to train on, and one to check the result")
    ref = node.create_claim("train", _two_requests())
    narrator.say(
        f"constraint: matchAttribute {_GROUP}; {KIND.kind}: topology: connected, moduleOrder: module"
    )
    allocated(node, narrator, ref)
    with narrator.waiting("the driver prepares the claim"):
        answer = node.prepare(ref)
    given = {device.device for device in answer}
    narrator.check(f"it has all {_BOARD} of them", len(given) == _BOARD, given)
    return ref, answer


def _two_requests() -> dict[str, Any]:
    wanted = spec(NAME, config=opaque(KIND, topology="connected", moduleOrder="module"))
    amounts = {"train": _BOARD - 1, "check": 1}
    wanted["devices"]["requests"] = [
        {"name": name, "exactly": {"deviceClassName": NAME, "count": count}}
        for name, count in amounts.items()
    ]
    wanted["devices"]["constraints"] = [{"matchAttribute": _GROUP}]
    return wanted


def _containers(node: SimulatedNode, narrator: Narrator, answer: Answer) -> None:
    narrator.step("What its containers see")
    seen = {name: _container(node, answer, request) for name, request in _CONTAINERS.items()}
    variables = sorted({name for edits in seen.values() for name in edits.env})
    header = ("VARIABLE", *(f"IN {name.upper()}" for name in seen))
    rows = [(name, *(_short(edits.env.get(name, "")) for edits in seen.values())) for name in variables]
    narrator.table("containers", header, rows)
    nodes = {name: set(edits.device_nodes) for name, edits in seen.items()}
    narrator.check(
        "each container has the nodes of its own Gaudis, and one of both those of both",
        nodes["trainer"].isdisjoint(nodes["checker"])
        and nodes["trainer"] | nodes["checker"] == nodes["both"],
        nodes,
    )
    counts = [len(edits.env["HABANA_VISIBLE_DEVICES"].split(",")) for edits in seen.values()]
    narrator.check("its variables name as many", counts == [_BOARD - 1, 1, _BOARD], counts)
    places = seen["both"].env["HABANA_VISIBLE_MODULES"]
    narrator.check("places are named in their order", places == ",".join(map(str, range(_BOARD))), places)
    hooks = [[hook["path"] for hook in edits.hooks] for edits in seen.values()]
    narrator.check(f"and each runs {hooks[0][0]} once", hooks == [hooks[0]] * len(seen), hooks)


_CONTAINERS = {"trainer": "train", "checker": "check", "both": ""}
"""Container -> the request that it names; none = it uses the whole claim."""


def _container(node: SimulatedNode, answer: Answer, request: str) -> ResolvedEdits:
    """Return what a container gets, as kubelet and runtime make it of the answer."""
    mine = [one for one in answer if not (request and one.requests) or request in one.requests]
    return node.resolve(mine)


def _short(text: str) -> str:
    """Return the list without the folder that all have in common."""
    return text.replace("/dev/accel/", "")


# --------------------------------------------------------------------------- 3: who else there is


def _monitor(node: SimulatedNode, narrator: Narrator, cards: Sequence[str]) -> ClaimRef:
    narrator.step("A monitor beside it, with adminAccess")
    ref = node.create_claim("monitor", spec(NAME, adminAccess=True, allocationMode="All"))
    allocated(node, narrator, ref)
    edits = node.resolve(node.prepare(ref))
    paths = list(edits.device_nodes)
    control = [path for path in paths if path.startswith("/dev/accel/accel_controlD")]
    narrator.check("it sees the control nodes of all", paths == control and len(paths) == len(cards), paths)
    narrator.check("no variable, no hook: it does not compute", not edits.env and not edits.hooks, edits.env)
    return ref


def _full(node: SimulatedNode, narrator: Narrator, train: ClaimRef, card: str) -> None:
    narrator.step("Somebody else wants one, too")
    late = node.create_claim("late", spec(NAME))
    pending(node, narrator, late)
    node.allocate_past_scheduler(late, card)
    error = node.refusal(late)
    narrator.check(
        "past the scheduler it is refused, and told the holder", f"held by claim {train}" in error, error
    )
    narrator.say(error)
    node.unprepare(late)
    node.delete_claim(late)


def _killed(node: SimulatedNode, narrator: Narrator, train: ClaimRef, answer: Answer) -> None:
    narrator.step("kill -9 in the middle of the training, and a container that starts again")
    before = node.resolve(answer)
    node.kill_driver()
    narrator.check("without the driver all its ids mean what they did", node.resolve(answer) == before)
    with narrator.waiting("the driver starts again"):
        node.start_driver()
    narrator.check("with it again, too", node.resolve(answer) == before)
    narrator.check("the claim has the same answer", tuple(node.prepare(train)) == tuple(answer))


# --------------------------------------------------------------------------- 4: one is ill


def _ill(node: SimulatedNode, narrator: Narrator, train: ClaimRef, card: str) -> ClaimRef:
    """Return the claim of the pod that takes the place of the evicted one."""
    narrator.step("Habana's management library reports a critical error of one Gaudi")
    with (node.machine / "hlml" / "devices" / bdf(card) / "events").open("a") as events:
        events.write(f"{_CRITICAL}\n")
    watch.wait(node, narrator, card, "Unhealthy", "CriticalError")
    watch.show(node, narrator)
    well = [one["name"] for one in node.devices() if watch.published(node, one["name"]) == ("Healthy", "")]
    narrator.check("the others are well", len(well) == _BOARD - 1, well)
    narrator.say("NoExecute: the cluster evicts the pod, and its claim ends.")
    take_back(node, narrator, train)
    again = node.create_claim("again", _two_requests())
    pending(node, narrator, again, "the claim of the pod in its place waits: there are seven")
    return again


def _recovered(node: SimulatedNode, narrator: Narrator, card: str, again: ClaimRef) -> None:
    narrator.step("An administrator resets it")
    place = f"bus/pci/drivers/{DRIVER}/{bdf(card)}/hard_reset"
    narrator.say(f"echo 1 > /sys/{place}")
    hand(node, "write", path=place, value="1")
    with narrator.waiting("for half a minute it has to work, before anybody gets it"):
        node.wait(lambda: watch.published(node, card) == ("Healthy", ""), "the proof that it works")
    watch.wait(node, narrator, card, "Healthy")
    allocated(node, narrator, again, f"claim {again.name} has all {_BOARD} now")
    edits = node.resolve(node.prepare(again))
    named = edits.env["HABANA_VISIBLE_DEVICES"].split(",")
    narrator.check("and its containers can use them", len(named) == _BOARD, named)
    told = {"DeviceUnhealthy", "DeviceRecovered"}
    node.wait(lambda: told <= {reason for reason, _ in watch.events(node)}, "the Events")
    narrator.table("events", ("EVENT ON THE NODE", "NOTE"), watch.events(node))


def _end(node: SimulatedNode, narrator: Narrator, *refs: ClaimRef) -> None:
    narrator.step("The claims end")
    for ref in refs:
        take_back(node, narrator, ref)
    nothing_left(node, narrator)
