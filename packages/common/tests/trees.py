"""A sysfs and a devfs made by hand: what the simulated kernel would never make, too."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from dra_common.errors import HostError, HostNotFound
from dra_common.host import RealHost, Roots
from dra_common.ports import DeviceQuery

Answers = Mapping[tuple[str, str], bytes | int]
"""(node, name of the query) -> the kernel's bytes, or its errno."""


class TreeHost(RealHost):
    """Real files; the ioctls that plain files cannot answer come from a table. Counts what is read."""

    def __init__(self, root: Path, answers: Answers) -> None:
        roots = Roots(str(root / "sys"), str(root / "dev"), str(root / "proc"), str(root / "debug"))
        super().__init__(roots)
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    def query(self, node: str, query: DeviceQuery) -> bytes:
        self.asked.append((node, query.name))
        if not self.devfs.exists(node):
            raise HostNotFound(f"no {node}", errno=errno.ENOENT)
        answer = self.answers.get((node, query.name), errno.EACCES)
        if isinstance(answer, int):
            raise HostError(f"{query.name} of {node}: {os.strerror(answer)}", errno=answer)
        return answer


class Tree:
    """Builds ``sys`` and ``dev`` below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers: dict[tuple[str, str], bytes | int] = {}
        self.folders: dict[str, str] = {}
        for folder in ("sys/bus/pci/devices", "sys/bus/pci/drivers", "dev", "proc"):
            (root / folder).mkdir(parents=True)

    @property
    def host(self) -> TreeHost:
        return TreeHost(self.root, self.answers)

    def file(self, path: str, text: str | bytes) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        return place

    def link(self, path: str, target: str) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)
        return place

    def to(self, path: str, target: str) -> Path:
        """A relative link between two paths below the root."""
        return self.link(path, os.path.relpath(self.root / target, (self.root / path).parent))

    def function(self, bdf: str, *, below: str = "pci0000:4a/0000:4a:02.0", **files: str) -> str:
        """A PCI function with these files; returns its folder (``sys/devices/…``)."""
        folder = f"sys/devices/{below}/{bdf}"
        for name, text in files.items():
            self.file(f"{folder}/{name.rstrip('_')}", f"{text}\n")
        self.to(f"sys/bus/pci/devices/{bdf}", folder)
        self.folders[bdf] = folder
        return folder

    def bind(self, bdf: str, driver: str) -> None:
        """Bind a function to a kernel driver."""
        self.to(f"{self.folders[bdf]}/driver", f"sys/bus/pci/drivers/{driver}")
