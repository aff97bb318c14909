"""Durable changes of files: the old or the new content at any moment, and errors that say what to do."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from dra_common.errors import StateError
from dra_common.files import explained, make_folder, remove_durably, sync_folder, write_durably
from dra_common.testing.waiting import wait_until


def test_what_is_written_is_there_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"one")
    assert path.read_bytes() == b"one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_durably(path, b"", mode=0o644)
    assert path.read_bytes() == b""
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_the_umask_takes_nothing_away(tmp_path: Path) -> None:
    old = os.umask(0o777)
    try:
        write_durably(tmp_path / "file", b"x", mode=0o644)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_a_reader_sees_the_old_or_the_new_content_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([letter]) * size for letter, size in ((65, 100_000), (66, 10), (67, 300_000))]
    write_durably(path, contents[0])
    stop, seen, bad = threading.Event(), set[bytes](), list[bytes]()

    def read() -> None:
        while not stop.is_set():
            data = path.read_bytes()
            if data not in contents:
                bad.append(data[:20])
            seen.add(data[:1])

    reader = threading.Thread(target=read)
    reader.start()

    def write_all() -> bool:
        for data in contents:
            write_durably(path, data)
        return len(seen) == 3

    try:
        # As long as it takes the reader to have met all three.
        wait_until(write_all, "all contents")
    finally:
        stop.set()
        reader.join()
    assert not bad


KILLED = """
import sys, os
from pathlib import Path
from dra_common.files import write_durably
path = Path(sys.argv[1])
print("ready", flush=True)
while True:
    for letter in b"AB":
        write_durably(path, bytes([letter]) * 200_000)
"""


def test_a_kill_leaves_the_old_or_the_new_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            assert writer.stdout.readline() == b"ready\n"
            wait_until(path.exists, "the first write")
            wait_until(lambda: path.read_bytes()[:1] == b"B", "another write")
            writer.kill()
        data = path.read_bytes()
        assert len(data) == 200_000
        assert len(set(data)) == 1
        # The next writer does not stumble over what the killed one left.
        write_durably(path, b"next")
        assert path.read_bytes() == b"next"
        assert [each.name for each in tmp_path.iterdir()] == ["file"]
        path.unlink()


def test_a_link_in_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    """Whoever can make files in the folder could otherwise have us overwrite any file of the host."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "file.tmp").symlink_to(victim)
    # Refused or replaced, both are fine.
    with suppress(StateError):
        write_durably(tmp_path / "file", b"new")
    assert victim.read_text() == "precious"
    write_durably(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_failed_write_keeps_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError) as caught:
        write_durably(path, b"new")
    assert (
        str(caught.value)
        == f"cannot write {path}.tmp: No space left on device (free space on its file system)"
    )
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_data_and_folder_are_synced_in_this_order(tmp_path: Path, synced: list[str]) -> None:
    write_durably(tmp_path / "file", b"x")
    assert synced == ["file.tmp", tmp_path.name]
    synced.clear()
    write_durably(tmp_path / "file", b"x", durability="data")
    assert synced == ["file.tmp"]
    synced.clear()
    write_durably(tmp_path / "file", b"y", durability="none")
    assert (synced, (tmp_path / "file").read_bytes()) == ([], b"y")
    assert remove_durably(tmp_path / "file")
    assert synced == [tmp_path.name]


def test_remove_says_whether_there_was_something(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert not remove_durably(path)
    path.touch()
    assert remove_durably(path)
    assert not path.exists()
    with pytest.raises(StateError, match=f"cannot remove {tmp_path}"):
        remove_durably(tmp_path)


def test_make_folder_makes_parents_and_is_content_with_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    make_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    make_folder(folder)
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="something else stands in its place: move it away"):
        make_folder(tmp_path / "file")
    with pytest.raises(StateError, match="a file stands where a folder must be"):
        make_folder(tmp_path / "file/below")


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="its folder was removed: restart the driver"):
        write_durably(tmp_path / "gone/file", b"x")
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "gone")


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        (errno.EROFS, "mount the file system read-write"),
        (errno.ENOSPC, "free space on its file system"),
        (errno.EDQUOT, "raise the quota"),
        (errno.EACCES, "run the driver as root"),
        (errno.EPERM, "run the driver as root"),
        (errno.EEXIST, "something else stands in its place"),
        (errno.ENOTDIR, "a file stands where a folder must be"),
        (errno.EIO, "check the disk"),
        (errno.ENOENT, "its folder was removed"),
    ],
)
def test_every_errno_has_its_cure(tmp_path: Path, code: int, cure: str) -> None:
    with pytest.raises(StateError) as caught, explained("turn", tmp_path):
        raise OSError(code, os.strerror(code))
    assert caught.value.message == f"cannot turn {tmp_path}: {os.strerror(code)}"
    assert cure in caught.value.cure


def test_an_errno_without_a_cure_still_says_what_happened(tmp_path: Path) -> None:
    with pytest.raises(StateError) as caught, explained("turn", tmp_path):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    assert str(caught.value) == f"cannot turn {tmp_path}: Too many open files"


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), explained("turn", tmp_path):
        raise ValueError("mine")
