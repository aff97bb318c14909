import lzma
from pathlib import Path

import pytest
from guest.errors import GuestError
from guest.initramfs import Archive
from guest.modules import contents, load_order

MODULES = """kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/net/9p/9pnet.ko.xz:
kernel/net/9p/9pnet-virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz
kernel/drivers/virtio/virtio_ring.ko.xz:
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "modules.dep").write_text(MODULES)
    (tmp_path / "modules.builtin").write_text("kernel/fs/overlayfs/overlay.ko\n")
    return tmp_path


def test_what_a_module_needs_is_loaded_before_it_and_once(folder: Path) -> None:
    names = [path.name for path in load_order(folder, ["9pnet_virtio", "9p", "overlay"])]
    assert names == [
        *("virtio_ring.ko.xz", "9pnet.ko.xz", "9pnet-virtio.ko.xz"),
        *("netfs.ko.xz", "9p.ko.xz"),
    ]


def test_a_kernel_without_the_module_is_named(folder: Path) -> None:
    with pytest.raises(GuestError, match="has no module ext2"):
        load_order(folder, ["ext2"])


def test_modules_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.ko.xz").write_bytes(lzma.compress(b"code"))
    (tmp_path / "b.ko").write_bytes(b"code")
    assert contents(tmp_path / "a.ko.xz") == contents(tmp_path / "b.ko") == b"code"


def entries(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Read an archive by the kernel's document: 110 bytes of header, name and content padded to four bytes each."""
    found = {}
    while data:
        magic, fields = data[:6], [int(data[at : at + 8], 16) for at in range(6, 110, 8)]
        assert magic == b"070701"
        mode, size, length = fields[1], fields[6], fields[11]
        begin = -(-(110 + length) // 4) * 4
        found[data[110 : 110 + length - 1].decode()] = mode, data[begin : begin + size]
        data = data[begin + -(-size // 4) * 4 :]
    return found


def test_the_archive_is_as_the_kernel_reads_it() -> None:
    archive = Archive()
    archive.add("bin", 0o040755)
    archive.add("bin/tool", 0o100755, b"12345")
    archive.add("bin/link", 0o120777, b"tool")
    assert entries(archive.finish()) == {
        "bin": (0o040755, b""),
        "bin/tool": (0o100755, b"12345"),
        "bin/link": (0o120777, b"tool"),
        "TRAILER!!!": (0, b""),
    }
