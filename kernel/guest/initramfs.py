"""The first file system of the guest, which mounts the machine's: busybox, three modules, a script.

Source: Documentation/driver-api/early-userspace/buffer-format.rst (the "newc" format of cpio).
"""

import stat
from collections.abc import Iterator
from pathlib import Path

from guest import modules
from guest.parts import Parts

BOOT = Path(__file__).parent / "boot"
FOLDERS = ("bin", "dev", "machine", "modules", "proc", "root", "sys", "writable")
APPLETS = ("cat", "insmod", "mkdir", "mount", "sh", "switch_root", "umount")


def build(parts: Parts) -> bytes:
    """Make the archive. Raises ``OSError``, and ``GuestError`` for a kernel without the modules."""
    archive = Archive()
    for name in FOLDERS:
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("bin/busybox", stat.S_IFREG | 0o755, _busybox(parts).read_bytes())
    for applet in APPLETS:
        archive.add(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    for name, content in _modules(parts):
        archive.add(f"modules/{name}", stat.S_IFREG | 0o644, content)
    for script in ("init", "begin"):
        archive.add(script, stat.S_IFREG | 0o755, (BOOT / script).read_bytes())
    return archive.finish()


def _busybox(parts: Parts) -> Path:
    found = parts.tools / "bin" / "busybox"
    return found if found.exists() else parts.tools / "usr" / "bin" / "busybox"


def _modules(parts: Parts) -> Iterator[tuple[str, bytes]]:
    folder = parts.kernel / "lib" / "modules" / parts.release
    for number, file in enumerate(modules.load_order(folder, modules.NAMES)):
        # The shell loads them in the order of their names.
        yield f"{number:02}-{file.name.removesuffix('.xz')}", modules.contents(file)


class Archive:
    """A cpio archive that grows by one entry after another; parents come before what is in them."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._entries = 0

    def add(self, name: str, mode: int, content: bytes = b"") -> None:
        """Add a file, folder or link (its content is the target), owned by root; ``mode`` has the kind too."""
        self._entries += 1
        path = name.encode() + b"\0"
        fields = (self._entries, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields)
        self._padded(path)
        self._padded(content)

    def _padded(self, data: bytes) -> None:
        self._data += data
        self._data += bytes(-len(self._data) % 4)

    def finish(self) -> bytes:
        """Close the archive and give it."""
        self.add("TRAILER!!!", 0)
        return bytes(self._data)
