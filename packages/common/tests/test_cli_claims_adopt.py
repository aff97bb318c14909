"""``claims adopt --dry-run``: it tells what ``run`` would do, and does nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dra_common.cli import main
from dra_common.definition import Definition
from dra_common.simulate import Simulation
from dra_common.testing.bench import Bench, soon
from dra_common.testing.knobs import DRIVER
from goclaims import adopt, entry, leave, static_spec


class Desk:
    """A node whose driver's folder is where the command looks for it."""

    def __init__(self, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.bench, self._capfd = Bench(root / "node"), capfd
        self.plugins = root / "plugins"
        self.plugins.mkdir()
        (self.plugins / DRIVER).symlink_to(self.bench.root / "state")

    def run(self, *more: str, command: str = "adopt") -> tuple[int, str, str]:
        node = self.bench.root
        machine = [f"--sysfs-root={node}/sys", f"--devfs-root={node}/dev", f"--procfs-root={node}/proc"]
        folders = [f"--kubelet-plugins-dir={self.plugins}"]
        if command == "adopt":
            folders.append(f"--kubelet-registry-dir={self.plugins}")
        definition = Definition(
            "knob-driver", "dra-common", "Turns knobs.", self.bench.driver, lambda: Simulation({})
        )
        code = main(definition, ["claims", command, *folders, *machine, *more])
        return code, *self._capfd.readouterr()

    def json(self, *more: str) -> Any:
        return json.loads(self.run("--dry-run", "--json", *more)[1])

    def tree(self) -> dict[str, float]:
        return {str(path): path.lstat().st_mtime_ns for path in self.bench.root.rglob("*")}


@pytest.fixture
def desk(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.delenv("NODE_NAME", raising=False)
    return Desk(tmp_path, capfd)


def test_adopting_is_the_drivers_own(desk: Desk) -> None:
    code, out, err = desk.run()
    assert (code, out) == (2, "")
    assert "add --dry-run" in err


def test_there_is_nothing(desk: Desk) -> None:
    code, out, err = desk.run("--dry-run")
    assert (code, err) == (0, "")
    assert out.endswith("preparedClaims.json is not there: nothing to adopt\n")
    assert desk.json()["claims"] == []


def test_a_node_that_no_driver_has_seen_stays_so(desk: Desk, tmp_path: Path) -> None:
    code, out, _ = desk.run("--dry-run", f"--kubelet-plugins-dir={tmp_path}/nowhere")
    assert (code, "nothing to adopt" in out) == (0, True)
    assert not (tmp_path / "nowhere").exists()


def test_what_is_said_is_what_is_done(desk: Desk) -> None:
    desk.bench.engine.prepare(desk.bench.claim("ours", "d"), soon())
    claims = {
        "uid-good": entry("a"),
        "uid-same": entry("a"),
        "uid-held": entry("d"),
        "uid-ours": entry("d"),
        "uid-pool": entry("b", PoolName="node-2"),
        "uid-gone": entry("x"),
        "uid\x1b[31m": entry("c"),
    }
    leave(desk.bench, claims, this_boot=False)
    before = desk.tree()
    code, out, err = desk.run("--dry-run", "--node-name=node-1")
    found = desk.json("--node-name=node-1")
    assert desk.tree() == before
    assert (code, err) == (1, "")
    assert "\x1b" not in out
    assert "format map, written before this boot: prepared again when the kubelet asks" in out
    verdicts = {each["uid"]: each["verdict"] for each in found["claims"]}
    reasons = {each["uid"]: each["why"] for each in found["claims"] if each["verdict"] == "refuse"}
    assert found["writtenInThisBoot"] is False
    done = adopt(desk.bench)
    assert done.adopted == [uid for uid, verdict in verdicts.items() if verdict == "adopt"] == ["uid-good"]
    assert done.known == [uid for uid, verdict in verdicts.items() if verdict == "known"] == ["uid-ours"]
    assert sorted(done.refused.values()) == sorted(reasons.values())


def test_without_the_nodes_name_pools_are_not_compared(desk: Desk) -> None:
    leave(desk.bench, {"uid-1": entry("a", PoolName="node-2")})
    assert desk.json()["claims"][0]["verdict"] == "adopt"


def test_everything_can_be_adopted(desk: Desk) -> None:
    leave(desk.bench, {"uid-1": entry("a", "b")})
    code, out, _ = desk.run("--dry-run")
    assert code == 0
    assert "uid-1  adopt    a, b     example.com/knob=a, example.com/knob=b" in out


def test_a_file_without_claims(desk: Desk) -> None:
    leave(desk.bench, {})
    code, out, _ = desk.run("--dry-run")
    assert (code, out.splitlines()[1]) == (0, "no claims in it")


def test_a_file_that_cannot_be_read(desk: Desk) -> None:
    leave(desk.bench, b"{")
    code, out, err = desk.run("--dry-run")
    assert (code, out) == (1, "")
    assert "preparedClaims.json: it is not JSON" in err
    assert "put a good copy in its place first" in err


def test_an_adopted_claim_that_nobody_asks_for_can_be_released(desk: Desk) -> None:
    (desk.bench.root / "proc/sys/kernel/random/boot_id").write_text("9d8a2b1e-0000-4000-8000-000000000001\n")
    static = static_spec(desk.bench, "example.com/knob", "a")
    leave(desk.bench, {"uid-1": entry("a")})
    adopt(desk.bench)
    cdi = [f"--cdi-root={desk.bench.root}/etc/cdi", f"--cdi-dynamic-root={desk.bench.root}/cdi"]
    code, out, err = desk.run("uid-1", "--yes", *cdi, command="release")
    assert (code, err) == (0, "")
    assert "claim:      ? (uid uid-1)" in out
    assert "API server: not asked: of an adopted claim only the UID is known" in out
    assert desk.bench.leftovers() == []
    assert not static.exists()
