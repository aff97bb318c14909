"""Runs work whose mounts and processes end with it, whatever ends it: not even SIGKILL leaves any of them.

It becomes process 1 of a namespace of processes, and has a namespace of mounts for itself. If the caller is killed the
kernel kills process 1, if process 1 ends the kernel kills every other process there, and with the last of them the
mounts are gone. Source: the manual pages pid_namespaces(7), mount_namespaces(7), PR_SET_PDEATHSIG(2const).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "e2e"))

from harness import linux


def enclosed(work: Callable[[], int]) -> int:
    """Return the exit code that ``work`` returns, 1 if it raised, 128 and more if it was killed.

    The caller can start no other process afterwards. Raises ``OSError`` where namespaces are forbidden.
    """
    life, alive = os.pipe()
    linux.unshare(linux.CLONE_NEWPID)
    child = os.fork()
    if not child:
        os.close(alive)
        os._exit(_as_process_1(work, life))
    os.close(life)
    # Ctrl-C reaches both. The kernel ends the child with this process, so this one need not be gentle.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(alive)
    return code if code >= 0 else 128 - code


def _as_process_1(work: Callable[[], int], life: int) -> int:
    linux.die_with_parent(signal.SIGKILL)
    if select.select([life], [], [], 0)[0]:  # it was killed before that
        return 1
    try:
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SLAVE)
        linux.mount("proc", "/proc", kind="proc")
        return work()
    except Exception:  # noqa: BLE001 # what Python says of it at the end of a process
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def unmount_below(folder: Path) -> None:
    """Take off whatever is mounted on this folder or below, the last first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed([_plain(each) for each in points]):
        if Path(point).is_relative_to(folder):
            linux.umount(point, detach=True)


def _plain(escaped: str) -> str:
    """Undo what the kernel does to blanks in a path: an octal number after a backslash."""
    return escaped.encode().decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")
