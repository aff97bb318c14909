"""A management library for tests: its folder, the fake of it in C, and the part of sysfs that goes with it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fake_hlml.c")
GIB = 1 << 30
BDFS = ("0000:19:00.0", "0000:1a:00.0", "0000:43:00.0")


def compile_library(folder: Path, *options: str, source: Path = SOURCE) -> Path:
    """Make the library in a folder; a missing compiler fails the test."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.fail(
            "the fake of libhlml.so has to be compiled, and there is no cc. Cure: apt-get install -y gcc libc6-dev",
            pytrace=False,
        )
    made = folder / "libhlml.so"
    command = [compiler, "-shared", "-fPIC", "-O1", *options, "-o", str(made)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(
            f"{' '.join(command)} failed; with gcc alone, libc6-dev is missing:\n{done.stderr}", pytrace=False
        )
    return made


class HlmlFolder:
    """What the library says, and what the kernel shows of the same devices."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "hlml"
        self.sysfs = root / "sys"
        (self.folder / "fail").mkdir(parents=True)
        (self.folder / "devices").mkdir()
        (self.sysfs / "bus/pci/drivers/habanalabs").mkdir(parents=True)
        (self.sysfs / "bus/pci/devices").mkdir()
        (root / "dev").mkdir()
        (root / "proc").mkdir()

    def add(self, bdf: str) -> None:
        """Plug a device in."""
        self.bind(bdf)
        index = len(list((self.folder / "devices").iterdir()))
        for name, value in (
            ("index", index),
            ("serial", f"AM5001613{index}"),
            ("uuid", f"01P0-HL2080A0-15-TF8A81-09-07-0{index}"),
            ("module_id", index ^ 1),
            ("memory_total", 96 * GIB),
        ):
            self.tell(bdf, name, str(value))

    def tell(self, bdf: str, name: str, value: str) -> None:
        """Let the library say this of a device."""
        _write(self.folder / "devices" / bdf / name, value)

    def fail(self, function: str, code: int, bdf: str = "") -> None:
        """Let a function fail from now on."""
        _write(self._failing(function, bdf), str(code))

    def hang(self, function: str, bdf: str = "") -> None:
        """Let a function not return from now on: nobody writes into what it reads."""
        os.mkfifo(self._failing(function, bdf))

    def release(self, function: str, bdf: str = "") -> None:
        """Let a function that hangs go on."""
        path = self._failing(function, bdf)
        with path.open("w") as pipe:
            path.unlink()
            pipe.write("0\n")

    def mend(self, function: str, bdf: str = "") -> None:
        """Let a function work again."""
        self._failing(function, bdf).unlink()

    def event(self, bdf: str, mask: int) -> None:
        """Let something happen to a device."""
        with (self.folder / "devices" / bdf / "events").open("a") as events:
            events.write(f"{mask}\n")

    def unbind(self, bdf: str) -> None:
        """Take the kernel driver away."""
        (self.sysfs / "bus/pci/drivers/habanalabs" / bdf).unlink()
        shutil.rmtree(self.sysfs / "bus/pci/devices" / bdf)

    def bind(self, bdf: str) -> None:
        """Give it its kernel driver."""
        self.kernel(bdf, "hard_reset_cnt", "0")
        self.kernel(bdf, "status", "Operational")
        (self.sysfs / "bus/pci/drivers/habanalabs" / bdf).symlink_to(f"../../devices/{bdf}")

    def kernel(self, bdf: str, name: str, value: str) -> None:
        """Let the kernel show this of a device."""
        _write(self.sysfs / "bus/pci/devices" / bdf / name, value)

    def _failing(self, function: str, bdf: str) -> Path:
        return self.folder / "fail" / (f"{function}@{bdf}" if bdf else function)


def _write(path: Path, text: str) -> None:
    """Replace a file at once: others read it at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(f"{text}\n")
    new.replace(path)
