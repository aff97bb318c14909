"""The file that `cdi generate` writes for users without Kubernetes."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from dra_common.cdi import SpecDir, render_static, write_static
from dra_common.errors import SpecInvalid, StateError
from dra_common.model import ContainerEdits, DeviceNode
from dra_common.testing.cdi import resolve

EDITS = ContainerEdits(device_nodes=(DeviceNode("/dev/dri/card0"),))
DEVICES = {"0000-03-00-0-0x56c0": EDITS}
GO_FILE = """---
cdiVersion: 0.5.0
kind: intel.com/gpu
devices:
- name: 0000-03-00-0-0x56c0
  containerEdits:
    deviceNodes:
    - path: /dev/dri/card9
"""


def test_file_has_the_kinds_name_and_everybody_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        path = write_static(tmp_path / "etc" / "cdi", "intel.com", "gpu", DEVICES)
    finally:
        os.umask(before)
    assert path == tmp_path / "etc" / "cdi" / "intel.com-gpu.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    got = resolve(["intel.com/gpu=0000-03-00-0-0x56c0"], [path.parent], ceiling="0.5.0")
    assert list(got.device_nodes) == ["/dev/dri/card0"]


def test_what_is_printed_is_what_is_written(tmp_path: Path) -> None:
    text = render_static("intel.com", "gpu", DEVICES)
    assert write_static(tmp_path, "intel.com", "gpu", DEVICES).read_text() == text
    assert '"name": "0000-03-00-0-0x56c0"' in text


def test_same_content_is_not_written_again_but_its_mode_is_put_right(tmp_path: Path) -> None:
    path = write_static(tmp_path, "intel.com", "gpu", DEVICES)
    path.chmod(0o600)
    inode = path.stat().st_ino
    write_static(tmp_path, "intel.com", "gpu", DEVICES)
    assert path.stat().st_ino == inode
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_go_drivers_file_is_not_put_in_conflict(tmp_path: Path) -> None:
    rival = tmp_path / "intel.com-gpu.yaml"
    rival.write_text(GO_FILE)
    with pytest.raises(
        StateError, match=r"intel.com-gpu.yaml defines the same CDI kind.*move it away, or replace"
    ):
        write_static(tmp_path, "intel.com", "gpu", DEVICES)
    assert [path.name for path in tmp_path.iterdir()] == ["intel.com-gpu.yaml"]
    assert list(resolve(["intel.com/gpu=0000-03-00-0-0x56c0"], [tmp_path]).device_nodes) == ["/dev/dri/card9"]


def test_a_go_drivers_file_is_replaced_when_asked(tmp_path: Path) -> None:
    (tmp_path / "intel.com-gpu.yaml").write_text(GO_FILE)
    write_static(tmp_path, "intel.com", "gpu", DEVICES, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["intel.com-gpu.json"]
    assert list(resolve(["intel.com/gpu=0000-03-00-0-0x56c0"], [tmp_path]).device_nodes) == ["/dev/dri/card0"]


def test_an_interrupted_replacement_is_finished_by_the_next(tmp_path: Path) -> None:
    write_static(tmp_path, "intel.com", "gpu", DEVICES)
    (tmp_path / "intel.com-gpu.yaml").write_text(GO_FILE)
    write_static(tmp_path, "intel.com", "gpu", DEVICES, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["intel.com-gpu.json"]


def test_files_of_other_kinds_and_claims_are_left_alone(tmp_path: Path) -> None:
    SpecDir(tmp_path, "intel.com", ["gpu"]).write("uid", {"gpu": {"uid-a": EDITS}})
    (tmp_path / "intel.com-gaudi.yaml").write_text("---\n")
    write_static(tmp_path, "intel.com", "gpu", DEVICES)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["intel.com-gaudi.yaml", "intel.com-gpu.json", "intel.com-gpu_uid.json"]
    assert SpecDir(tmp_path, "intel.com", ["gpu"]).uids() == {"uid"}


def test_nothing_to_write_and_bad_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match=r"CDI file intel.com-gpu.json: has no device"):
        write_static(tmp_path, "intel.com", "gpu", {})
    with pytest.raises(SpecInvalid, match=r"CDI class '\.\./gpu'"):
        render_static("intel.com", "../gpu", DEVICES)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_nobody_may_write_names_the_setting() -> None:
    with pytest.raises(StateError, match=r"CDI: cannot write /sys/kernel/intel.com-gpu.json.*--cdi-root"):
        write_static(Path("/sys/kernel"), "intel.com", "gpu", DEVICES)


def test_file_in_place_of_the_folder_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "cdi").write_text("")
    with pytest.raises(StateError, match=r"CDI: cannot create the folder .*/cdi: .*--cdi-root"):
        write_static(tmp_path / "cdi", "intel.com", "gpu", DEVICES)


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    faults: list[Exception] = []

    def write(index: int) -> None:
        try:
            for turn in range(20):
                write_static(tmp_path, "intel.com", "gpu", {f"d{index}-{turn}": EDITS})
        except StateError as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert [path.name for path in tmp_path.iterdir()] == ["intel.com-gpu.json"]
    name = (tmp_path / "intel.com-gpu.json").read_text().split('"name": "')[1].split('"')[0]
    assert list(resolve([f"intel.com/gpu={name}"], [tmp_path]).device_nodes) == ["/dev/dri/card0"]
