"""``claims verify``, ``repair`` and ``release`` as an operator types them, on real files of a made-up accelerator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from dra_common.cli import claims_release, main
from dra_common.definition import Definition
from dra_common.simulate import Simulation
from dra_common.testing.apiserver import FakeApiServer
from dra_common.testing.bench import Bench, config, soon
from dra_common.testing.knobs import DRIVER, KnobDriver
from mortal import Life

BOOT = "9d8a2b1e-0000-4000-8000-000000000001"


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Operator:
    """Somebody at a shell of the node, beside whatever driver runs."""

    def __init__(self, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.bench, self.capfd = Bench(root), capfd
        (root / "plugins").mkdir()
        (root / "plugins" / DRIVER).symlink_to(root / "state")
        (root / "proc/sys/kernel/random/boot_id").write_text(f"{BOOT}\n")
        self.bench.lifecycle.boot_id = BOOT
        self.driver = KnobDriver()

    def __call__(self, *arguments: str) -> Said:
        root = self.bench.root
        places = [f"--{name}fs-root={root / name}" for name in ("sys", "dev", "proc")]
        places += [f"--kubelet-plugins-dir={root / 'plugins'}", f"--cdi-dynamic-root={root / 'cdi'}"]
        if arguments[0] != "release":
            places.append("--cdi-devfs-root=/dev")
        definition = Definition(
            "knob-driver", "dra-common", "Turns knobs.", self.driver, lambda: Simulation({})
        )
        self.capfd.readouterr()
        code = main(definition, ["claims", *arguments, *places])
        return Said(code, *self.capfd.readouterr())


@pytest.fixture
def operator(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Operator:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "CDI_ROOT", "SIMULATED_ROOT"):
        monkeypatch.delenv(name, raising=False)
    made = Operator(tmp_path, capfd)
    for name, device in {"one": "a", "two": "b"}.items():
        made.bench.engine.prepare(made.bench.claim(name, device, config=[config(5)]), soon())
    return made


def one_line(said: Said, code: int) -> str:
    assert said.code == code, said
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("knob-driver: ")
    return said.err


# --------------------------------------------------------------------------- verify and repair


def test_a_node_in_order_is_exit_code_0(operator: Operator) -> None:
    assert operator("verify") == Said(0, "in order: 2 claims on this node\n", "")
    assert json.loads(operator("verify", "--json").out) == {"claims": 2, "findings": [], "busy": []}
    assert operator("repair") == Said(0, "in order: nothing to mend\n", "")
    assert operator("repair", "--dry-run") == Said(0, "in order: 2 claims on this node\n", "")


def test_findings_are_exit_code_1_each_with_its_cure(operator: Operator) -> None:
    root = operator.bench.root
    (root / "cdi/example.com-knob_uid-one.json").unlink()
    (root / "state/held/c").symlink_to("uid-gone")
    (root / "state/claims/notes.txt").touch()
    said = operator("verify")
    assert (said.code, said.err) == (1, "")
    header, *rows = said.out.splitlines()
    assert header.split() == ["FINDING", "UID", "WHAT", "CURE"]
    assert [row.split()[:2] for row in rows] == [
        ["stray", "-"],
        ["orphan", "uid-gone"],
        ["cdi-missing", "uid-one"],
    ]
    found = operator("verify", "--json")
    assert found.code == 1
    findings = json.loads(found.out)["findings"]
    assert [(each["kind"], each["mendable"]) for each in findings] == [
        ("stray", False),
        ("orphan", True),
        ("cdi-missing", True),
    ]
    assert all(each["cure"] and each["text"] for each in findings)


def test_repair_says_what_it_would_do_does_it_and_says_what_is_left(operator: Operator) -> None:
    root = operator.bench.root
    (root / "cdi/example.com-knob_uid-one.json").unlink()
    (root / "state/claims/notes.txt").touch()
    planned = operator("repair", "--dry-run")
    assert planned.code == 1
    would, left = planned.out.splitlines()
    assert would.startswith("would mend: claim default/one (uid uid-one): CDI ")
    assert left.startswith(f"left: {root / 'state/claims/notes.txt'}") or "notes.txt is not a file of" in left
    assert not (root / "cdi/example.com-knob_uid-one.json").exists()
    done = operator("repair")
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines()[0] == would.replace("would mend", "mended")
    assert (root / "cdi/example.com-knob_uid-one.json").exists()
    (root / "state/claims/notes.txt").unlink()
    assert operator("verify").code == 0


def test_a_claim_that_another_process_works_on_is_named(operator: Operator) -> None:
    (operator.bench.root / "cdi/example.com-knob_uid-one.json").unlink()
    with operator.bench.locks.claim("uid-one", soon()):
        for command in ("verify", "repair"):
            said = operator(command)
            assert said.err == "not looked at: another process works on claim uid-one\n"
            assert said.code == 0
    assert operator("repair").out.startswith("mended: ")


# --------------------------------------------------------------------------- release


def test_release_with_a_yes_leaves_nothing_and_gives_the_hardware_back(operator: Operator) -> None:
    said = operator("release", "uid-one", "--yes")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == "released"
    for part in (
        "claim:      default/one (uid uid-one)",
        "phase:      prepared, in this boot",
        "devices:    a",
        "in use:     no process that can be seen from here has its devices open",
        "API server: not asked",
    ):
        assert part in said.out
    assert operator.bench.level("a") == 1
    assert [name for name in operator.bench.leftovers() if "one" in name or name.endswith("/a")] == []
    assert operator("verify").out == "in order: 1 claims on this node\n"
    operator.bench.engine.prepare(operator.bench.claim("next", "a"), soon())


def test_without_a_terminal_and_a_yes_nothing_is_released(operator: Operator) -> None:
    before = operator.bench.leftovers()
    line = one_line(operator("release", "uid-one"), 2)
    assert "nobody is there to be asked" in line
    assert "--yes" in line
    assert operator.bench.leftovers() == before


@pytest.mark.parametrize(
    ("uid", "code", "says"),
    [
        ("uid-never", 1, "this node has no record of it"),
        ("../../etc", 2, "is not a claim's UID"),
        ("", 2, "is not a claim's UID"),
    ],
)
def test_what_cannot_be_released_is_told_in_a_line(
    operator: Operator, uid: str, code: int, says: str
) -> None:
    assert says in one_line(operator("release", uid, "--yes"), code)


def test_a_record_of_a_newer_release_is_not_released_by_this_one(operator: Operator) -> None:
    path = operator.bench.root / "state/claims/uid-one.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 4}))
    before = operator.bench.leftovers()
    assert "schema 4" in one_line(operator("release", "uid-one", "--yes"), 1)
    assert operator.bench.leftovers() == before


@pytest.mark.parametrize("aside", [False, True])
def test_a_claim_whose_record_cannot_be_read_is_released_with_its_devices(
    operator: Operator,
    aside: bool,  # noqa: FBT001 - a column
) -> None:
    (operator.bench.root / "state/claims/uid-one.json").write_bytes(b"\0")
    if aside:
        operator.bench.records.set_aside("uid-one")
    said = operator("release", "uid-one", "--yes")
    assert said.code == 0
    assert "its record cannot be read" in said.out
    assert "devices:    a\n" in said.out
    assert [name for name in operator.bench.leftovers() if "one" in name or name.endswith("/a")] == []


def test_a_claim_that_the_driver_works_on_is_not_released(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_release, "_WAIT", 0.05)
    with operator.bench.locks.claim("uid-one", soon()):
        said = operator("release", "uid-one", "--yes")
    assert said.code == 1
    assert "claim uid-one is still locked by another call" in said.err
    assert operator.bench.records.exists("uid-one")


def test_a_claim_that_changed_since_it_was_shown_is_not_released(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(**_: bool) -> None:
        operator.bench.engine.unprepare(operator.bench.claim("one", "a"), soon())
        operator.bench.engine.prepare(operator.bench.claim("one", "a"), soon())

    monkeypatch.setattr(claims_release, "_confirm", answer)
    said = operator("release", "uid-one")
    assert said.code == 1
    assert "claim uid-one has changed since it was shown: nothing was done" in said.err
    assert operator.bench.records.exists("uid-one")


def test_a_release_whose_hardware_fails_says_so_and_keeps_what_is_to_undo(operator: Operator) -> None:
    operator.driver.broken = {"revert:a"}
    said = operator("release", "uid-one", "--yes")
    assert said.code == 1
    assert "device a: revert: the knob is stuck" in said.err
    assert operator.bench.holds.holders()["a", None] == "uid-one"
    operator.driver.broken = set()
    assert "phase:      failed, in this boot: device a" in operator("release", "uid-one", "--yes").out
    assert operator.bench.level("a") == 1


def test_an_unfinished_claim_can_be_released(operator: Operator) -> None:
    ref = operator.bench.claim("half", "c", config=[config(5)])
    died = Life(1, when=lambda call: call.startswith("rename") and "cdi" in call).dies(
        operator.bench.engine.prepare, ref, soon()
    )
    assert died
    assert operator.bench.level("c") == 5
    assert operator("release", ref.uid, "--yes").code == 0
    assert operator.bench.level("c") == 1
    assert operator("verify").code == 0


def test_who_has_the_devices_open_is_shown(operator: Operator) -> None:
    folder = operator.bench.root / "proc/4242"
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text("python3\n")
    (folder / "fd/7").symlink_to("/dev/a")
    said = operator("release", "uid-one")
    assert "in use:     its devices are open in process 4242 (python3)" in said.out
    assert "no process that can be seen" in operator("release", "uid-two").out


def test_what_the_api_server_says_is_shown(operator: Operator) -> None:
    spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": DRIVER}}]}}

    def with_server(arrange: Callable[[FakeApiServer], object]) -> str:
        with FakeApiServer() as api:
            arrange(api)
            file = api.kubeconfig(operator.bench.root / "kubeconfig")
            return operator("release", "uid-one", f"--kubeconfig={file}").out

    def other(api: FakeApiServer) -> None:
        api.create("ResourceClaim", {"metadata": {"name": "one", "namespace": "default"}, "spec": spec})

    assert "API server: does not have the claim\n" in with_server(lambda _: None)
    assert "API server: has another claim of this name\n" in with_server(other)
    assert "API server: does not say: " in with_server(lambda api: api.faults.add(status=403))
