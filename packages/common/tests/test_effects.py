"""Every change that the product makes passes the seam: nothing in its sources changes the world beside it."""

from __future__ import annotations

import ast
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from dra_common import effects
from dra_common.effects import Step, Target, effect
from dra_common.errors import KubeletError, StateError
from dra_common.files import make_folder, remove_durably, write_durably
from dra_common.holds import FileHolds
from dra_common.kubelet.sockets import put_in_place

PACKAGES = [path for path in Path(__file__).parents[2].glob("*/src/*") if path.is_dir()]
"""Every driver's, also those to come."""

BESIDE = ("testing", "simulate", "simulation/", "demo.py", "demo/", "benchmark.py")
"""Not the product: what imitates the world around it. ``simulate/client.py`` is the product's way to that world."""

CHANGES_OF_OS = {
    *("chmod", "chown", "fchmod", "fchown", "lchown", "link", "makedirs", "mkdir", "mkfifo", "mknod"),
    *("remove", "removedirs", "rename", "renames", "replace", "rmdir", "symlink", "truncate", "ftruncate"),
    *("unlink", "utime", "write", "writev", "pwrite", "pwritev", "sendfile", "copy_file_range", "fsync"),
    *("fdatasync", "sync", "setxattr", "removexattr", "posix_fallocate", "system", "popen"),
}
CHANGES_OF_PATHS = {
    *("write_text", "write_bytes", "unlink", "rename", "symlink_to", "hardlink_to", "mkdir", "touch"),
    *("rmdir", "chmod", "lchmod"),
}
CHANGES_OF_OTHERS = {"bind", "add_insecure_port", "add_secure_port", "urlopen"}
WRITING = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "O_TMPFILE"}
WHOLE_MODULES = {"shutil", "tempfile", "subprocess"}
HELPED = {
    "pci/helper.py": "its process makes what is counted here, one effect for each write that it is asked for",
    "custody.py": "ends those processes, and starts none",
}
HELPER = "pci/errand.py"
"""The program of that process."""

ALLOWED = {
    ("cli/__init__.py", "open"): "standard output becomes /dev/null when its reader has gone",
    ("host/real.py", "open"): "a device node is asked by ioctl; the questions change nothing",
    ("pci/bus.py", "bind"): "a kernel driver is bound by a write to sysfs, which is counted there",
    ("prepare.py", "bind"): "the same, of a whole plan",
    ("kubelet/health.py", "add_insecure_port"): "a TCP port leaves nothing behind",
}


def product_files() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            name = path.relative_to(package).as_posix()
            if not name.startswith((*BESIDE, HELPER)) or name == "simulate/client.py":
                yield name, ast.parse(path.read_text())


def changes(call: ast.Call) -> str:
    """The name of the change that a call makes, ``""`` for any other call."""
    function = call.func
    if isinstance(function, ast.Name):
        return "open" if function.id == "open" else ""
    if not isinstance(function, ast.Attribute):
        return ""
    name = function.attr
    if isinstance(function.value, ast.Name) and function.value.id == "os":
        writes = WRITING & {node.attr for node in ast.walk(call) if isinstance(node, ast.Attribute)}
        return name if name in CHANGES_OF_OS or (name == "open" and writes) else ""
    if name == "replace":  # Path.replace takes one, str.replace two, dataclasses.replace names
        return name if len(call.args) == 1 and not call.keywords else ""
    if name == "open":
        modes = [each.value for each in ast.walk(call) if isinstance(each, ast.Constant)]
        return name if any(set(str(mode)) & set("wax+") for mode in modes) else ""
    return name if name in CHANGES_OF_PATHS | CHANGES_OF_OTHERS else ""


def passes_the_seam(block: ast.With) -> bool:
    calls = (item.context_expr for item in block.items)
    names = (each.func.id for each in calls if isinstance(each, ast.Call) and isinstance(each.func, ast.Name))
    return any(name in ("effect", "_change") for name in names)


def beside_the_seam(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Names and lines of changes outside of every ``with effect(...)``."""
    if isinstance(node, ast.With) and passes_the_seam(node):
        return
    if isinstance(node, ast.Call) and (name := changes(node)):
        yield name, node.lineno
    for child in ast.iter_child_nodes(node):
        yield from beside_the_seam(child)


def test_no_change_in_the_product_is_made_beside_the_seam() -> None:
    found = {(file, name, line) for file, tree in product_files() for name, line in beside_the_seam(tree)}
    assert {each for each in found if each[:2] not in ALLOWED} == set()


def test_nothing_on_the_list_of_exceptions_is_out_of_date() -> None:
    found = {(file, name) for file, tree in product_files() for name, _ in beside_the_seam(tree)}
    assert found >= set(ALLOWED)


def test_modules_that_change_the_world_by_themselves_are_not_imported() -> None:
    for file, tree in product_files():
        names = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert file in HELPED or not WHOLE_MODULES & {*names, *modules}, file


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("os.unlink(path)", "unlink"),
        ("os.open(path, os.O_WRONLY | os.O_CLOEXEC)", "open"),
        ("open(path, 'w')", "open"),
        ("path.open('ab')", "open"),
        ("path.rename(other)", "rename"),
        ("path.replace(other)", "replace"),
        ("connection.bind(address)", "bind"),
        ("with effect('sync', path):\n  pass\nos.fsync(fd)", "fsync"),
        ("with explained('x', path):\n  path.unlink()", "unlink"),
    ],
)
def test_the_look_at_the_sources_finds_a_change_beside_the_seam(source: str, name: str) -> None:
    assert [found for found, _ in beside_the_seam(ast.parse(source))] == [name]


@pytest.mark.parametrize(
    "source",
    [
        "with effect('remove', path):\n  path.unlink()",
        "with explained('x', path), effect('remove', path):\n  os.unlink(path)",
        "os.open(path, os.O_RDONLY)",
        "path.open('rb')",
        "text.replace('a', 'b')",
        "replace(record, phase=phase)",
    ],
)
def test_the_look_at_the_sources_leaves_the_rest_alone(source: str) -> None:
    assert list(beside_the_seam(ast.parse(source))) == []


# ---------------------------------------------------------------- what an observer sees and can do


@pytest.fixture
def seen() -> Iterator[list[tuple[Step, str]]]:
    """Every change in order."""
    changes: list[tuple[Step, str]] = []

    @contextmanager
    def observer(step: Step, target: Target) -> Iterator[None]:
        changes.append((step, Path(target).name))
        yield

    effects.observe(observer)
    yield changes
    effects.observe(None)


def test_every_step_of_a_durable_write_is_seen_in_order(tmp_path: Path, seen: list[tuple[Step, str]]) -> None:
    write_durably(tmp_path / "file", b"data")
    remove_durably(tmp_path / "file")
    written = [(step, "file.tmp") for step in ("create", "mode", "write", "sync")]
    folder = ("sync", tmp_path.name)
    assert seen == [*written, ("rename", "file"), folder, ("remove", "file"), folder]


def test_holds_and_folders_are_seen_and_what_is_there_already_is_no_change(
    tmp_path: Path, seen: list[tuple[Step, str]]
) -> None:
    holds = FileHolds(tmp_path / "held")
    holds.take("a", None, "uid")
    holds.release("a", None, "uid")
    make_folder(tmp_path / "held")
    assert seen == [("folder", "held"), ("link", "a"), ("remove", "a")]


def _full(step: Step, target: Target) -> AbstractContextManager[None]:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))


def test_what_an_observer_raises_comes_in_place_of_the_change(tmp_path: Path) -> None:
    effects.observe(_full)
    try:
        with pytest.raises(StateError, match=r"file\.tmp: No space left on device.*free space"):
            write_durably(tmp_path / "file", b"data")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(tmp_path / "hidden"))
            with pytest.raises(KubeletError, match="No space left"):
                put_in_place(tmp_path / "hidden", tmp_path / "socket")
    finally:
        effects.observe(None)
    assert [path.name for path in tmp_path.iterdir()] == ["hidden"]


def test_without_an_observer_nothing_is_made_for_a_change(tmp_path: Path) -> None:
    assert effect("sync", tmp_path) is effect("rename", tmp_path)
