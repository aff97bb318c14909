from __future__ import annotations

import errno
import stat
import threading
from pathlib import Path

import pytest
from dra_common.simulate.tree import DiskTree


@pytest.fixture
def tree(tmp_path: Path) -> DiskTree:
    return DiskTree(tmp_path / "sys")


def test_text_gets_its_newline_once(tree: DiskTree) -> None:
    tree.write("a/b/one", "1")
    tree.write("a/b/two", "2\n")
    assert (tree.root / "a/b/one").read_bytes() == b"1\n"
    assert (tree.root / "a/b/two").read_bytes() == b"2\n"
    assert (tree.read("a/b/one"), tree.read("a/b/two")) == ("1", "2")


@pytest.mark.parametrize(("mode", "kept"), [(0o644, 0o444), (0o200, 0), (0o444, 0o444), (0o600, 0o400)])
def test_nothing_can_be_written_past_the_kernel(tree: DiskTree, mode: int, kept: int) -> None:
    tree.write("a", "1", mode)
    tree.write("a", "2", mode)
    assert stat.S_IMODE((tree.root / "a").stat().st_mode) == kept


def test_a_reader_never_sees_half_a_file(tree: DiskTree) -> None:
    texts = {"a" * 5000, "b" * 6000}
    tree.write("f", "a" * 5000)
    seen: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(tree.read("f"))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(200):
        for text in texts:
            tree.write("f", text)
    stop.set()
    reader.join()
    assert seen
    assert seen <= texts


@pytest.mark.parametrize(
    ("path", "target", "text"),
    [
        ("devices/r/a/driver", "bus/d", "../../../bus/d"),
        ("devices/r/a/x/y/device", "devices/r/a", "../../../a"),
        ("devices/r/b/physfn", "devices/r/a", "../a"),
        ("bus/devices/a", "devices/r/a", "../../devices/r/a"),
        ("top", "bus", "bus"),
    ],
)
def test_links_are_relative(tree: DiskTree, path: str, target: str, text: str) -> None:
    tree.make_folder(target)
    tree.link(path, target)
    assert str((tree.root / path).readlink()) == text
    assert tree.resolve(path) == target


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../b"])
def test_nothing_is_made_outside(tree: DiskTree, path: str) -> None:
    with pytest.raises(ValueError, match="not a path below"):
        tree.write(path, "x")
    with pytest.raises(ValueError, match="not a path below"):
        tree.remove(path)


def test_resolve_refuses_what_leads_nowhere_or_out(tree: DiskTree, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    tree.link_text("out", "../secret")
    tree.link_text("loop", "loop")
    tree.link_text("dangling", "nothing")
    numbers = {}
    for path in ("out", "loop", "dangling", "missing", "../secret"):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is looked at
            tree.resolve(path)
        numbers[path] = caught.value.errno
    assert numbers == {
        "out": errno.ENOENT,
        "loop": errno.ELOOP,
        "dangling": errno.ENOENT,
        "missing": errno.ENOENT,
        "../secret": errno.ENOENT,
    }


def test_remove(tree: DiskTree) -> None:
    tree.write("a/b/c", "1")
    tree.link("a/l", "a/b")
    tree.remove("a/l")
    assert tree.exists("a/b/c")
    tree.remove("a")
    tree.remove("a")
    assert not tree.exists("a")


def test_a_dangling_link_exists_and_can_be_removed(tree: DiskTree) -> None:
    tree.link_text("l", "nothing")
    assert tree.exists("l")
    tree.remove("l")
    assert not tree.exists("l")


def test_prune_stops_at_what_is_in_use(tree: DiskTree) -> None:
    tree.make_folder("a/b/c/d")
    tree.write("a/f", "1")
    tree.prune("a/b/c/d")
    assert tree.names("a") == ["f"]
    tree.remove("a/f")
    tree.prune("a")
    assert tree.root.is_dir()


def test_clear_keeps_the_root(tree: DiskTree) -> None:
    tree.write("a/b", "1")
    inode = tree.root.stat().st_ino
    tree.clear()
    assert tree.names("") == []
    assert tree.root.stat().st_ino == inode


def test_names_of_no_folder(tree: DiskTree) -> None:
    assert tree.names("missing") == []


def test_sparse(tree: DiskTree) -> None:
    tree.sparse("big", 1 << 34)
    status = (tree.root / "big").stat()
    assert (status.st_size, status.st_blocks) == (1 << 34, 0)
