"""The mode of a parent as a file: what any release wrote is read, and nothing damaged is taken for good."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from dra_common.codec import PARENTS
from dra_common.errors import CorruptRecord, NewerRecord, StateError
from dra_common.model import ModeUse, ParentMode
from dra_common.parents import FileParents

# Written by the first release that has it; later releases must read it for ever. Never edit it: add others.
GOLDEN = (Path(__file__).parent / "golden/parent-schema-1.json").read_bytes()
MODE = ParentMode(
    "0000-4d-00-0",
    "boot",
    "vf4",
    before={"vfs": 0, "autoprobe": True},
    after={"vfs": 4},
    holders={"uid-1": (0, 2), "uid-2": (1,)},
)


@pytest.fixture
def parents(tmp_path: Path) -> FileParents:
    return FileParents(tmp_path / "hardware")


def test_a_file_of_the_first_release_is_read_and_written_alike() -> None:
    assert PARENTS.decode(GOLDEN, name="golden") == MODE
    assert json.loads(PARENTS.encode(MODE)) == json.loads(GOLDEN)


def test_what_is_saved_is_loaded(parents: FileParents, tmp_path: Path) -> None:
    assert parents.load(MODE.parent) is None
    parents.save(MODE)
    assert parents.load(MODE.parent) == MODE
    assert (parents.names(), parents.has(MODE.parent)) == ((MODE.parent,), True)
    assert (tmp_path / "hardware/0000-4d-00-0.json").stat().st_mode & 0o777 == 0o600
    parents.delete(MODE.parent)
    parents.delete(MODE.parent)
    assert not parents.has(MODE.parent)
    assert list((tmp_path / "hardware").iterdir()) == []


def test_what_an_interrupted_save_left_is_named_and_removed(parents: FileParents, tmp_path: Path) -> None:
    left = tmp_path / "hardware/pf.json.tmp"
    left.write_bytes(b"{")
    assert (parents.names(), parents.has("pf"), parents.load("pf")) == (("pf",), True, None)
    parents.drop_unfinished("pf")
    parents.drop_unfinished("pf")
    assert (parents.names(), parents.has("pf")) == ((), False)


@pytest.mark.parametrize("data", [b"", b"[]", GOLDEN[:-20], GOLDEN.replace(b"vf4", b"vf2")])
def test_a_damaged_file_is_refused_and_set_aside_whole(
    parents: FileParents, tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "hardware/0000-4d-00-0.json"
    path.write_bytes(data)
    with pytest.raises(CorruptRecord, match="0000-4d-00-0"):
        parents.load(MODE.parent)
    kept = parents.set_aside(MODE.parent)
    assert path.with_name(kept).read_bytes() == data
    assert parents.load(MODE.parent) is None
    parents.forget_set_aside(MODE.parent)
    assert list(path.parent.iterdir()) == []


def test_a_newer_schema_is_refused(parents: FileParents, tmp_path: Path) -> None:
    (tmp_path / "hardware/pf.json").write_bytes(b'{"schema": 2, "sha256": "", "record": {}}')
    with pytest.raises(NewerRecord, match="schema 2"):
        parents.load("pf")


def test_a_folder_that_is_gone_is_told(parents: FileParents, tmp_path: Path) -> None:
    (tmp_path / "hardware").rmdir()
    with pytest.raises(StateError, match="restart the driver"):
        parents.names()


def test_the_next_part_is_the_first_that_nobody_has() -> None:
    assert MODE.free(4) == 3
    assert MODE.free(4, besides=[3]) is None
    assert MODE.left("uid-1").free(4) == 0
    assert MODE.left("uid-1").free(4, besides=[0]) == 2


def test_joining_twice_is_joining_once() -> None:
    joined = MODE.joined("uid-3", 3)
    assert joined.joined("uid-3", 3) is joined
    assert joined.left("uid-3") == MODE
    assert replace(MODE, holders={}).joined("uid-1", 0).holders == {"uid-1": (0,)}


def test_who_joins_has_what_the_first_one_wrote_down() -> None:
    assert MODE.use(3) == ModeUse("0000-4d-00-0", "vf4", 3, {"vfs": 0, "autoprobe": True}, {"vfs": 4})
