"""Reading which hierarchies a machine has: what mountinfo and cgroup look like on real ones."""

from pathlib import Path

import pytest
from harness.cgroups import Hierarchy, hand_down, hierarchies, remove_all
from harness.errors import HarnessError
from harness.waiting import NotInTime

LEGACY = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
LEGACY_OWN = "9:name=systemd:/init.scope\n4:memory:/jobs/7\n1:cpuacct,cpu:/\n0::/user\n"
UNIFIED = (
    "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
)


def proc(folder: Path, mountinfo: str, own: str) -> Path:
    (folder / "mountinfo").write_text(mountinfo)
    (folder / "cgroup").write_text(own)
    return folder


def test_every_hierarchy_of_a_mixed_machine_is_found_once(tmp_path: Path) -> None:
    # Mounted twice, as below a container's folder: the first is the one to use.
    twice = LEGACY + "77 31 0:32 / /elsewhere/memory rw - cgroup cgroup rw,memory\n"
    found = hierarchies(proc(tmp_path, twice, LEGACY_OWN))
    assert [(str(each.mountpoint), each.kind, each.options, each.own) for each in found] == [
        ("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct", "/"),
        ("/sys/fs/cgroup/memory", "cgroup", "memory", "/jobs/7"),
        ("/sys/fs/cgroup/systemd", "cgroup", "name=systemd", "/init.scope"),
        ("/sys/fs/cgroup/unified", "cgroup2", "", "/user"),
    ]


def test_version_1_nests_and_version_2_begins_at_the_top(tmp_path: Path) -> None:
    found = hierarchies(proc(tmp_path, LEGACY, LEGACY_OWN))
    folders = [str(each.folder("mine")) for each in found]
    assert folders[1] == "/sys/fs/cgroup/memory/jobs/7/mine"
    assert folders[3] == "/sys/fs/cgroup/unified/mine"


def test_a_unified_machine_has_one(tmp_path: Path) -> None:
    (only,) = hierarchies(proc(tmp_path, UNIFIED, "0::/user.slice/session-2.scope\n"))
    assert only.version2
    assert str(only.folder("mine")) == "/sys/fs/cgroup/mine"


def test_a_machine_without_cgroups_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"no cgroup hierarchy .* \(mount cgroup2 on /sys/fs/cgroup\)"):
        hierarchies(proc(tmp_path, "23 1 0:4 / /proc rw - proc proc rw\n", "0::/\n"))


def test_all_controllers_are_handed_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    hand_down(tmp_path)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpuset +cpu +memory +pids"


def test_without_controllers_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("\n")
    hand_down(tmp_path)
    assert not (tmp_path / "cgroup.subtree_control").exists()


def test_a_set_of_processors_is_that_of_the_parent(tmp_path: Path) -> None:
    (tmp_path / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset.mems").write_text("0\n")
    hierarchy = Hierarchy(tmp_path, "cgroup", "cpuset", "/")

    plain = Path.mkdir

    def as_the_kernel_does(self: Path) -> None:
        plain(self)
        for name in ("cpuset.cpus", "cpuset.mems"):
            (self / name).touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "mkdir", as_the_kernel_does)
        hierarchy.create("mine")
    assert (tmp_path / "mine" / "cpuset.cpus").read_text() == "0-1\n"
    assert (tmp_path / "mine" / "cpuset.mems").read_text() == "0\n"


def test_everything_below_is_removed_and_what_is_gone_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "mine" / "kubepods" / "pod1").mkdir(parents=True)
    hierarchy = Hierarchy(tmp_path, "cgroup", "memory", "/")
    remove_all([hierarchy], "mine")
    assert list(tmp_path.iterdir()) == []
    remove_all([hierarchy], "mine")


@pytest.mark.parametrize("timeout", [0.2])
def test_a_cgroup_that_stays_busy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeout: float
) -> None:
    (tmp_path / "mine").mkdir()

    def busy(self: Path) -> None:
        raise OSError(16, "Device or resource busy", str(self))

    monkeypatch.setattr(Path, "rmdir", busy)
    with pytest.raises(NotInTime, match=rf"the cgroup {tmp_path}/mine to be empty"):
        remove_all([Hierarchy(tmp_path, "cgroup", "memory", "/")], "mine", timeout)
