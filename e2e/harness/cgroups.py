"""A place of the cluster's own in every cgroup hierarchy: version 1, version 2, or both at once.

The cluster's cgroup becomes the root of its cgroup namespace, so that a kubelet that writes ``/kubepods`` stays below
it, two clusters do not meet, and one folder for each hierarchy is all there is to remove.

Source: cgroups(7), cgroup_namespaces(7), kernel documentation admin-guide/cgroup-v2.rst
("No Internal Process Constraint").
"""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import linux
from harness.errors import HarnessError
from harness.waiting import wait_for

# The processes of the node itself. In version 2 only a leaf may have processes, and the kubelet makes siblings of it.
SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy, and where this process is in it."""

    mountpoint: Path
    kind: str
    options: str
    own: str

    @property
    def version2(self) -> bool:
        """Whether it is the unified hierarchy."""
        return self.kind == "cgroup2"

    def folder(self, name: str) -> Path:
        """Give the cluster's folder: below this process's own, so that limits set on it hold.

        In version 2 it is at the top: a cgroup with processes of its own cannot hand controllers down.
        """
        return self.mountpoint / ("" if self.version2 else self.own.strip("/")) / name

    def create(self, name: str) -> None:
        """Make the cluster's folder, ready for processes."""
        folder = self.folder(name)
        folder.mkdir()
        if self.version2:
            hand_down(self.mountpoint)
        elif (folder / "cpuset.cpus").exists():
            # In version 1 a new set is empty, and no process may join it.
            for file in ("cpuset.cpus", "cpuset.mems"):
                (folder / file).write_text((folder.parent / file).read_text())

    def join(self, name: str) -> None:
        """Move this process into the cluster's folder."""
        (self.folder(name) / "cgroup.procs").write_text("0")

    def mount_again(self) -> None:
        """Show this process's cgroup as the root; in a new cgroup namespace and a new mount namespace."""
        linux.umount(str(self.mountpoint))
        linux.mount("cgroup", str(self.mountpoint), kind=self.kind, options=self.options)
        if self.version2:
            (self.mountpoint / SYSTEM).mkdir()
            (self.mountpoint / SYSTEM / "cgroup.procs").write_text("0")
            hand_down(self.mountpoint)

    def remove(self, name: str, timeout: float) -> None:
        """Remove the cluster's folder with everything below it, once the kernel has let go of its processes."""
        folder = self.folder(name)
        wait_for(lambda: removed(folder), f"the cgroup {folder} to be empty", timeout)


def hand_down(folder: Path) -> None:
    """Let the children of a version 2 cgroup use every controller that it has."""
    names = (folder / "cgroup.controllers").read_text().split()
    if names:
        (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in names))


def removed(folder: Path) -> bool:
    """Remove a cgroup with all below it, unless there are processes in it; whether it is gone."""
    if not folder.exists():
        return True
    for path, _, _ in os.walk(folder, topdown=False):
        try:
            Path(path).rmdir()
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            if error.errno != errno.ENOENT:
                raise
    return True


def hierarchies(proc: Path = Path("/proc/self")) -> list[Hierarchy]:
    """Read which hierarchies are mounted, one for each, from ``mountinfo`` and ``cgroup``.

    Raises ``HarnessError`` if there is none that a container could live in.
    """
    own = _own_paths((proc / "cgroup").read_text())
    found: dict[str, Hierarchy] = {}
    for line in (proc / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split()[:3]
        if kind in ("cgroup", "cgroup2"):
            mountpoint = Path(before.split()[4])
            controllers = "" if kind == "cgroup2" else _controllers(options)
            found.setdefault(controllers, Hierarchy(mountpoint, kind, controllers, own.get(controllers, "/")))
    if not ("memory" in found or "" in found):
        raise HarnessError(
            "no cgroup hierarchy with a memory controller is mounted", cure="mount cgroup2 on /sys/fs/cgroup"
        )
    return list(found.values())


def _own_paths(text: str) -> dict[str, str]:
    """Map the controllers of a hierarchy, as mount(8) wants them, to this process's cgroup there."""
    lines = (line.split(":", 2) for line in text.splitlines())
    return {_sorted(controllers): path for _, controllers, path in lines}


def _controllers(options: str) -> str:
    """Leave of the options of a mount those that name controllers, or the name of a hierarchy without any."""
    known = {"rw", "ro", "xattr", "clone_children", "cpuset_v2_mode", "noprefix"}
    names = [name for name in options.split(",") if name not in known and "release_agent=" not in name]
    return _sorted(",".join(names))


def _sorted(names: str) -> str:
    return ",".join(sorted(names.split(",")))


def create_all(every: Sequence[Hierarchy], name: str) -> None:
    """Make the cluster's folder in each hierarchy. Raises ``HarnessError`` in one line."""
    for hierarchy in every:
        try:
            hierarchy.create(name)
        except OSError as error:
            folder = hierarchy.folder(name)
            raise HarnessError(
                f"cannot make the cgroup {folder}: {error.strerror}",
                cure="run as root, with cgroups writable",
            ) from error


def remove_all(every: Sequence[Hierarchy], name: str, timeout: float = 20) -> None:
    """Remove the cluster's folder from each hierarchy; it may be gone already."""
    for hierarchy in every:
        hierarchy.remove(name, timeout)
