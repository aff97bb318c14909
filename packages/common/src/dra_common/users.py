"""Which processes have a device open, as far as they can be seen from here."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from dra_common.errors import HostError
from dra_common.ports import Tree


@dataclass(frozen=True, slots=True)
class User:
    """A process, by its number and its name (``/proc/<pid>/comm``, at most 15 characters)."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.pid} ({self.name})"


def users_of(nodes: Collection[str], procfs: Tree) -> tuple[User, ...]:
    """Return the processes that have one of these device nodes open, by the path under which a container has it.

    Sees what the reader may see: all processes as root in the host's PID namespace, only those of the container in
    one of its own. Raises HostError if procfs cannot be listed. Source: proc_pid_fd(5).
    """
    pids = (name for name in procfs.listdir("") if name.isascii() and name.isdecimal())
    return tuple(_user(pid, procfs) for pid in sorted(pids, key=int) if any(_opened(pid, nodes, procfs)))


def _opened(pid: str, nodes: Collection[str], procfs: Tree) -> Iterator[bool]:
    """One ``True`` for each open file that is one of the nodes; a process that ends meanwhile has none."""
    try:
        descriptors = procfs.listdir(f"{pid}/fd")
    except HostError:
        return
    for descriptor in descriptors:
        try:
            if procfs.readlink(f"{pid}/fd/{descriptor}") in nodes:
                yield True
        except HostError:
            continue


def _user(pid: str, procfs: Tree) -> User:
    try:
        return User(int(pid), procfs.read(f"{pid}/comm"))
    except HostError:
        return User(int(pid), "?")
