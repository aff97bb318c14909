"""The namespaces of one cluster, as their owner sees them from the host."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from harness import linux
from harness.cgroups import hierarchies, remove_all
from harness.closing import Closing
from harness.errors import HarnessError

HARNESS = Path(__file__).parent.parent
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START = 90.0
STOP = 60.0
# A link to a link to a link: more than that is a loop (ELOOP at 40, as path_resolution(7) says).
MOST_LINKS = 40
# Nothing of the caller's folders: what a program writes there goes away with the node.
FOLDERS = {"HOME": "/run/home", "TMPDIR": "/run/tmp", "KUBECACHEDIR": "/run/home/.kube/cache"}


class Sandbox(Closing):
    """Mount, network, process, host name, IPC and cgroup namespaces, with a process 1 that takes orders.

    Ends with ``close()``, with the owner's death, or when any of its processes outside is killed. Raises
    ``HarnessError`` in one line if the machine does not let it be made.
    """

    def __init__(self, logs: Path, path: str) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.environment = {"PATH": path, "LANG": "C.UTF-8"} | FOLDERS
        self._lock = threading.Lock()
        self._network: ThreadPoolExecutor | None = None
        life, self._life = os.pipe()
        self._talk, theirs = socket.socketpair()
        self._keeper = _start_keeper(life, theirs, logs)
        os.close(life)
        theirs.close()
        self._talk.settimeout(START)
        self._lines = self._talk.makefile("r")
        self.init, self._cgroup = 0, ""
        try:
            made = self._hear()
            self.init, self._cgroup = made["init"], made["cgroup"]
            self._hear()
        except BaseException:
            self.close()
            raise

    @property
    def keeper(self) -> int:
        """Process id of the keeper on the host."""
        return self._keeper.pid

    def close(self) -> None:
        """End every process, and return when nothing is left of it on the host."""
        self._lines.close()
        self._talk.close()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
        if self._network is not None:
            self._network.shutdown()
        self._keeper.wait(STOP)
        if self._cgroup and self._keeper.returncode:
            remove_all(hierarchies(), self._cgroup)

    def wait(self) -> None:
        """Return when somebody else has ended it."""
        self._keeper.wait()

    def _hear(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except TimeoutError:
            raise HarnessError(f"process 1 of the cluster did not answer in {START:g} s") from None
        if not line:
            raise HarnessError("process 1 of the cluster is gone", cure="somebody killed it, or its keeper")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise HarnessError(answer["error"])
        return answer

    def ask(self, verb: str, **request: object) -> dict[str, Any]:
        """Give process 1 an order; its answer. Raises ``HarnessError`` if it refuses or is gone."""
        with self._lock:
            try:
                self._talk.sendall(json.dumps({"do": verb} | request).encode() + b"\n")
            except BrokenPipeError:
                raise HarnessError("process 1 of the cluster is gone") from None
            return self._hear()

    def start(self, name: str, command: Sequence[str]) -> int:
        """Start a program as a child of process 1, with a log of its name; its process id inside."""
        request = {"name": name, "command": list(command), "environment": self.environment}
        pid: int = self.ask("start", **request)["pid"]
        return pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program that ``start`` started, if it still runs."""
        self.ask("signal", name=name, number=int(number))

    def exit_code(self, name: str) -> int | None:
        """Exit code of a program that ``start`` started, the negative number of a signal, or None while it runs."""
        code: int | None = self.ask("status", name=name)["exit_code"]
        return code

    def run(
        self,
        command: Sequence[str],
        *,
        given: str | None = None,
        timeout: float = 120,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end, with its output; ``given`` is its standard input."""
        return subprocess.run(
            [*entering(self.init), *command],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            env=self.environment | dict(environment or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def path(self, inside: str) -> Path:
        """Give the path on the host of a file of the node: links are followed as the node would.

        A plain ``/proc/PID/root/...`` would follow an absolute link (``/var/run``) to the host's own file.
        """
        root = Path(f"/proc/{self.init}/root")
        parts = list(PurePosixPath(inside).parts[1:])
        done: list[str] = []
        for _ in range(MOST_LINKS):
            while parts and not (root.joinpath(*done, parts[0])).is_symlink():
                done = done[:-1] if parts[0] == ".." else [*done, parts[0]]
                parts.pop(0)
            if not parts:
                return root.joinpath(*done)
            target = PurePosixPath(root.joinpath(*done, parts.pop(0)).readlink())
            if target.is_absolute():
                done = []
            parts = [part for part in target.parts if part != "/"] + parts
        raise HarnessError(f"{inside}: too many symbolic links")

    def host_pid(self, inside: int) -> int:
        """Give the process id on the host of one inside, or in a container there.

        Raises ``HarnessError`` if there is none.
        """
        with contextlib.suppress(OSError):
            # The node's own /proc: what a container's process is called there is not the last of its names.
            wanted = _name_of(Path(f"/proc/{self.init}/root/proc/{inside}"))
            for process in Path("/proc").glob("[0-9]*"):
                # Others end meanwhile, or are of those that nobody may look at.
                with contextlib.suppress(OSError):
                    if _name_of(process) == wanted:
                        return int(process.name)
        raise HarnessError(f"no process {inside} in the cluster")

    def connect(self, host: str, port: int, timeout: float) -> socket.socket:
        """Open a TCP connection from inside the node's network; it may be used anywhere."""
        if self._network is None:
            # A socket stays in the network that its thread was in when it was made.
            namespace = Path(f"/proc/{self.init}/ns/net")
            self._network = ThreadPoolExecutor(1, "node-network", linux.enter, (namespace,))
        return self._network.submit(socket.create_connection, (host, port), timeout).result()


def entering(init: int) -> list[str]:
    """Give the words to put before a command for it to run in all namespaces of a process 1."""
    kinds = ("mount", "net", "pid", "uts", "ipc", "cgroup")
    return ["nsenter", f"--target={init}", *(f"--{kind}" for kind in kinds), "--"]


def _name_of(process: Path) -> tuple[Path, int]:
    """Give what is unique to a process whoever looks: its namespace of processes, and its id there."""
    lines = (process / "status").read_text().splitlines()
    innermost = next(line.split()[-1] for line in lines if line.startswith("NSpid:"))
    return (process / "ns" / "pid").readlink(), int(innermost)


def _start_keeper(life: int, talk: socket.socket, logs: Path) -> "subprocess.Popen[bytes]":
    inherited = (life, talk.fileno())
    return subprocess.Popen(
        [sys.executable, "-m", "harness.keeper", *map(str, inherited), str(logs)],
        pass_fds=inherited,
        env=os.environ | {"PYTHONPATH": str(HARNESS)},
        stdin=subprocess.DEVNULL,
        # A Ctrl-C in the owner's terminal is the owner's to handle.
        start_new_session=True,
    )
