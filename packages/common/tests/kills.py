"""A node whose driver dies, or whose disk fails, at any change; and everything that must be true of it afterwards."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dra_common.model import ClaimRef, Phase, PreparedDevice
from dra_common.records import decode
from dra_common.testing.forks import Forker
from dra_common.testing.knobnode import OFF, KnobNode
from dra_common.testing.knobs import DRIVER
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.mortal import Orders
from dra_common.testing.node import PrepareFailed
from dra_common.testing.waiting import wait_until
from goclaims import entry

LEVEL = 5
PAIR = ("a", "b")
BYSTANDER = "c"
SHARES = ("0a", "0b")
_TRIES = 5
FOLDERS = ("claims", "held", "hardware", "sockets", "adopted")


@dataclass
class World:
    """A node with a driver that follows orders, a claim under test, and a bystander whom nothing may happen to."""

    node: KnobNode
    hurried: bool = False
    """Whether the publisher is not waited for: after many changes it takes five seconds for each."""
    unfinished: tuple[str, ...] = ()
    """Ends of files that may stand beside a good record: a disk that takes no change lets nobody tidy up.

    It also keeps a dead server's mark in place until the next start.
    """

    def __post_init__(self) -> None:
        self.orders, self.changes = self.node.root / "orders", self.node.root / "changes"
        self.start()
        self.bystander = self.node.knob_claim("bystander", BYSTANDER)
        self.kept = self.node.prepare(self.bystander)
        self.claim = self.node.knob_claim("one", *PAIR, level=LEVEL)
        self.old = self.node.knob_claim("old", *PAIR)
        self.thief = self.node.knob_claim("thief", PAIR[0])
        self.sharers = [self.node.knob_claim(f"share-{share}", *PAIR, share=share) for share in SHARES]
        self.settle()

    # ------------------------------------------------------------------ the driver's lives

    def order(self, orders: Orders) -> None:
        """Count anew from here, and let happen what ``orders`` say."""
        fresh = self.node.root / "orders.new"
        fresh.write_text(str(orders))
        fresh.replace(self.orders)

    def begin(self, orders: Orders = Orders()) -> None:  # noqa: B008 - frozen
        """Start the driver, which follows ``orders`` from its first change; it may never get further."""
        self.turn = False
        self.changes.unlink(missing_ok=True)
        self.order(orders)
        mortal = (f"--orders={self.orders}", f"--count={self.changes}")
        self.node.start_driver(wait=False, mortal=mortal)

    def start(self) -> None:
        """Start the driver and wait until it serves and has published."""
        self.begin()
        self.settle()

    def end(self) -> None:
        """SIGKILL from outside."""
        if self.alive:
            self.node.kill_driver()

    @property
    def alive(self) -> bool:
        process = self.node.process
        return process is not None and process.poll() is None

    def survives(self) -> bool:
        """Wait until the driver has died, or nothing is left that it will do by itself; whether it lives."""
        wait_until(lambda: not self.alive or self.is_settled(), "the driver's end or rest", seconds=60)
        lives = self.alive
        if not lives:
            self.node.kubelet.wait_disconnected(DRIVER, timeout=60)
        return lives

    def settle(self) -> None:
        self.node.wait(self.is_settled, "the driver to register and to publish what is true")

    def is_settled(self) -> bool:
        return (
            self.node._registered()
            and self._publishes()
            and (self.hurried or self.published() == self.levels())
        )

    def _publishes(self) -> bool:
        """Whether this life has the publisher's lock, which may be its last act if nothing has to be published."""
        self.turn = self.turn or any("write" in line and "publish.lock" in line for line in self.counted())
        return self.turn

    # ------------------------------------------------------------------ what is to be seen

    def levels(self) -> dict[str, int]:
        return {path.name: int(path.read_text()) for path in self.node.knob("x").parent.iterdir()}

    def published(self) -> Mapping[str, int] | None:
        """Return device -> level in a pool that the scheduler takes for complete and valid, None for any other."""
        slices = self.node.slices()
        pools = {
            (item["spec"]["pool"]["generation"], item["spec"]["pool"]["resourceSliceCount"])
            for item in slices
        }
        if len(pools) != 1 or len(slices) != next(iter(pools))[1]:
            return None
        devices = [device for item in slices for device in item["spec"].get("devices", ())]
        found = {device["name"]: int(device["attributes"]["level"]["int"]) for device in devices}
        return found if len(found) == len(devices) else None

    def counted(self) -> list[str]:
        """Return the changes since the last orders, with short paths; none was made beside the seam."""
        lines = self.changes.read_text().splitlines() if self.changes.exists() else []
        assert not [line for line in lines if line.startswith("beside")], lines
        return [line.replace(f"{self.node.root}/", "") for line in lines]

    def check_disk(self) -> None:
        """Check that everything on disk belongs to a claim that is prepared, and that nothing else is there."""
        state = self.node.state
        assert _visible(state) <= {*FOLDERS, "dra.sock", "publish.lock"}
        assert len(list((state / "sockets").iterdir())) == len(("dra.sock", "reg.sock")) or self.unfinished
        assert _visible(self.node.registry) == {f"{DRIVER}-reg.sock"}
        files = sorted((state / "claims").iterdir())
        records = {
            path.stem: decode(path.read_bytes(), name=path.name) for path in files if path.suffix == ".json"
        }
        ends = ("json", "lock", *self.unfinished)
        assert {path.name for path in files} <= {f"{uid}.{end}" for uid in records for end in ends}
        assert {record.phase for record in records.values()} <= {Phase.PREPARED}
        held = {_name(path, state / "held"): str(path.readlink()) for path in _links(state / "held")}
        assert held == {
            "/".join(filter(None, (planned.allocated.device, planned.allocated.share_id))): uid
            for uid, record in records.items()
            for planned in record.plan.devices
        }
        specs = {re.sub(r".*_|\.json(\.tmp)?$", "", path.name) for path in self.node.cdi.iterdir()}
        assert specs <= set(records)
        changed = {name for name, level in self.levels().items() if level != OFF}
        assert changed == (set(PAIR) if self.claim.uid in specs else set())

    def check_answer(self, ref: ClaimRef, answer: Sequence[PreparedDevice], *devices: str) -> None:
        """Check the kubelet's answer, and what a container runtime makes of it."""
        assert [each.cdi_ids for each in answer] == [
            (f"example.com/knob={ref.uid}-{name}",) for name in devices
        ]
        edits = self.node.resolve(answer)
        nodes = {name: str(edit["hostPath"]) for name, edit in edits.device_nodes.items()}
        assert nodes == {f"/dev/{name}": str(self.node.node_of(name)) for name in devices}
        assert edits.env == {"KNOB": str(self.node.level(devices[0]))}

    def check_whole_life(self) -> None:
        """Check that the claim can be prepared, keeps others out, and leaves nothing; and the bystander's too."""
        answer = self.node.prepare(self.claim)
        self.check_answer(self.claim, answer, *PAIR)
        assert [self.node.level(name) for name in PAIR] == [LEVEL, LEVEL]
        assert "held by claim default/one" in self.refusal(self.thief)
        again = self.node.prepare(self.bystander)
        assert again == self.kept
        self.check_answer(self.bystander, again, BYSTANDER)
        self.check_disk()
        self.check_unprepared(self.claim)

    def check_unprepared(self, ref: ClaimRef) -> None:
        """Check that unprepare succeeds and leaves nothing but the bystander's files."""
        self.node.unprepare(ref)
        self.node.prepare(self.bystander)
        self.check_disk()
        left = [name for name in self.node.leftovers() if self.bystander.uid not in name]
        assert [name for name in left if not re.search(r"held/c$|hardware/[\w-]+\.lock$", name)] == []
        self.settle()

    def refusal(self, ref: ClaimRef) -> str:
        try:
            return f"prepared: {self.node.prepare(ref)}"
        except PrepareFailed as error:
            return str(error)


def _visible(folder: Path) -> set[str]:
    """Names in a folder but those of sockets that a kill kept from appearing; starts remove them when they are old."""
    return {path.name for path in folder.iterdir() if not (path.name.startswith(".") and path.is_socket())}


def _links(held: Path) -> Iterator[Path]:
    """What is in the folder of holds and the folders in it, none of which is empty."""
    for path in held.iterdir():
        inside = [path] if path.is_symlink() else list(path.iterdir())
        assert inside, f"{path} is a folder without shares"
        yield from inside


def _name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder))


@contextmanager
def world(root: Path, forker: Forker | None) -> Iterator[World]:
    """Yield a world; without a forker each of its processes is started from nothing."""
    with KnobNode(root, forker=forker) as node:
        yield World(node)


# ---------------------------------------------------------------------- scenarios


class Scenario(Protocol):
    """One thing a driver does, that may be cut short anywhere."""

    name: str
    by_starting: bool
    """Whether it is done by the driver's start, and not by a call."""

    def setup(self, world: World) -> None:
        """Bring the world, whose driver is at rest, to where the scenario begins."""

    def act(self, world: World) -> None:
        """Call the driver. Raises KubeletCallError when it dies meanwhile."""

    def check(self, world: World) -> None:
        """Check that everything is as if nothing had happened; the driver was started again and is at rest."""


class Prepare:
    """Two devices, both with a change of hardware."""

    name, by_starting = "prepare", False

    def setup(self, world: World) -> None:
        """Nothing is there."""

    def act(self, world: World) -> None:
        world.node.prepare(world.claim)

    def check(self, world: World) -> None:
        world.check_disk()
        world.check_whole_life()


class Unprepare:
    """The way back."""

    name, by_starting = "unprepare", False

    def setup(self, world: World) -> None:
        world.node.prepare(world.claim)

    def act(self, world: World) -> None:
        world.node.unprepare(world.claim)

    def check(self, world: World) -> None:
        world.check_disk()
        world.check_unprepared(world.claim)
        world.check_whole_life()


class Share:
    """A share of two devices, of which another claim has a share already, or nobody."""

    by_starting = False

    def __init__(self, *, first: bool) -> None:
        self.first = first
        self.name = "share/first" if first else "share/second"

    def setup(self, world: World) -> None:
        if not self.first:
            world.node.prepare(world.sharers[0])

    def act(self, world: World) -> None:
        world.node.prepare(world.sharers[1])

    def check(self, world: World) -> None:
        world.check_disk()
        check_shared(world)
        world.check_whole_life()


class Unshare:
    """The way back: of one share while there is another, then of the last."""

    name, by_starting = "unshare", False

    def setup(self, world: World) -> None:
        for ref in world.sharers:
            world.node.prepare(ref)

    def act(self, world: World) -> None:
        for ref in world.sharers:
            world.node.unprepare(ref)

    def check(self, world: World) -> None:
        world.check_disk()
        check_shared(world)
        world.check_whole_life()


def check_shared(world: World) -> None:
    """Check that both claims get their shares and keep out who wants a device whole, up to the last of them."""
    for ref, share in zip(world.sharers, SHARES, strict=True):
        answer = world.node.prepare(ref)
        assert [(each.device, each.share_id) for each in answer] == [(name, share) for name in PAIR]
        assert [each.cdi_ids for each in answer] == [
            (f"example.com/knob={ref.uid}-{name}-{share}",) for name in PAIR
        ]
        assert world.node.resolve(answer).device_nodes.keys() == {f"/dev/{name}" for name in PAIR}
    for ref in world.sharers:
        assert "device a is held by claim default/share-" in world.refusal(world.thief)
        world.check_disk()
        world.node.unprepare(ref)
    world.check_disk()


class Reprepare:
    """After a reboot: the same answer, on devices that have other numbers."""

    name, by_starting = "reprepare", False

    def setup(self, world: World) -> None:
        world.node.prepare(world.claim)
        world.end()
        world.node.boot()
        world.start()

    def act(self, world: World) -> None:
        world.node.prepare(world.claim)

    def check(self, world: World) -> None:
        world.check_whole_life()


@dataclass
class Recover:
    """The start after a crash between the first device's hardware and the second's."""

    call: Prepare | Unprepare
    by_starting: bool = True

    @property
    def name(self) -> str:
        return f"recover/{self.call.name}"

    def setup(self, world: World) -> None:
        # What the publisher changes beside the call may come between the two: then it died elsewhere, and we try again.
        for _ in range(_TRIES):
            if self._die_between(world):
                return
            world.order(Orders())
            world.start()
            self.call.check(world)
        raise AssertionError(f"not once in {_TRIES} times did it die between the two devices")

    def act(self, world: World) -> None:
        """The start is the act."""

    def check(self, world: World) -> None:
        self.call.check(world)

    def _die_between(self, world: World) -> bool:
        """Whether only one of two devices has been changed when the process dies."""
        self.call.setup(world)
        world.settle()
        second = self._second_write(world)
        world.order(Orders("kill-before", second))
        call(world, self.call)
        assert not world.survives()
        return sorted(world.node.level(name) for name in PAIR) == [OFF, LEVEL]

    def _second_write(self, world: World) -> int:
        """Number of the second change of hardware in the call, counted in a rehearsal."""
        world.order(Orders())
        self.call.act(world)
        hardware = [number for number, line in enumerate(world.counted(), 1) if " hardware " in line]
        if self.call.name == "prepare":
            world.node.unprepare(world.claim)
        else:
            world.node.prepare(world.claim)
        world.settle()
        return hardware[1]


class Publish:
    """A start on a machine that has more devices, or fewer, than were published: updates, creates, deletes."""

    name, by_starting = "publish", True
    few = (*PAIR, BYSTANDER)
    many = (*few, *(f"k{number}" for number in range(300)))

    def setup(self, world: World) -> None:
        world.end()
        world.node.have(self.few if len(world.levels()) > len(self.few) else self.many)

    def act(self, world: World) -> None:
        """The start is the act."""

    def check(self, world: World) -> None:
        world.check_disk()
        assert len(world.published() or ()) in (len(self.few), len(self.many))


class Adopt:
    """The first start after another driver of the same name, which left a claim and its CDI file."""

    name, by_starting = "adopt", True

    def setup(self, world: World) -> None:
        world.end()
        node = world.node
        checkpoint = node.state / "preparedClaims.json"
        checkpoint.write_text(json.dumps({world.old.uid: entry(*PAIR)}))
        os.utime(checkpoint, (node.booted + 10, node.booted + 10))
        devices = [
            {"name": name, "containerEdits": {"deviceNodes": [{"path": f"/dev/old-{name}"}]}} for name in PAIR
        ]
        spec = {"cdiVersion": "0.5.0", "kind": "example.com/knob", "devices": devices}
        file = node.static_cdi / "example.com-knob.yaml"
        file.write_text(json.dumps(spec))  # JSON is YAML
        file.chmod(0o600)

    def act(self, world: World) -> None:
        """The start is the act."""

    def check(self, world: World) -> None:
        node = world.node
        assert not (node.state / "preparedClaims.json").exists()
        for kept in node.state.glob("preparedClaims.json.adopted-*"):
            assert json.loads(kept.read_text()) == {world.old.uid: entry(*PAIR)}
            kept.unlink()
        answer = node.prepare(world.old)
        assert [each.cdi_ids for each in answer] == [(f"example.com/knob={name}",) for name in PAIR]
        nodes = [str(edit["hostPath"]) for edit in node.resolve(answer).device_nodes.values()]
        assert nodes == [str(node.node_of(name)) for name in PAIR]
        assert "held by claim" in world.refusal(world.thief)
        assert [node.level(name) for name in PAIR] == [OFF, OFF]
        world.check_unprepared(world.old)
        assert list(node.static_cdi.iterdir()) == []
        world.check_whole_life()


def call(world: World, scenario: Scenario) -> None:
    """Do what the scenario does; the driver may die under the call, and then is dead at the end of this one."""
    try:
        scenario.act(world)
    except KubeletCallError:
        wait_until(lambda: not world.alive, "the driver's end", seconds=60)


def call_error(world: World, scenario: Scenario) -> str:
    """Do what the scenario does with a driver that lives on; returns what the kubelet is told."""
    try:
        scenario.act(world)
    except PrepareFailed as error:
        return str(error)
    return ""


def play(world: World, scenario: Scenario, orders: Orders) -> bool:
    """Do the scenario once under ``orders``; whether the driver outlives it."""
    scenario.setup(world)
    if scenario.by_starting:
        world.end()
        world.begin(orders)
    else:
        world.settle()
        world.order(orders)
        call(world, scenario)
    return world.survives()
