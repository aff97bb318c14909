from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from dra_common import custody
from dra_common.deadline import Deadline
from dra_common.errors import LockTimeout
from dra_common.locks import FileLocks


@pytest.fixture
def locks(tmp_path: Path) -> FileLocks:
    return FileLocks(tmp_path / "claims", tmp_path / "hardware")


def test_a_call_knows_what_it_has_locked_and_for_how_long(locks: FileLocks, tmp_path: Path) -> None:
    deadline = Deadline.after(60)
    assert custody.current() is None
    with locks.parents(["b", "a", "b"], deadline):
        held = custody.current()
        assert held is not None
        assert (held.names, held.deadline) == (("a", "b"), deadline)
        paths = [Path(f"/proc/self/fd/{number}").readlink() for number in held.descriptors]
        assert paths == [tmp_path / "hardware/a.lock", tmp_path / "hardware/b.lock"]
    assert custody.current() is None


def test_other_threads_have_not_locked_it(locks: FileLocks) -> None:
    seen: list[custody.Custody | None] = []
    with locks.parents(["a"], Deadline.after(60)):
        thread = threading.Thread(target=lambda: seen.append(custody.current()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_a_copy_of_the_descriptor_keeps_the_lock(locks: FileLocks) -> None:
    with locks.parents(["a"], Deadline.after(60)):
        held = custody.current()
        assert held is not None
        copy = os.dup(held.descriptors[0])
    with pytest.raises(LockTimeout, match="hardware a is still locked by another call"):
        locks.parents(["a"], Deadline.after(0)).__enter__()
    os.pwrite(copy, b"0000:01:00.0: unbind igb", 0)
    with pytest.raises(
        LockTimeout, match=r"hardware a is still locked: 0000:01:00.0: unbind igb: the kernel"
    ):
        locks.parents(["a"], Deadline.after(0)).__enter__()
    os.close(copy)
    with locks.parents(["a"], Deadline.after(60)):
        pass
