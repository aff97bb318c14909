"""Who has a device open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from dra_common.errors import HostError
from dra_common.host import RealHost, Roots
from dra_common.ports import Tree
from dra_common.testing.waiting import wait_until
from dra_common.users import User, users_of


def procfs(root: Path) -> Tree:
    return RealHost(Roots(sysfs="/", devfs="/", procfs=str(root), dev_root="/dev")).procfs


def test_a_real_process_that_has_a_file_open_is_found_and_no_other(tmp_path: Path) -> None:
    node = tmp_path / "renderD128"
    node.touch()
    hold = "import sys, time; f = open(sys.argv[1]); print('open', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", hold, str(node)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"open\n"
            (found,) = users_of({str(node), "/dev/none"}, procfs(Path("/proc")))
            assert found.pid == process.pid
            assert found.name.startswith("python")
        finally:
            process.kill()
    wait_until(lambda: users_of({str(node)}, procfs(Path("/proc"))) == (), "the process to go")


def test_what_ends_or_is_hidden_meanwhile_is_left_out(tmp_path: Path) -> None:
    for pid, target in {"1": "/dev/x", "20": "/dev/y", "3": "/dev/x"}.items():
        (tmp_path / pid / "fd").mkdir(parents=True)
        (tmp_path / pid / "fd/0").symlink_to(target)
    (tmp_path / "1/comm").write_text("init\n")
    (tmp_path / "20/fd/1").touch()
    (tmp_path / "4").mkdir()
    (tmp_path / "self").mkdir()
    assert users_of({"/dev/x"}, procfs(tmp_path)) == (User(1, "init"), User(3, "?"))
    assert str(User(1, "init")) == "1 (init)"


def test_a_procfs_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError):
        users_of({"/dev/x"}, procfs(tmp_path / "gone"))
