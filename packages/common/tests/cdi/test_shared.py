"""Ids that several claims share: each is defined once, as long as somebody needs it."""

from __future__ import annotations

import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dra_common.cdi import SharedSpecDir
from dra_common.cdi import shared as module
from dra_common.errors import SpecInvalid, StateError
from dra_common.model import ContainerEdits, DeviceNode
from dra_common.testing.cdi import resolve

A, B, SPY = "example.com/knob=a", "example.com/knob=b", "example.com/spy=a"


@pytest.fixture
def shared(tmp_path: Path) -> SharedSpecDir:
    return SharedSpecDir(
        tmp_path / "run", tmp_path / "etc", tmp_path / "notes", "example.com", ("knob", "spy")
    )


def edits(*ids: str) -> dict[str, ContainerEdits]:
    return {
        name: ContainerEdits(device_nodes=(DeviceNode(f"/dev/{name.partition('=')[2]}"),)) for name in ids
    }


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def other_drivers(folder: Path, *devices: str, suffix: str = ".yaml", mode: int = 0o600) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"example.com-knob{suffix}"
    entries = ", ".join(
        f'{{"name": "{name}", "containerEdits": {{"deviceNodes": [{{"path": "/dev/theirs"}}]}}}}'
        for name in devices
    )
    path.write_text(f'{{"cdiVersion": "0.5.0", "kind": "example.com/knob", "devices": [{entries}]}}')
    path.chmod(mode)
    return path


def test_an_id_stays_until_the_last_claim_that_needs_it(shared: SharedSpecDir, tmp_path: Path) -> None:
    shared.define("uid-1", [A, B], edits(A, B))
    shared.define("uid-2", [A, SPY], edits(A, SPY))
    assert files(tmp_path / "run") == [
        "example.com-knob.adopted.a.json",
        "example.com-knob.adopted.b.json",
        "example.com-spy.adopted.a.json",
    ]
    assert resolve([A, B, SPY], [tmp_path / "run"]).device_nodes.keys() == {"/dev/a", "/dev/b"}
    assert shared.uids() == {"uid-1", "uid-2"}
    shared.release("uid-1")
    assert files(tmp_path / "run") == ["example.com-knob.adopted.a.json", "example.com-spy.adopted.a.json"]
    shared.release("uid-2")
    shared.release("uid-2")
    assert files(tmp_path / "run") + files(tmp_path / "notes") == []


def test_what_is_right_is_not_written_again(shared: SharedSpecDir, tmp_path: Path) -> None:
    shared.define("uid-1", [A], edits(A))
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*.json")}
    shared.define("uid-1", [A], edits(A))
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*.json")} == before


def test_our_definition_wins_over_a_static_file(shared: SharedSpecDir, tmp_path: Path) -> None:
    other_drivers(tmp_path / "etc", "a", "b")
    shared.define("uid-1", [A, B], edits(A))
    nodes = resolve([A, B], [tmp_path / "etc", tmp_path / "run"]).device_nodes
    assert sorted(nodes) == ["/dev/a", "/dev/theirs"]
    assert shared.unresolved([A, B, "example.com/knob=c", "other.com/x=a"]) == (
        "example.com/knob=c",
        "other.com/x=a",
    )


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_second_definition_in_one_folder_is_never_made(
    shared: SharedSpecDir, tmp_path: Path, suffix: str
) -> None:
    shared.define("uid-1", [A, B], edits(A, B))
    path = other_drivers(tmp_path / "run", "a", suffix=suffix)
    shared.define("uid-1", [A, B], edits(A, B))
    assert files(tmp_path / "run") == ["example.com-knob.adopted.b.json", path.name]
    assert "/dev/theirs" in resolve([A, B], [tmp_path / "run"]).device_nodes
    assert shared.unresolved([A, B]) == ()
    path.unlink()
    assert shared.unresolved([A, B]) == (A,)
    shared.define("uid-1", [A, B], edits(A, B))
    assert shared.unresolved([A, B]) == ()


@pytest.mark.parametrize("junk", [b"", b"\x00", b"[", b"- 1", b"kind: [", b"kind: other\ndevices: 7\n"])
def test_a_file_of_others_that_is_none_defines_nothing(
    shared: SharedSpecDir, tmp_path: Path, junk: bytes
) -> None:
    path = other_drivers(tmp_path / "etc", "a")
    path.write_bytes(junk)
    assert shared.unresolved([A]) == (A,)
    shared.inherit()
    shared.finish()
    # Whatever it is, it is not what the other driver writes.
    assert path.exists()


def test_a_damaged_file_of_ours_does_not_resolve_and_is_made_again(
    shared: SharedSpecDir, tmp_path: Path
) -> None:
    shared.define("uid-1", [A], edits(A))
    (path,) = (tmp_path / "run").iterdir()
    path.write_bytes(path.read_bytes()[:20])
    assert shared.unresolved([A]) == (A,)
    shared.define("uid-1", [A], edits(A))
    assert shared.unresolved([A]) == ()


def test_inherited_files_go_once_and_only_then(shared: SharedSpecDir, tmp_path: Path) -> None:
    path = other_drivers(tmp_path / "etc", "a")
    shared.finish()
    shared.define("uid-1", [A], edits(A))
    shared.inherit()
    shared.finish()
    assert path.exists()
    shared.release("uid-1")
    assert (path.exists(), files(tmp_path / "notes")) == (False, [])
    # What somebody makes there later is theirs.
    other_drivers(tmp_path / "etc", "a")
    shared.define("uid-2", [A], {})
    shared.release("uid-2")
    shared.finish()
    assert path.exists()


def test_files_for_everybody_or_of_another_kind_are_not_inherited(
    shared: SharedSpecDir, tmp_path: Path
) -> None:
    readable = other_drivers(tmp_path / "etc", "a", mode=0o644)
    json = other_drivers(tmp_path / "etc", "a", suffix=".json")
    foreign = tmp_path / "etc/example.com-spy.yaml"
    foreign.write_text("kind: example.com/other\ndevices: []\n")
    foreign.chmod(0o600)
    shared.inherit()
    shared.finish()
    assert readable.exists()
    assert json.exists()
    assert foreign.exists()


def test_what_a_crash_left_unfinished_goes_at_the_end(shared: SharedSpecDir, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/example.com-knob.adopted.a.json.tmp").write_text("half")
    (tmp_path / "run/example.com-knob_uid-1.json").write_text("a claim's own")
    shared.inherit()
    shared.finish()
    assert files(tmp_path / "run") == ["example.com-knob_uid-1.json"]


def test_a_damaged_note_speaks_for_none_but_its_claim(shared: SharedSpecDir, tmp_path: Path) -> None:
    shared.define("uid-1", [A], edits(A))
    for text in ("{", "7", '["../../up", 7, "strange/kind=a"]'):
        (tmp_path / "notes/uid-1.json").write_text(text)
        shared.define("uid-2", [B], edits(B))
        shared.release("uid-2")
        assert shared.uids() == {"uid-1"}
    shared.define("uid-1", [A], edits(A))
    shared.release("uid-1")
    assert files(tmp_path / "run") == []


def test_names_that_could_be_paths_are_refused(shared: SharedSpecDir, tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid):
        shared.define("uid-1", ["example.com/knob=../../up"], edits("example.com/knob=../../up"))
    with pytest.raises(StateError):
        shared.define("../uid", [A], edits(A))
    assert files(tmp_path) == []


def test_a_full_disk_names_the_setting(shared: SharedSpecDir, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(StateError, match="--cdi-dynamic-root"):
        shared.define("uid-1", [A], edits(A))


def test_many_claims_at_once_leave_nothing(shared: SharedSpecDir, tmp_path: Path) -> None:
    def live(number: int) -> None:
        for _ in range(5):
            shared.define(f"uid-{number}", [A, SPY], edits(A, SPY))
            assert shared.unresolved([A, SPY]) == ()
            shared.release(f"uid-{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(live, range(8)))
    assert files(tmp_path / "run") + files(tmp_path / "notes") == []


def test_somebody_who_keeps_the_folder_is_not_waited_for_without_end(
    shared: SharedSpecDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAIT", 0.05)
    shared.define("uid-1", [A], edits(A))
    descriptor = os.open(tmp_path / "notes", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(StateError, match="cannot lock"):
        shared.release("uid-1")
    monkeypatch.setattr(module, "_WAIT", 60)
    waiting = threading.Thread(target=shared.release, args=["uid-1"])
    waiting.start()
    os.close(descriptor)
    waiting.join(60)
    assert shared.uids() == frozenset()
