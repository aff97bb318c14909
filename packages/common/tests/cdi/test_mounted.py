"""Files that containers of a claim see, beside the CDI files that mount them."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from dra_common.cdi import SpecDir
from dra_common.errors import StateError
from dra_common.model import ContainerEdits, DeviceNode, MountedFile
from dra_common.testing.cdi import resolve

NODE = DeviceNode("/dev/null")
IDS = ["intel.com/gpu=uid-1-a"]


@pytest.fixture
def cdi(tmp_path: Path) -> Path:
    return tmp_path / "cdi"


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    return tmp_path / "state/metadata"


@pytest.fixture
def specs(cdi: Path, mounted: Path) -> SpecDir:
    return SpecDir(cdi, "intel.com", ["gpu", "gpu-mei"], mounted)


def edits(*files: tuple[str, str]) -> dict[str, dict[str, ContainerEdits]]:
    made = tuple(MountedFile(name, f"/in/{name}", content) for name, content in files)
    return {"gpu": {"uid-1-a": ContainerEdits(device_nodes=(NODE,), files=made)}}


def test_a_container_sees_the_file_read_only(specs: SpecDir, cdi: Path, mounted: Path) -> None:
    specs.write("uid-1", edits(("gpu.json", "text\n")))
    resolved = resolve(IDS, [cdi])
    assert resolved.mounts["/in/gpu.json"] == {
        "hostPath": str(mounted / "uid-1/gpu.json"),
        "containerPath": "/in/gpu.json",
        "options": ["ro", "bind"],
    }
    file = mounted / "uid-1/gpu.json"
    assert file.read_text() == "text\n"
    assert file.stat().st_mode & 0o777 == 0o644, "whatever user reads it"
    assert mounted.stat().st_mode & 0o777 == (mounted / "uid-1").stat().st_mode & 0o777 == 0o700


def test_the_same_again_writes_nothing(specs: SpecDir, mounted: Path) -> None:
    specs.write("uid-1", edits(("gpu.json", "text\n")))
    file = mounted / "uid-1/gpu.json"
    os.utime(file, (1, 1))
    specs.write("uid-1", edits(("gpu.json", "text\n")))
    assert file.stat().st_mtime == 1


def test_other_files_replace_those_before(specs: SpecDir, mounted: Path) -> None:
    specs.write("uid-1", edits(("a.json", "1"), ("b.json", "2")))
    specs.write("uid-1", edits(("b.json", "3")))
    assert {path.name: path.read_text() for path in (mounted / "uid-1").iterdir()} == {"b.json": "3"}
    specs.write("uid-1", edits())
    assert not (mounted / "uid-1").exists()


def test_a_claim_leaves_nothing(specs: SpecDir, cdi: Path, mounted: Path) -> None:
    specs.write("uid-1", edits(("gpu.json", "text")))
    specs.write("uid-2", edits(("gpu.json", "text")))
    specs.delete("uid-1")
    specs.delete("uid-1")
    assert [path.name for path in mounted.iterdir()] == ["uid-2"]
    assert [path.name for path in cdi.iterdir()] == ["intel.com-gpu_uid-2.json"]


def test_what_a_dead_process_left_is_found_by_the_claim(specs: SpecDir, cdi: Path, mounted: Path) -> None:
    specs.write("uid-1", edits(("gpu.json", "text")))
    for path in cdi.iterdir():
        path.unlink()  # a reboot
    assert specs.uids() == {"uid-1"}
    unfinished = mounted / "uid-1/gpu.json.tmp"
    unfinished.write_text("half")
    assert specs.unfinished_uids() == {"uid-1"}
    assert specs.sweep_temporary() == (), "it may be written now"
    old = time.time() - 100
    os.utime(unfinished, (old, old))
    assert specs.sweep_temporary() == ("gpu.json.tmp",)
    unfinished.write_text("half")
    specs.drop_unfinished("uid-1")
    assert not unfinished.exists()
    unfinished.write_text("half")
    specs.delete("uid-1")
    assert list(mounted.iterdir()) == []


def test_what_is_missing_and_what_is_wrong_is_told(specs: SpecDir, mounted: Path) -> None:
    wanted = edits(("a.json", "1"), ("b.json", "2"))
    specs.write("uid-1", wanted)
    assert specs.compare("uid-1", wanted) == ((), ())
    (mounted / "uid-1/a.json").unlink()
    (mounted / "uid-1/b.json").write_text("x")
    assert specs.compare("uid-1", wanted) == (
        (str(mounted / "uid-1/a.json"),),
        (str(mounted / "uid-1/b.json"),),
    )


def test_what_an_older_release_wrote_without_them_is_in_order(
    specs: SpecDir, cdi: Path, mounted: Path
) -> None:
    wanted = edits(("a.json", "1"))
    SpecDir(cdi, "intel.com", ["gpu"]).write("uid-1", wanted)
    assert specs.compare("uid-1", wanted) == ((), ())
    (file,) = cdi.iterdir()
    as_older = file.read_text()
    specs.write("uid-1", wanted)
    assert file.read_text() != as_older
    # Once there are such files, a CDI file without them is wrong; and one with them needs them.
    file.write_text(as_older)
    assert specs.compare("uid-1", wanted) == ((), (str(file),))
    specs.write("uid-1", wanted)
    shutil.rmtree(mounted)
    assert specs.compare("uid-1", wanted) == ((str(mounted / "uid-1/a.json"),), ())
    # What an older release would not have written, either, is wrong.
    file.write_text(as_older.replace("/dev/", "/dev/other/"))
    assert specs.compare("uid-1", wanted) == ((str(mounted / "uid-1/a.json"),), (str(file),))


def test_without_a_folder_for_them_there_are_none(cdi: Path) -> None:
    SpecDir(cdi, "intel.com", ["gpu"]).write("uid-1", edits(("gpu.json", "text")))
    assert resolve(IDS, [cdi]).mounts == {}


def test_a_folder_that_cannot_be_made_is_told_by_its_path(specs: SpecDir, cdi: Path, mounted: Path) -> None:
    mounted.parent.mkdir()
    mounted.write_text("in the way")
    with pytest.raises(StateError, match=str(mounted)):
        specs.write("uid-1", edits(("gpu.json", "text")))
    assert not cdi.exists(), "no CDI file mounts what is not there"
