from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import pty
import shutil
import struct
import tempfile
import termios
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pytest
from dra_common.errors import HostError, HostNotFound, HostWriteError
from dra_common.host import FileTree, RealHost, Roots
from dra_common.host.tree import READ_LIMIT
from hypothesis import given
from hypothesis import strategies as st

T = TypeVar("T")

BDF = "0000:03:00.0"
SLOT = "devices/pci0000:00/0000:00:01.0/0000:03:00.0"
LINK = f"bus/pci/devices/{BDF}"
NOBODY = 65534


def build(root: Path) -> Path:
    """A PCI function as sysfs shows it: reached by a link, with links inside."""
    slot = root / SLOT
    (slot / "drm" / "card0").mkdir(parents=True)
    (slot / "vendor").write_text("0x8086\n")
    (slot / "device").write_text("0x56c0\n")
    (slot / "driver_override").write_text("(null)\n")
    (root / "bus/pci/devices").mkdir(parents=True)
    (root / "bus/pci/drivers/xe").mkdir(parents=True)
    (root / LINK).symlink_to(f"../../../{SLOT}")
    (slot / "driver").symlink_to("../../../../bus/pci/drivers/xe")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside")
    return build(tmp_path / "sys")


@pytest.fixture
def tree(root: Path) -> FileTree:
    return FileTree(str(root))


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A tree that other users may enter: pytest's own folders are closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="dra"))
    folder.chmod(0o755)
    yield build(folder / "sys")
    (folder / "sys" / SLOT).chmod(0o755)
    shutil.rmtree(folder)


def as_ordinary_user(action: Callable[[], T]) -> T:
    """Run where file modes count. The kernel keeps this user id for each thread, so that nothing else changes."""

    def act() -> T:
        libc = ctypes.CDLL(None)
        libc.setfsuid(NOBODY)
        return action()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(act).result()


def refused(kind: type[HostError], number: int, action: Callable[[], object]) -> str:
    """The one line of the error that ``action`` ends with, which is exactly of this kind."""
    with pytest.raises(HostError) as caught:
        action()
    assert type(caught.value) is kind
    assert caught.value.errno == number
    assert errno.errorcode[number] in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --------------------------------------------------------------------------- read


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"0x8086\n", "0x8086"),
        (b"0x8086", "0x8086"),
        (b"", ""),
        (b"\n", ""),
        (b"a\nb\n\n", "a\nb\n"),
        (b"  7 \n", "  7 "),
        ("Größe\n".encode(), "Größe"),
        (b"a\0b", "a\0b"),
    ],
)
def test_read_takes_away_the_last_newline_and_nothing_else(
    root: Path, tree: FileTree, content: bytes, text: str
) -> None:
    (root / SLOT / "vendor").write_bytes(content)
    assert tree.read(f"{LINK}/vendor") == text


def test_a_missing_file_names_path_and_step(root: Path, tree: FileTree) -> None:
    line = refused(HostNotFound, errno.ENOENT, lambda: tree.read(f"{LINK}/lmem"))
    assert line == f"cannot read {root}/{LINK}/lmem: No such file or directory (ENOENT)"


def test_a_file_that_vanishes_during_the_walk_is_not_found(root: Path, tree: FileTree) -> None:
    names = tree.listdir(LINK)
    shutil.rmtree(root / SLOT)
    for name in names:
        refused(HostNotFound, errno.ENOENT, lambda name=name: tree.read(f"{LINK}/{name}"))  # type: ignore[misc]


def test_a_file_that_vanishes_between_resolving_and_opening_is_not_found(
    root: Path, tree: FileTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = os.readlink

    def late(path: str) -> str:
        (root / SLOT / "vendor").unlink(missing_ok=True)
        return resolve(path)

    monkeypatch.setattr("dra_common.host.tree.os.readlink", late)
    refused(HostNotFound, errno.ENOENT, lambda: tree.read(f"{LINK}/vendor"))
    monkeypatch.undo()
    assert tree.read(f"{LINK}/device") == "0x56c0"


def test_a_file_whose_name_looks_deleted_is_read(root: Path, tree: FileTree) -> None:
    (root / "odd (deleted)").write_text("here")
    assert tree.read("odd (deleted)") == "here"


def test_garbage_is_refused_with_the_place_of_the_first_bad_byte(root: Path, tree: FileTree) -> None:
    (root / SLOT / "vendor").write_bytes(b"0x80\xff6\n")
    line = refused(HostError, errno.EILSEQ, lambda: tree.read(f"{LINK}/vendor"))
    assert "not UTF-8 text: byte 0xff at offset 4" in line


def test_a_folder_where_a_file_is_expected(tree: FileTree) -> None:
    assert f"cannot read {tree.root}/{LINK}/drm: " in refused(
        HostError, errno.EISDIR, lambda: tree.read(f"{LINK}/drm")
    )


def test_a_file_where_a_folder_is_expected(tree: FileTree) -> None:
    refused(HostError, errno.ENOTDIR, lambda: tree.read(f"{LINK}/vendor/x"))
    refused(HostError, errno.ENOTDIR, lambda: tree.listdir(f"{LINK}/vendor"))


def test_a_fifo_is_refused_and_not_waited_for(root: Path, tree: FileTree) -> None:
    os.mkfifo(root / "fifo")
    refused(HostError, errno.EINVAL, lambda: tree.read("fifo"))
    refused(HostWriteError, errno.EINVAL, lambda: tree.write("fifo", "1"))


def test_a_device_node_is_never_opened_by_reading() -> None:
    refused(HostError, errno.EINVAL, lambda: FileTree("/dev").read("zero"))


def test_a_file_as_long_as_the_limit_is_read_and_one_byte_more_is_refused(root: Path, tree: FileTree) -> None:
    (root / "long").write_text("x" * READ_LIMIT)
    assert tree.read("long") == "x" * READ_LIMIT
    (root / "long").write_text("x" * (READ_LIMIT + 1))
    assert "longer than 65536 bytes" in refused(HostError, errno.EFBIG, lambda: tree.read("long"))


def test_a_file_longer_than_one_read_is_whole(root: Path) -> None:
    text = "".join(f"{number}\n" for number in range(50_000))
    (root / "mountinfo").write_text(text)
    assert FileTree(str(root), limit=1 << 20).read("mountinfo") == text.removesuffix("\n")


def test_the_kernel_s_errno_is_passed_on() -> None:
    # Address 0 of a process is never mapped: the one read that fails with EIO for everybody.
    assert "cannot read /proc/self/mem: Input/output error (EIO)" in refused(
        HostError, errno.EIO, lambda: FileTree("/proc").read("self/mem")
    )


def test_a_file_we_may_not_read(open_root: Path) -> None:
    (open_root / SLOT / "vendor").chmod(0)
    tree = FileTree(str(open_root))
    line = refused(HostError, errno.EACCES, lambda: as_ordinary_user(lambda: tree.read(f"{LINK}/vendor")))
    assert line.endswith(
        "Permission denied (EACCES) (run the driver as root, with this folder mounted from the host)"
    )
    assert as_ordinary_user(lambda: tree.read(f"{LINK}/device")) == "0x56c0"


def test_a_folder_we_may_not_enter(open_root: Path) -> None:
    (open_root / SLOT).chmod(0)
    tree = FileTree(str(open_root))
    refused(HostError, errno.EACCES, lambda: as_ordinary_user(lambda: tree.read(f"{LINK}/vendor")))
    refused(HostError, errno.EACCES, lambda: as_ordinary_user(lambda: tree.listdir(LINK)))
    assert as_ordinary_user(lambda: tree.exists(f"{LINK}/vendor")) is False


# --------------------------------------------------------------------------- folders and links


def test_listdir_is_sorted_and_follows_links(tree: FileTree) -> None:
    assert tree.listdir(LINK) == ("device", "driver", "driver_override", "drm", "vendor")
    assert tree.listdir("bus/pci/devices") == (BDF,)
    assert tree.listdir(f"{LINK}/drm/card0") == ()
    assert tree.listdir("") == ("bus", "devices")


def test_a_missing_folder(tree: FileTree) -> None:
    assert "cannot list" in refused(HostNotFound, errno.ENOENT, lambda: tree.listdir("class/drm"))


def test_names_that_are_no_text_are_left_out(root: Path, tree: FileTree) -> None:
    (root / os.fsdecode(b"bus/pci/devices/\xff\xfe")).mkdir()
    assert tree.listdir("bus/pci/devices") == (BDF,)


def test_readlink_gives_the_text_of_the_link(root: Path, tree: FileTree) -> None:
    assert tree.readlink(LINK) == f"../../../{SLOT}"
    assert tree.readlink(f"{LINK}/driver") == "../../../../bus/pci/drivers/xe"
    (root / "loop").symlink_to("loop")
    (root / "out").symlink_to("/nowhere/at/all")
    assert tree.readlink("loop") == "loop"
    assert tree.readlink("out") == "/nowhere/at/all"


@pytest.mark.parametrize("path", [f"{LINK}/vendor", SLOT, "", ".", f"{LINK}/driver/"])
def test_what_is_not_a_link_has_no_text(tree: FileTree, path: str) -> None:
    assert "cannot read the link" in refused(HostError, errno.EINVAL, lambda: tree.readlink(path))


def test_a_missing_link(tree: FileTree) -> None:
    refused(HostNotFound, errno.ENOENT, lambda: tree.readlink(f"{LINK}/iommu_group"))


def test_a_link_that_is_no_text(root: Path, tree: FileTree) -> None:
    (root / "bad").symlink_to(os.fsdecode(b"\xff"))
    refused(HostError, errno.EILSEQ, lambda: tree.readlink("bad"))
    (root / os.fsdecode(b"\xff")).write_text("x")
    refused(HostError, errno.EILSEQ, lambda: tree.realpath("bad"))


def test_realpath_is_relative_to_the_root(tree: FileTree) -> None:
    assert tree.realpath(LINK) == SLOT
    assert tree.realpath(f"{LINK}/driver") == "bus/pci/drivers/xe"
    assert tree.realpath(f"{LINK}/vendor") == f"{SLOT}/vendor"
    assert tree.realpath("") == ""


def test_a_dangling_link_is_not_found(root: Path, tree: FileTree) -> None:
    (root / "gone").symlink_to("devices/none")
    refused(HostNotFound, errno.ENOENT, lambda: tree.realpath("gone"))
    refused(HostNotFound, errno.ENOENT, lambda: tree.read("gone"))


@pytest.mark.parametrize("step", ["read", "listdir", "realpath"])
def test_a_loop_of_links(root: Path, tree: FileTree, step: str) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    for path in ("a", "a/vendor"):
        line = refused(HostError, errno.ELOOP, lambda path=path: getattr(tree, step)(path))  # type: ignore[misc]
        assert f"{root}/{path}" in line
    assert tree.exists("a") is False
    assert "ELOOP" in refused(HostWriteError, errno.ELOOP, lambda: tree.write("a", "1"))


@pytest.mark.parametrize("target", ["../secret", "{root}/../secret", "../sys-other/x", ".."])
def test_a_link_that_leads_out_of_the_root(root: Path, tree: FileTree, target: str) -> None:
    (root.parent / "sys-other").mkdir()
    (root.parent / "sys-other/x").write_text("neighbour")
    (root / "out").symlink_to(target.format(root=root))
    for action in (tree.read, tree.listdir, tree.realpath):
        assert "leads out of" in refused(HostError, errno.EXDEV, lambda action=action: action("out"))  # type: ignore[misc]
    refused(HostWriteError, errno.EXDEV, lambda: tree.write("out", "1"))
    assert tree.exists("out") is False
    assert (root.parent / "secret").read_text() == "outside"


def test_an_absolute_link_that_stays_below_the_root(root: Path, tree: FileTree) -> None:
    (root / "in").symlink_to(root / SLOT)
    assert tree.realpath("in") == SLOT


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "bus/../bus", "..", f"{LINK}/../{BDF}/vendor"])
def test_a_path_that_is_not_below_the_root_is_refused_even_if_it_would_come_back(
    tree: FileTree, path: str
) -> None:
    for action in (tree.read, tree.listdir, tree.readlink, tree.realpath):
        refused(HostError, errno.EXDEV, lambda action=action: action(path))  # type: ignore[misc]
    assert tree.exists(path) is False


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b", "a\x1b[31mb"])
def test_a_path_that_cannot_be_printed_is_escaped_in_the_message(tree: FileTree, path: str) -> None:
    with pytest.raises(HostError) as caught:
        tree.read(path)
    assert str(caught.value).isprintable()


def test_a_name_that_is_too_long(tree: FileTree) -> None:
    refused(HostError, errno.ENAMETOOLONG, lambda: tree.read("x" * 300))


def test_exists(tree: FileTree) -> None:
    assert tree.exists(LINK)
    assert tree.exists(f"{LINK}/vendor")
    assert tree.exists("")
    assert not tree.exists(f"{LINK}/vendor/x")
    assert not tree.exists("class")


def test_the_root_may_appear_later_and_may_be_a_link(tmp_path: Path) -> None:
    tree = FileTree(str(tmp_path / "link"))
    refused(HostNotFound, errno.ENOENT, lambda: tree.read("bus"))
    build(tmp_path / "sys")
    (tmp_path / "link").symlink_to("sys")
    assert tree.read(f"{LINK}/vendor") == "0x8086"
    assert tree.realpath(LINK) == SLOT


def test_the_whole_file_system_can_be_a_root() -> None:
    assert FileTree("/").realpath("proc/self/task") == f"proc/{os.getpid()}/task"


def test_without_proc_nothing_is_mistaken_for_missing(
    tree: FileTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unmounted(path: str) -> str:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    monkeypatch.setattr("dra_common.host.tree.os.readlink", unmounted)
    assert "/proc is not mounted" in refused(HostError, errno.EIO, lambda: tree.read(f"{LINK}/vendor"))


# --------------------------------------------------------------------------- write


def test_write_hands_over_the_value_as_it_is(root: Path, tree: FileTree) -> None:
    tree.write(f"{LINK}/driver_override", "vfio-pci")
    # Not truncated: "(null)\n" is shorter, and sysfs would not care.
    assert (root / SLOT / "driver_override").read_text() == "vfio-pci"
    tree.write(f"{LINK}/driver_override", "\n")
    assert (root / SLOT / "driver_override").read_text() == "\nfio-pci"


def test_write_creates_nothing(root: Path, tree: FileTree) -> None:
    line = refused(HostNotFound, errno.ENOENT, lambda: tree.write(f"{LINK}/sriov_numvfs", "4"))
    assert line == f"cannot write '4' to {root}/{LINK}/sriov_numvfs: No such file or directory (ENOENT)"
    assert not (root / SLOT / "sriov_numvfs").exists()


def test_a_write_of_nothing_is_refused(root: Path, tree: FileTree) -> None:
    assert "nothing to write" in refused(
        HostWriteError, errno.EINVAL, lambda: tree.write(f"{LINK}/driver_override", "")
    )
    refused(HostWriteError, errno.EINVAL, lambda: tree.write(f"{LINK}/driver_override", "\ud800"))
    assert (root / SLOT / "driver_override").read_text() == "(null)\n"


def test_a_write_to_a_folder(tree: FileTree) -> None:
    refused(HostWriteError, errno.EISDIR, lambda: tree.write(f"{LINK}/drm", "1"))


def test_the_kernel_refuses_a_value() -> None:
    proc = FileTree("/proc")
    before = proc.read("self/oom_score_adj")
    line = refused(HostWriteError, errno.EINVAL, lambda: proc.write("self/oom_score_adj", "vfio-pci\n"))
    assert line == "cannot write 'vfio-pci\\n' to /proc/self/oom_score_adj: Invalid argument (EINVAL)"
    assert proc.read("self/oom_score_adj") == before


def test_the_kernel_accepts_a_value() -> None:
    proc = FileTree("/proc")
    before = proc.read("thread-self/comm")
    proc.write("thread-self/comm", "renamed")
    assert proc.read("thread-self/comm") == "renamed"
    proc.write("thread-self/comm", before)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV, errno.EBUSY, errno.ERANGE, errno.EOPNOTSUPP])
def test_every_refusal_by_the_kernel_is_a_write_error_also_where_it_says_not_found(
    tree: FileTree, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    # sriov_numvfs answers ENOENT when no driver is bound: the file is there all the same.
    def refuse(path: str, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("dra_common.host.tree._write", refuse)
    refused(HostWriteError, number, lambda: tree.write(f"{LINK}/driver_override", "4"))


def test_a_value_that_the_kernel_takes_in_part_is_an_error(
    tree: FileTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dra_common.host.tree._write", lambda path, data: 3)
    line = refused(HostWriteError, errno.EIO, lambda: tree.write(f"{LINK}/driver_override", "vfio-pci"))
    assert "the kernel took 3 of 8 bytes" in line


def test_a_file_we_may_not_write(open_root: Path) -> None:
    (open_root / SLOT / "driver_override").chmod(0o444)
    tree = FileTree(str(open_root))
    line = refused(
        HostWriteError,
        errno.EACCES,
        lambda: as_ordinary_user(lambda: tree.write(f"{LINK}/driver_override", "xe")),
    )
    assert "run the driver as root" in line


# --------------------------------------------------------------------------- this machine


@dataclass(frozen=True)
class WindowSize:
    """A question with a plain answer that every terminal knows: TIOCGWINSZ (ioctl_tty(2))."""

    name: str = "tty.winsize"

    def run(self, fd: int) -> bytes:
        return fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))


@pytest.fixture
def terminal() -> Iterator[Path]:
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    yield Path(os.ttyname(side))
    os.close(main)
    os.close(side)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_query_asks_the_node(terminal: Path) -> None:
    host = RealHost(Roots(devfs="/dev"))
    before = open_files()
    answer = host.query(str(terminal.relative_to("/dev")), WindowSize())
    assert struct.unpack("4H", answer) == (24, 80, 0, 0)
    assert open_files() == before


def test_query_of_a_node_that_may_only_be_read(terminal: Path) -> None:
    terminal.chmod(0o444)
    host = RealHost(Roots())
    answer = as_ordinary_user(lambda: host.query(str(terminal.relative_to("/dev")), WindowSize()))
    assert struct.unpack("4H", answer)[:2] == (24, 80)


def test_query_of_a_node_that_may_not_be_opened(terminal: Path) -> None:
    terminal.chmod(0)
    host = RealHost(Roots())
    line = refused(
        HostError,
        errno.EACCES,
        lambda: as_ordinary_user(lambda: host.query(str(terminal.relative_to("/dev")), WindowSize())),
    )
    assert line.startswith(f"cannot ask tty.winsize of {terminal}: Permission denied (EACCES)")


def test_query_that_the_kernel_refuses() -> None:
    before = open_files()
    line = refused(HostError, errno.ENOTTY, lambda: RealHost(Roots()).query("null", WindowSize()))
    assert line == "cannot ask tty.winsize of /dev/null: Inappropriate ioctl for device (ENOTTY)"
    assert open_files() == before


def test_query_of_a_node_that_is_not_there(tmp_path: Path) -> None:
    host = RealHost(Roots(devfs=str(tmp_path)))
    refused(HostNotFound, errno.ENOENT, lambda: host.query("dri/renderD128", WindowSize()))


def test_query_of_what_is_no_device(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "fifo")
    host = RealHost(Roots(devfs=str(tmp_path)))
    for node in ("file", "fifo", ""):
        assert "not a character device" in refused(
            HostError,
            errno.ENOTTY,
            lambda node=node: host.query(node, WindowSize()),  # type: ignore[misc]
        )


def test_boot_id_of_this_machine() -> None:
    host = RealHost(Roots())
    assert host.boot_id() == host.boot_id()
    assert len(host.boot_id()) == 36


@pytest.mark.parametrize("content", [b"", b"\n", b"6977f977", b"../../../etc/passwd\n", b"\xff" * 36])
def test_a_boot_id_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_bytes(content)
    with pytest.raises(HostError, match="boot_id"):
        RealHost(Roots(procfs=str(tmp_path))).boot_id()


def test_no_boot_id(tmp_path: Path) -> None:
    with pytest.raises(HostNotFound):
        RealHost(Roots(procfs=str(tmp_path))).boot_id()


def test_every_root_is_a_setting(tmp_path: Path) -> None:
    for name in ("sysfs", "devfs", "procfs", "debugfs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    roots = Roots(
        **{name: str(tmp_path / name) for name in ("sysfs", "devfs", "procfs", "debugfs")}, dev_root="/d"
    )
    host = RealHost(roots)
    trees = (host.sysfs, host.devfs, host.procfs, host.debugfs)
    assert [tree.read("file") for tree in trees] == ["sysfs", "devfs", "procfs", "debugfs"]
    assert host.dev_root == "/d"


# --------------------------------------------------------------------------- whatever may happen to a tree
#
# These tests write, maybe as root, through trees that are damaged on purpose. So no link of theirs leads anywhere but
# to their own temporary folder: a defect of FileTree must fail a test, never harm the machine that runs it.


def cut(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        cut(path)
        make(path)

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "gone": cut,
    "empty": replace_by(Path.touch),
    "garbage": replace_by(lambda path: path.write_bytes(bytes(range(256)))),
    "huge": replace_by(lambda path: path.write_bytes(b"7" * (READ_LIMIT + 1))),
    "folder": replace_by(Path.mkdir),
    "fifo": replace_by(os.mkfifo),
    "loop": replace_by(lambda path: path.symlink_to(path.name)),
    "to itself": replace_by(lambda path: path.symlink_to(".")),
    "dangling": replace_by(lambda path: path.symlink_to("nowhere")),
    "odd name": replace_by(lambda path: path.with_name(os.fsdecode(b"\xff")).touch()),
    "out to a file": replace_by(lambda path: path.symlink_to(base_of(path) / "outside/file")),
    "out to a folder": replace_by(lambda path: path.symlink_to(base_of(path) / "outside")),
}
PLACES = (
    SLOT,
    f"{SLOT}/vendor",
    f"{SLOT}/driver",
    f"{SLOT}/drm",
    f"{SLOT}/drm/card0",
    LINK,
    "bus/pci/devices",
    "bus",
)


def base_of(path: Path) -> Path:
    """The temporary folder, above the root ``sys``."""
    return Path(*path.parts[: path.parts.index("sys")])


def damage(root: Path, place: str, kind: str) -> None:
    """Damage one place, unless an earlier damage made it a place outside of the root."""
    path = root / place
    if path.parent.is_dir() and path.parent.resolve().is_relative_to(root.resolve()):
        DAMAGES[kind](path)


def walk(tree: FileTree, path: str = "", depth: int = 0) -> Iterator[str]:
    """Every path that listdir leads to, through links as well."""
    yield path
    try:
        names = tree.listdir(path)
    except HostError:
        return
    for name in names if depth < 8 else ():
        yield from walk(tree, f"{path}/{name}".lstrip("/"), depth + 1)


def use_all(tree: FileTree, path: str) -> None:
    """Do everything that a tree can do to one path; only HostErrors may come of it."""
    for action in (tree.read, tree.realpath, tree.readlink, tree.listdir, lambda path: tree.write(path, "1")):
        try:
            answer = action(path)
        except HostError as error:
            assert error.errno  # noqa: PT017 - that it is a HostError with a cause, is the subject
        else:
            assert answer != "outside", f"{path} was read outside of the root"
    assert tree.exists(path) in (True, False)


@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(sorted(DAMAGES))), max_size=6))
def test_no_damage_to_a_tree_raises_anything_but_host_errors(damages: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory(prefix="dra") as folder:
        root = build(Path(folder) / "sys")
        (root.parent / "outside").mkdir()
        (root.parent / "outside/file").write_text("outside")
        for place, kind in damages:
            damage(root, place, kind)
        tree = FileTree(str(root))
        fixed = [f"{LINK}/vendor", f"{LINK}/driver", f"{LINK}/drm/card0", f"{LINK}/file"]
        for path in [*islice(walk(tree), 200), *fixed]:
            use_all(tree, path)
        assert [path.name for path in (root.parent / "outside").iterdir()] == ["file"]
        assert (root.parent / "outside/file").read_text() == "outside"


@given(st.text(st.characters() | st.sampled_from("./\0\ud800")) | st.text("./ab"))
def test_no_path_raises_anything_but_host_errors_or_leaves_the_root(path: str) -> None:
    with tempfile.TemporaryDirectory(prefix="dra") as folder:
        (Path(folder) / "a").write_text("outside")
        (Path(folder) / "sys/b").mkdir(parents=True)
        tree = FileTree(f"{folder}/sys")
        for action in (tree.read, tree.readlink):
            with pytest.raises(HostError):
                action(path)  # there is no file and no link, only folders
        inside = not path.startswith("/") and ".." not in path.split("/")
        names = [name for name in path.split("/") if name not in ("", ".")]
        assert tree.exists(path) is (inside and names in ([], ["b"]))
