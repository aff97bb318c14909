"""Per-claim files: exactly what was asked for, complete or absent, nobody else's touched."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from dra_common.cdi import SpecDir, qualified_name
from dra_common.errors import SpecInvalid, StateError
from dra_common.model import ContainerEdits, DeviceNode, Hook, Mount
from dra_common.testing.cdi import Unresolvable, resolve
from hypothesis import given, settings
from hypothesis import strategies as st

UID = "8a9cf5d3-6f7c-4ab5-9a6e-0d3c5b1f2a11"
OTHER = "1b2c3d4e-0000-4000-8000-000000000001"
EDITS = ContainerEdits(device_nodes=(DeviceNode("/dev/dri/card0"),))
CLASSES = ("gpu", "gpu-mei")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cdi"


@pytest.fixture
def specs(folder: Path) -> SpecDir:
    return SpecDir(folder, "intel.com", CLASSES)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_file_for_each_class_with_the_claims_uid(specs: SpecDir, folder: Path) -> None:
    specs.write(UID, {"gpu": {f"{UID}-a": EDITS}, "gpu-mei": {f"{UID}-m": EDITS}})
    assert listing(folder) == [f"intel.com-gpu-mei_{UID}.json", f"intel.com-gpu_{UID}.json"]
    spec = json.loads((folder / f"intel.com-gpu_{UID}.json").read_bytes())
    assert spec["kind"] == "intel.com/gpu"
    assert [device["name"] for device in spec["devices"]] == [f"{UID}-a"]


def test_folder_is_made_for_all_and_files_for_root_only(specs: SpecDir, folder: Path) -> None:
    before = os.umask(0o077)
    try:
        specs.write(UID, {"gpu": {"a": EDITS}})
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / f"intel.com-gpu_{UID}.json").stat().st_mode) == 0o600


def test_folder_that_vanished_is_made_again(specs: SpecDir, folder: Path) -> None:
    specs.write(UID, {"gpu": {"a": EDITS}})
    specs.delete(UID)
    folder.rmdir()
    specs.write(UID, {"gpu": {"a": EDITS}})
    assert specs.uids() == {UID}


def test_unchanged_content_is_not_written_again(specs: SpecDir, folder: Path) -> None:
    specs.write(UID, {"gpu": {"a": EDITS}})
    path = folder / f"intel.com-gpu_{UID}.json"
    before = path.stat()
    specs.write(UID, {"gpu": {"a": EDITS}})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_changed_content_replaces_the_file(specs: SpecDir, folder: Path) -> None:
    specs.write(UID, {"gpu": {"a": EDITS}})
    inode = (folder / f"intel.com-gpu_{UID}.json").stat().st_ino
    specs.write(UID, {"gpu": {"b": EDITS}})
    assert (folder / f"intel.com-gpu_{UID}.json").stat().st_ino != inode
    assert specs.unresolved(UID, ["intel.com/gpu=a", "intel.com/gpu=b"]) == ("intel.com/gpu=a",)


def test_damaged_file_defines_nothing_and_is_replaced(specs: SpecDir, folder: Path) -> None:
    specs.write(UID, {"gpu": {"a": EDITS}})
    path = folder / f"intel.com-gpu_{UID}.json"
    for damage in (
        b"",
        b"{",
        b"[]",
        b'{"kind": "intel.com/gpu", "devices": 3}',
        b"\xff\xfe",
        b'{"kind": "x/y"}',
        b"[" * 100_000,
    ):
        path.write_bytes(damage)
        assert specs.unresolved(UID, ["intel.com/gpu=a"]) == ("intel.com/gpu=a",)
    specs.write(UID, {"gpu": {"a": EDITS}})
    assert specs.unresolved(UID, ["intel.com/gpu=a"]) == ()


def test_class_that_is_gone_from_the_claim_loses_its_file(specs: SpecDir, folder: Path) -> None:
    specs.write(UID, {"gpu": {"a": EDITS}, "gpu-mei": {"m": EDITS}})
    specs.write(UID, {"gpu": {"a": EDITS}, "gpu-mei": {}})
    assert listing(folder) == [f"intel.com-gpu_{UID}.json"]


def test_claim_without_devices_needs_no_folder(specs: SpecDir, folder: Path) -> None:
    specs.write(UID, {})
    assert not folder.exists()


def test_nothing_is_written_when_one_class_is_invalid(specs: SpecDir, folder: Path) -> None:
    specs.write(UID, {"gpu": {"a": EDITS}})
    with pytest.raises(SpecInvalid, match=rf"intel.com-gpu-mei_{UID}.json: device m: containerEdits"):
        specs.write(UID, {"gpu": {"b": EDITS}, "gpu-mei": {"m": ContainerEdits()}})
    assert specs.unresolved(UID, ["intel.com/gpu=a"]) == ()
    assert listing(folder) == [f"intel.com-gpu_{UID}.json"]


def test_class_of_another_driver_is_refused(specs: SpecDir) -> None:
    with pytest.raises(SpecInvalid, match="CDI class 'gaudi' is not one of this driver's: gpu, gpu-mei"):
        specs.write(UID, {"gaudi": {"a": EDITS}})


@pytest.mark.parametrize(
    "uid", ["", ".", "..", "../x", "a/b", "a_b", "a.b", "-a", "a-", "a\n", "a" * 129, "é"]
)
def test_uid_that_could_mean_another_file_is_refused(specs: SpecDir, folder: Path, uid: str) -> None:
    for call in (
        lambda: specs.write(uid, {"gpu": {"a": EDITS}}),
        lambda: specs.delete(uid),
        lambda: specs.unresolved(uid, []),
    ):
        with pytest.raises(SpecInvalid, match="claim UID"):
            call()
    assert not folder.exists()


@pytest.mark.parametrize(("vendor", "classes"), [("in/tel", ["gpu"]), ("intel.com", ["../gpu"])])
def test_bad_vendor_or_class_is_refused_at_once(folder: Path, vendor: str, classes: list[str]) -> None:
    with pytest.raises(SpecInvalid):
        SpecDir(folder, vendor, classes)


def test_delete_removes_this_claims_files_only(specs: SpecDir, folder: Path) -> None:
    for uid in (UID, OTHER):
        specs.write(uid, {"gpu": {f"{uid}-a": EDITS}, "gpu-mei": {f"{uid}-m": EDITS}})
    (folder / f"intel.com-gpu_{UID}.json.tmp").write_text("half")
    specs.delete(UID)
    assert listing(folder) == [f"intel.com-gpu-mei_{OTHER}.json", f"intel.com-gpu_{OTHER}.json"]
    specs.delete(UID)


def test_delete_and_uids_without_a_folder(specs: SpecDir) -> None:
    specs.delete(UID)
    assert specs.uids() == frozenset()
    assert specs.sweep_temporary() == ()
    assert specs.unresolved(UID, ["intel.com/gpu=a"]) == ("intel.com/gpu=a",)


def test_uids_counts_only_names_of_exactly_our_shape(specs: SpecDir, folder: Path) -> None:
    specs.write(UID, {"gpu": {"a": EDITS}})
    specs.write(OTHER, {"gpu-mei": {"a": EDITS}})
    for name in (
        "intel.com-gpu.json",
        "intel.com-gpu.yaml",
        "intel.com-gpu_x.yaml",
        "intel.com-gpu_x_y.json",
        "intel.com-gpu_x.json.tmp",
        "intel.com-gpu_.json",
        "intel.com-gpu_x.y.json",
        "intel.com-gaudi_x.json",
        "nvidia.com-gpu_x.json",
        "xintel.com-gpu_x.json",
        "README",
    ):
        (folder / name).write_text("{}")
    assert specs.uids() == {UID, OTHER}


def test_unresolved_looks_at_this_claims_files_only(specs: SpecDir) -> None:
    specs.write(UID, {"gpu": {"a": EDITS}})
    specs.write(OTHER, {"gpu": {"b": EDITS}})
    ids = ["intel.com/gpu=b", "intel.com/gpu=a", "intel.com/gpu-mei=a", "other.com/gpu=a"]
    assert specs.unresolved(UID, ids) == ("intel.com/gpu=b", "intel.com/gpu-mei=a", "other.com/gpu=a")


def test_sweep_removes_old_leftovers_of_ours_only(specs: SpecDir, folder: Path) -> None:
    folder.mkdir()
    old, young = f"intel.com-gpu_{UID}.json.tmp", f"intel.com-gpu_{OTHER}.json.tmp"
    foreign = ["spec.123.tmp", "nvidia.com-gpu_x.json.tmp", "intel.com-gpu.json.tmp"]
    for name in (old, young, *foreign):
        (folder / name).write_text("half")
        if name != young:
            os.utime(folder / name, (time.time() - 3600, time.time() - 3600))
    # The young one may be a second instance's, just now being written.
    assert specs.sweep_temporary() == (old,)
    assert listing(folder) == sorted([young, *foreign])
    assert specs.sweep_temporary(older_than=0) == (young,)


def test_leftover_of_a_killed_writer_does_not_disturb_the_next_write(specs: SpecDir, folder: Path) -> None:
    folder.mkdir()
    (folder / f"intel.com-gpu_{UID}.json.tmp").write_text("x" * 10_000)
    specs.write(UID, {"gpu": {"a": EDITS}})
    assert listing(folder) == [f"intel.com-gpu_{UID}.json"]
    assert list(resolve(["intel.com/gpu=a"], [folder]).device_nodes) == ["/dev/dri/card0"]


def check_cure(error: StateError, *parts: str) -> None:
    for part in ("CDI: cannot", "--cdi-dynamic-root", *parts):
        assert part in str(error)


def test_file_in_place_of_the_folder(specs: SpecDir, folder: Path) -> None:
    folder.write_text("")
    for call in (lambda: specs.write(UID, {"gpu": {"a": EDITS}}), specs.uids, lambda: specs.delete(UID)):
        with pytest.raises(StateError) as caught:
            call()
        check_cure(caught.value, str(folder), "move it away")
    assert folder.read_text() == ""


def test_folder_that_nobody_may_write() -> None:
    # sysfs refuses new files even to root, as a read-only mount does.
    specs = SpecDir(Path("/sys/kernel"), "intel.com", CLASSES)
    with pytest.raises(StateError) as caught:
        specs.write(UID, {"gpu": {"a": EDITS}})
    check_cure(caught.value, f"/sys/kernel/intel.com-gpu_{UID}.json")


def test_nothing_waits_for_the_disk_since_a_boot_makes_all_files_anew(
    specs: SpecDir, synced: list[str]
) -> None:
    specs.write(UID, {"gpu": {"a": EDITS}})
    specs.write(UID, {"gpu": {"b": EDITS}})
    specs.delete(UID)
    assert synced == []


@pytest.mark.parametrize(
    ("code", "cure"), [(errno.ENOSPC, "free space"), (errno.EROFS, "mount"), (errno.EIO, "disk")]
)
def test_failing_disk_keeps_the_old_file_and_leaves_no_litter(
    specs: SpecDir, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, cure: str
) -> None:
    specs.write(UID, {"gpu": {"a": EDITS}})
    before = (folder / f"intel.com-gpu_{UID}.json").read_bytes()

    def write(descriptor: int, data: bytes) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StateError) as caught:
        specs.write(UID, {"gpu": {"b": EDITS}})
    check_cure(caught.value, cure, os.strerror(code))
    assert listing(folder) == [f"intel.com-gpu_{UID}.json"]
    assert (folder / f"intel.com-gpu_{UID}.json").read_bytes() == before


def test_a_folder_in_place_of_a_file_defines_nothing_and_is_named_when_written(
    specs: SpecDir, folder: Path
) -> None:
    path = folder / f"intel.com-gpu_{UID}.json"
    path.mkdir(parents=True)
    assert list(specs.unresolved(UID, ["intel.com/gpu=a"])) == ["intel.com/gpu=a"]
    with pytest.raises(StateError) as caught:
        specs.write(UID, {"gpu": {"a": EDITS}})
    check_cure(caught.value, "replace", "a folder stands in its place: move it away")


@pytest.mark.scenario(79)
def test_no_reader_ever_sees_a_half_file(specs: SpecDir, folder: Path) -> None:
    """A runtime that looks at any moment finds the old or the new content, whole."""
    big = ContainerEdits(env=tuple(f"V{index}={'x' * 200}" for index in range(200)))
    contents = [{"gpu": {"a": EDITS}}, {"gpu": {"a": big}}]
    specs.write(UID, contents[0])
    done = threading.Event()
    seen: list[int] = []
    faults: list[Exception] = []

    def read() -> None:
        while not done.is_set():
            try:
                seen.append(len(resolve(["intel.com/gpu=a"], [folder]).env))
            except (Unresolvable, OSError) as error:
                faults.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        deadline = time.monotonic() + 60
        turn = 0
        while (turn < 200 or set(seen) != {0, 200}) and time.monotonic() < deadline:
            turn += 1
            specs.write(UID, contents[turn % 2])
    finally:
        done.set()
        reader.join()
    assert faults == []
    assert set(seen) == {0, 200}


# ------------------------------------------------------------------- whatever we write, a runtime understands

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
ALNUM = "abcXYZ019"
PATHS = st.lists(
    st.text(ALNUM + "._- é", min_size=1, max_size=8).filter(lambda part: part != ".."), min_size=1, max_size=3
).map(lambda parts: "/" + "/".join(parts))
ENV = st.tuples(st.text(ALNUM + "_", min_size=1, max_size=6), TEXT).map("=".join)
NODES = st.builds(
    DeviceNode,
    path=PATHS,
    host_path=st.none() | PATHS.map("/host".__add__),
    type=st.sampled_from([None, "c", "b"]),
    permissions=st.sampled_from([None, "none", "r", "rw", "rwm", "mr"]),
).filter(lambda node: node.host_path != node.path)
MOUNTS = st.builds(
    Mount,
    host_path=PATHS,
    container_path=PATHS,
    type=st.sampled_from([None, "none", "tmpfs"]),
    options=st.lists(st.sampled_from(["bind", "ro", "rw"]), max_size=3).map(tuple),
)
HOOKS = st.builds(
    Hook,
    name=st.sampled_from(
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    ),
    path=PATHS,
    args=st.lists(TEXT, max_size=3).map(tuple),
    env=st.lists(ENV, max_size=2).map(tuple),
)
ALL_EDITS = st.builds(
    ContainerEdits,
    env=st.lists(ENV, max_size=3, unique_by=lambda entry: entry.partition("=")[0]).map(tuple),
    device_nodes=st.lists(NODES, max_size=3, unique_by=lambda node: node.path).map(tuple),
    mounts=st.lists(MOUNTS, max_size=3, unique_by=lambda mount: mount.container_path).map(tuple),
    hooks=st.lists(HOOKS, max_size=2).map(tuple),
).filter(bool)
NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.:-]{0,20}[A-Za-z0-9])?", fullmatch=True)
DEVICES = st.dictionaries(NAMES, ALL_EDITS, min_size=1, max_size=3)


def depth(mount: Mount) -> int:
    return mount.container_path.rstrip("/").count("/")


def as_written(edits: ContainerEdits) -> ContainerEdits:
    """Mounts in the order in which a runtime makes them."""
    return ContainerEdits(edits.env, edits.device_nodes, tuple(sorted(edits.mounts, key=depth)), edits.hooks)


def as_read(name: str, folder: Path) -> ContainerEdits:
    got = resolve([name], [folder])
    return ContainerEdits(
        env=tuple(f"{key}={value}" for key, value in got.env.items()),
        device_nodes=tuple(
            DeviceNode(node["path"], node.get("hostPath"), node.get("type"), node.get("permissions"))
            for node in got.device_nodes.values()
        ),
        mounts=tuple(
            Mount(
                mount["hostPath"], mount["containerPath"], mount.get("type"), tuple(mount.get("options", []))
            )
            for mount in got.mounts.values()
        ),
        hooks=tuple(
            Hook(hook["hookName"], hook["path"], tuple(hook.get("args", [])), tuple(hook.get("env", [])))
            for hook in got.hooks
        ),
    )


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cdi")


@settings(deadline=None, max_examples=150)
@given(devices=DEVICES, name=st.sampled_from(["gpu", "gpu-mei", "gpu.v2"]))
def test_everything_written_is_read_back_equal(
    shared_folder: Path, devices: dict[str, ContainerEdits], name: str
) -> None:
    specs = SpecDir(shared_folder, "intel.com", ["gpu", "gpu-mei", "gpu.v2"])
    specs.write(UID, {name: devices})
    ids = [qualified_name("intel.com", name, device) for device in devices]
    assert specs.unresolved(UID, ids) == ()
    for device, edits in devices.items():
        assert as_read(qualified_name("intel.com", name, device), shared_folder) == as_written(edits)


# --------------------------------------------------------------------------- comparing


def test_what_is_missing_and_what_is_wrong_are_told_apart_and_nothing_is_written(
    specs: SpecDir, folder: Path
) -> None:
    wanted = {"gpu": {"a": EDITS}, "gpu-mei": {"m": EDITS}}
    gpu, mei = (str(folder / f"intel.com-{name}_{UID}.json") for name in CLASSES)
    assert specs.compare(UID, wanted) == ((gpu, mei), ())
    assert not folder.exists()
    specs.write(UID, wanted)
    assert specs.compare(UID, wanted) == ((), ())
    assert specs.compare(UID, {"gpu": {"a": EDITS}}) == ((), (mei,))
    Path(gpu).write_text("{")
    Path(mei).unlink()
    assert specs.compare(UID, wanted) == ((mei,), (gpu,))
    assert Path(gpu).read_text() == "{"


def test_unfinished_files_are_known_by_their_claim_and_dropped_one_claim_at_a_time(
    specs: SpecDir, folder: Path
) -> None:
    specs.write(UID, {"gpu": {"a": EDITS}})
    for uid in (UID, OTHER):
        (folder / f"intel.com-gpu_{uid}.json.tmp").write_text("{")
    (folder / "other.com-gpu_x.json.tmp").touch()
    assert specs.unfinished_uids() == {UID, OTHER}
    specs.drop_unfinished(UID)
    assert specs.unfinished_uids() == {OTHER}
    assert specs.uids() == {UID}
