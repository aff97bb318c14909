"""The process that stands between a cluster and the host: it makes process 1, and cleans up when anything ends.

    owner (a test run, a daemon) --pipe--> keeper --parent of--> process 1 --parent of--> everything

Whichever of the three is killed, the others notice: the pipe closes, the kernel kills process 1 with its parent, or
the parent sees it gone. With process 1 go all processes, mounts and interfaces; the cgroups are removed by the keeper,
or, where that was killed itself, by the owner.
"""

import errno
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import linux, node
from harness.cgroups import Hierarchy, create_all, hierarchies, remove_all, removed
from harness.errors import HarnessError
from harness.init import Init

PREFIX = "dra-e2e-"
ROOT = "run as root, outside a container that forbids namespaces"
CURES = {
    errno.EPERM: ROOT,
    errno.EACCES: ROOT,
    errno.ENOSPC: "raise the limits in /proc/sys/user",
    errno.ENODEV: "this kernel lacks that file system: load its module",
}


def main(life: int, talk: int, logs: Path) -> None:
    """Keep one cluster until the pipe ``life`` is closed; errors go to the socket ``talk``."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit())
    conversation = socket.socket(fileno=talk)
    for descriptor in (life, talk):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 # as the library wants it
    name = f"{PREFIX}{os.getpid()}"
    try:
        cgroups = hierarchies()
        sweep(cgroups)
        try:
            create_all(cgroups, name)
            _keep(life, conversation, cgroups, logs)
        finally:
            remove_all(cgroups, name)
    except (OSError, HarnessError) as error:
        _tell(conversation, {"error": explain(error)})


def _keep(life: int, talk: socket.socket, cgroups: Sequence[Hierarchy], logs: Path) -> None:
    linux.unshare(linux.CLONE_NEWPID)
    name = f"{PREFIX}{os.getpid()}"
    pid = os.fork()
    if not pid:
        os.close(life)
        os._exit(_become_init(talk, cgroups, name, logs))
    try:
        _tell(talk, {"init": pid, "cgroup": name})
        talk.close()
        ended = os.pidfd_open(pid)
        select.select([life, ended], [], [])
    finally:
        os.kill(pid, signal.SIGKILL)
        # The kernel lets process 1 be waited for when all others of its namespace are gone.
        os.waitpid(pid, 0)


def _become_init(talk: socket.socket, cgroups: Sequence[Hierarchy], name: str, logs: Path) -> int:
    linux.die_with_parent(signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        node.isolate(cgroups, name)
        node.furnish(cgroups, logs)
        _tell(talk, {"node": node.NAME})
        Init(talk).serve()
    except (OSError, HarnessError) as error:
        _tell(talk, {"error": explain(error)})
        return 1
    return 0


def _tell(talk: socket.socket, message: dict[str, object]) -> None:
    talk.sendall(json.dumps(message).encode() + b"\n")


def explain(error: OSError | HarnessError) -> str:
    """Say in one line what failed: the kernel's word, and the call or file."""
    if isinstance(error, HarnessError):
        return str(error)
    what = error.filename or "the keeper of the cluster"
    return str(HarnessError(f"{what}: {error.strerror}", cure=CURES.get(error.errno or 0, "")))


def sweep(cgroups: Sequence[Hierarchy]) -> None:
    """Remove what is left of clusters whose owner and keeper were killed at once."""
    for hierarchy in cgroups:
        for folder in hierarchy.folder("").glob(f"{PREFIX}*"):
            pid = folder.name.removeprefix(PREFIX)
            if pid == str(os.getpid()) or not Path("/proc", pid).exists():
                # Another machine's cluster, if cgroups are shared but processes are not: then it is busy and stays.
                removed(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
