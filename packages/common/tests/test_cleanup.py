"""``cleanup``: a real process takes a driver off a simulated node, and is killed while it does."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from dra_common.cleanup import remove_tree
from dra_common.errors import StateError
from dra_common.kubelet.marks import Marks
from dra_common.model import ClaimRef
from dra_common.simulate import Profile, Simulation, Simulator
from dra_common.testing.forks import Forker
from dra_common.testing.instance import Instance
from dra_common.testing.knobnode import KnobNode
from dra_common.testing.knobs import DRIVER
from goclaims import entry

POD = "5d4ec8a9-0d2f-4d8c-9f0b-1b2c3d4e5f60"


@dataclass(frozen=True)
class Said:
    code: int
    lines: list[str]

    @property
    def error(self) -> str:
        """The one line that it ended with."""
        assert self.code == 1, self.lines
        assert len(self.lines) == 1, self.lines
        return self.lines[0].removeprefix("knob-driver: ")


class Leaver:
    """A node, and somebody who cleans it up."""

    def __init__(self, node: KnobNode, forker: Forker) -> None:
        self.node, self._forker = node, forker
        self._log = node.root / "cleanup.log"

    def __call__(self, *more: str, mortal: Sequence[str] = ()) -> Said:
        self._log.unlink(missing_ok=True)
        places = [
            argument
            for argument in self.node.run_arguments()
            if argument.startswith(
                ("--node-name", "--kubeconfig", "--kubelet-", "--cdi-root", "--cdi-dynamic")
            )
        ]
        arguments = ["cleanup", *places, *more]
        code = self._forker.start(self.node.module, arguments, self._log, mortal=mortal).wait(60)
        return Said(code, self._log.read_text().splitlines())

    def left(self) -> list[str]:
        """Everything on the node and the API server that is or could be a driver's."""
        folders = (self.node.plugins, self.node.registry, self.node.cdi, self.node.static_cdi)
        files = [str(path.relative_to(self.node.root)) for folder in folders for path in folder.rglob("*")]
        return sorted([*files, *(item["metadata"]["name"] for item in self.node.slices())])

    def served(self) -> None:
        """Let a driver live a whole life here: it publishes, prepares, unprepares and stops."""
        self.node.start_driver()
        self.node.wait_published()
        ref = self.prepared("one", "a")
        self.node.unprepare(ref)
        self.node.delete_claim(ref)
        self.node.stop_driver()

    def prepared(self, name: str, device: str) -> ClaimRef:
        ref = self.node.knob_claim(name, device, level=5)
        self.node.prepare(ref)
        return ref


@pytest.fixture
def clean(short_tmp: Path, forker: Forker) -> Iterator[Leaver]:
    with KnobNode(short_tmp, forker=forker) as node:
        yield Leaver(node, forker)


# --------------------------------------------------------------------------- everything goes


def test_nothing_is_left_and_each_thing_is_named(clean: Leaver) -> None:
    clean.served()
    (published,) = (item["metadata"]["name"] for item in clean.node.slices())
    said = clean()
    assert said == Said(
        0,
        [
            f"removed ResourceSlice {published}",
            f"removed folder {clean.node.state}",
            f"nothing of {DRIVER} is left on node node-1",
        ],
    )
    assert clean.left() == []


def test_again_or_where_the_driver_never_was_is_fine(clean: Leaver) -> None:
    nothing = Said(0, [f"nothing of {DRIVER} is left on node node-1"])
    assert clean() == nothing
    clean.served()
    clean()
    assert clean() == nothing
    assert clean.left() == []


def test_a_driver_that_comes_back_finds_a_fresh_node(clean: Leaver) -> None:
    clean.served()
    clean()
    clean.served()
    assert clean.node.slices()


def test_what_a_killed_driver_left_goes_too(clean: Leaver) -> None:
    clean.node.start_driver(f"--pod-uid={POD}")
    clean.node.wait_published()
    clean.node.kill_driver()
    registration = clean.node.registry / f"{DRIVER}-{POD}-reg.sock"
    assert registration.exists()
    said = clean()
    assert f"removed socket {registration}" in said.lines
    assert clean.left() == []


def test_files_of_claims_that_nobody_remembers_go(clean: Leaver) -> None:
    for name in ("knob_u-1.json", "knob_u-1.json.tmp", "spy_u-2.json", "knob.adopted.a.json"):
        (clean.node.cdi / f"example.com-{name}").write_text("{}")
    said = clean()
    assert sum(line.startswith("removed CDI file ") for line in said.lines) == 4
    assert clean.left() == []


def test_a_socket_that_a_kill_kept_from_its_name_goes(clean: Leaver) -> None:
    clean.served()
    for name, ours in ((".0123456", True), (".abcdef0", False)):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(clean.node.registry / name))
        if ours:
            os.close(Marks(clean.node.state).make(clean.node.registry / name).descriptor)
    clean()
    assert clean.left() == ["plugins_registry/.abcdef0"], "who knows whose that is"


def test_what_others_have_stays(clean: Leaver) -> None:
    clean.served()
    theirs = [
        clean.node.plugins / "other.example.com/dra.sock",
        clean.node.registry / "other.example.com-reg.sock",
        clean.node.cdi / "example.com-other_u-1.json",
        clean.node.static_cdi
        / "example.com-knob.json",  # made by `cdi generate`, for those without Kubernetes
    ]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    pool = {"name": "node-2", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "nodeName": "node-2", "pool": pool, "devices": [{"name": "a"}]}
    clean.node.api.create("ResourceSlice", {"metadata": {"name": "elsewhere"}, "spec": spec})
    assert clean().code == 0
    assert all(path.exists() for path in theirs)
    assert [item["metadata"]["name"] for item in clean.node.slices()] == ["elsewhere"]


def test_a_simulated_machine_goes_too(clean: Leaver, short_tmp: Path) -> None:
    machine = clean.node.plugins / "simulated"
    place = f"--simulated-root={machine}"
    assert clean(place).code == 0, "there is none yet"
    with Simulator(Simulation(profiles={}), Profile(name="none"), machine):
        assert f"a simulator is running in {machine}" in said_in_one_line(clean(place))
        assert (machine / "sys").is_dir()
    said = clean(place)
    assert said.lines[0] == f"removed simulated machine {machine}"
    assert clean.left() == []
    machine.mkdir()
    (machine / "thesis.txt").touch()
    assert "files that are not a simulated machine" in said_in_one_line(clean(place))


def said_in_one_line(said: Said) -> str:
    assert said.code == 2, said.lines
    assert len(said.lines) == 1, said.lines
    return said.lines[0]


def test_a_dry_run_says_it_all_and_changes_nothing(clean: Leaver) -> None:
    clean.served()
    (clean.node.cdi / "example.com-knob_u-1.json").write_text("{}")
    before = clean.left()
    would = clean("--dry-run")
    assert clean.left() == before
    did = clean()
    assert [line.removeprefix("would remove ") for line in would.lines] == [
        line.removeprefix("removed ") for line in did.lines[:-1]
    ]


# --------------------------------------------------------------------------- refused


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_refused_while_the_driver_runs(clean: Leaver, dry_run: tuple[str, ...]) -> None:
    clean.node.start_driver()
    clean.node.wait_published()
    before = clean.left()
    error = clean(*dry_run).error
    assert error.startswith(f"{DRIVER} runs on this node: ")
    assert error.endswith("(end it first: helm uninstall, or delete its DaemonSet)")
    assert clean.left() == before
    assert clean.node.prepare(clean.node.knob_claim("one", "a"))


def test_refused_while_a_frozen_driver_holds_its_sockets(clean: Leaver) -> None:
    clean.node.start_driver()
    clean.node.wait_published()
    clean.node.signal_driver(signal.SIGSTOP)
    try:
        assert "runs on this node" in clean().error
    finally:
        clean.node.signal_driver(signal.SIGCONT)


def test_refused_while_an_instance_runs_that_does_not_publish(clean: Leaver) -> None:
    clean.served()
    with Instance(clean.node, POD):
        (clean.node.state / "publish.lock").unlink()
        assert f"pod {POD}" in clean().error


def test_refused_while_another_driver_of_the_name_serves(clean: Leaver) -> None:
    with socket.socket(socket.AF_UNIX) as rival:
        rival.bind(str(clean.node.registry / f"{DRIVER}-reg.sock"))
        rival.listen()
        assert f"another driver serves {DRIVER} on this node" in clean().error
        assert (clean.node.registry / f"{DRIVER}-reg.sock").exists()


def test_refused_while_claims_have_devices_naming_them(clean: Leaver) -> None:
    clean.node.start_driver()
    first, second = clean.prepared("one", "a"), clean.prepared("two", "b")
    clean.node.stop_driver()
    before = clean.left()
    assert clean().error == (
        f"2 claims on this node still have devices of {DRIVER}: {first}, {second}"
        " (start the driver again and delete the pods that use them; for a claim whose pod is gone: `claims release"
        " UID`)"
    )
    assert clean.left() == before
    clean.node.start_driver()
    for ref in (first, second):
        clean.node.unprepare(ref)
    clean.node.stop_driver()
    assert clean().code == 0
    assert clean.left() == []


def test_a_claim_whose_record_is_damaged_counts(clean: Leaver) -> None:
    clean.node.start_driver()
    ref = clean.prepared("one", "a")
    clean.node.stop_driver()
    record = clean.node.state / f"claims/{ref.uid}.json"
    record.write_text("{")
    said = f"1 claim on this node still has devices of {DRIVER}: uid {ref.uid}"
    assert clean().error.startswith(said)
    record.rename(record.with_name(f"{record.name}.corrupt-1"))
    assert clean().error.startswith(said)
    record.with_name(f"{record.name}.corrupt-1").unlink()
    assert clean().error.startswith(said), "its hold is still there"


def test_many_claims_are_counted(clean: Leaver) -> None:
    (clean.node.state / "claims").mkdir(parents=True)
    for number in range(12):
        (clean.node.state / f"claims/u-{number:02}.json").write_text("{")
    error = clean().error
    assert error.startswith("12 claims on this node still have devices")
    assert "uid u-09 and 2 more (" in error


def test_claims_of_the_driver_before_that_nobody_adopted_count(clean: Leaver) -> None:
    clean.node.state.mkdir()
    checkpoint = clean.node.state / "preparedClaims.json"
    checkpoint.write_text(json.dumps({"u-7": entry("a")}))
    assert clean().error.startswith(f"1 claim on this node still has devices of {DRIVER}: uid u-7")
    checkpoint.write_text("{")
    assert clean().error.startswith(
        f"{checkpoint} cannot tell which claims another driver left: it is not JSON"
    )
    assert clean().error.endswith("(move it away once no pod uses a device of this node)")
    checkpoint.write_text("{}")
    assert clean().code == 0
    assert clean.left() == []


# --------------------------------------------------------------------------- trouble


def test_an_api_server_that_does_not_answer_costs_nothing(clean: Leaver) -> None:
    clean.served()
    before = clean.left()
    clean.node.api.faults.add(status=503, path="resourceslices")
    assert "resourceslices" in clean().error
    clean.node.api.faults.clear()
    assert clean.left() == before
    assert clean().code == 0
    assert clean.left() == []


def test_a_slice_that_may_not_be_deleted_is_named_and_all_else_stays(clean: Leaver) -> None:
    clean.served()
    before = clean.left()
    clean.node.api.faults.add(status=403, method="DELETE", path="resourceslices", message="not yours")
    assert "not yours" in clean().error
    assert clean.left() == before


@pytest.mark.parametrize(("kind", "step"), [("--kill-before", 1), ("--kill-after", 6)])
@pytest.mark.timeout(300)
def test_killed_at_any_change_the_next_run_finishes(clean: Leaver, kind: str, step: int) -> None:
    """After a change is nearly before the next one: of those, some."""
    last = 0
    for at in count(1, step):
        clean.node.start_driver(f"--pod-uid={POD}")
        clean.node.wait_published()
        clean.node.kill_driver()
        (clean.node.cdi / "example.com-knob_u-1.json").write_text("{}")
        first = clean(mortal=[kind, str(at)])
        assert clean().code == 0
        assert clean.left() == [], f"{kind} {at}"
        if first.code == 0:
            break
        assert first.code == -signal.SIGKILL
        last = at
    assert last > 10


# --------------------------------------------------------------------------- folders


def test_a_tree_goes_without_what_its_links_lead_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/link").symlink_to(tmp_path / "kept")
    (tree / "lost").symlink_to("nowhere")
    remove_tree(tree)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept/file").exists()


def test_what_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(30, "Read-only file system")

    (tmp_path / "tree").mkdir()
    monkeypatch.setattr(Path, "rmdir", refuse)
    with pytest.raises(StateError, match=r"cannot remove .*tree: Read-only file system \(mount the file"):
        remove_tree(tmp_path / "tree")
